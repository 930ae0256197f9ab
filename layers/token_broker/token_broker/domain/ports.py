"""What the use cases need from outside, and what they may rely on.

One contract suite (tests/contract) runs on every implementation, the tests' fakes included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from token_broker.domain.connection import (
    Connection,
    Landing,
)
from token_broker.domain.outcome import Answer
from token_broker.domain.refresh_policy import READ_TIMEOUT
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Claims, TokenSet, Verdict

Clock = Callable[[], int]
"""Whole seconds since the epoch."""

Ticks = Callable[[], float]
"""Seconds to the fraction, since no moment in particular."""

Remaining = Callable[[], float]
"""Seconds until this invocation is ended from outside."""

Pause = Callable[[float], None]
"""Wait so many seconds."""

NewSecret = Callable[[], SecretText]
"""256 random bits as URL-safe text."""

NewId = Callable[[], str]
"""An identifier that never repeats; not a secret."""


class Record(Protocol):
    """Tell the operator what happened: a log line and a count under the event's name."""

    def __call__(self, event: str, *, value: int = 1, **fields: str | int | None) -> None:
        """`event` is a past-tense name; `fields` hold ids and codes, never secrets."""


class SecretPresence(Protocol):
    """Whether there is a client secret; its value is never read."""

    def is_set(self) -> bool:
        """Return False only where it is known that there is none."""


class EscrowedSets(Protocol):
    """Sealed token sets in a second durable place, because the table did not take them.

    Raises UpstreamUnavailable.
    """

    def put(self, landing: Landing) -> None:
        """Keep a sealed token set under its connection, generation and attempt."""

    def find(self, connection_id: str, generation: int) -> Landing | None:
        """Return the set kept for that generation, if any.

        Of several the one of a new consent, whose tokens replace all others; else the latest.
        """

    def discard(self, connection_id: str, generation: int, attempt_id: str) -> None:
        """Remove the set of one attempt."""

    def put_before(self, moment: int) -> Iterator[tuple[str, int, str]]:
        """List connection, generation and attempt of what has been there since before a moment."""


class Sealer(Protocol):
    """A data key in hand: sealing with it cannot fail for want of anything outside."""

    def seal(self, tokens: TokenSet, *, generation: int) -> bytes:
        """Seal a set as that generation of the connection the key was made for."""


class Seal(Protocol):
    """Sealing and opening of token sets, bound to connection, generation, subject and connector.

    Raises UpstreamUnavailable (key service away), BrokerMisconfigured (key refused), RowUnreadable
    (the set is not this row's, or was tampered with).
    """

    def prepare(self, connection_id: str, *, subject: str, connector: str) -> Sealer:
        """Fetch a data key for the next set of a connection."""

    def open(self, connection: Connection) -> TokenSet:
        """Open the set a row holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """Who we are to Akoya (RFC 6749 section 2.3.1)."""

    client_id: str
    client_secret: SecretText


class ClientSecret(Protocol):
    """The client secret, cached. Raises BrokerMisconfigured, UpstreamUnavailable."""

    def read(self) -> ClientCredentials:
        """Return the credentials, at most some minutes old."""

    def reread(self) -> ClientCredentials:
        """Return the credentials as they are now, past the cache."""


class Post(Protocol):
    """One request to Akoya that still lacks the client's credentials: a call sends it once."""

    def __call__(self, *, credentials: ClientCredentials, read_timeout: int) -> Answer:
        """Return what came of it; it is waited for as TokenEndpoint says."""


class TokenEndpoint(Protocol):
    """Akoya's token and revocation endpoints: each call sends once and never raises.

    The answer is waited for `read_timeout` seconds beyond CONNECT_TIMEOUT, headers and body.
    """

    def exchange(
        self,
        code: SecretText,
        *,
        redirect_uri: str,
        code_verifier: SecretText | None,
        credentials: ClientCredentials,
        read_timeout: int = READ_TIMEOUT,
    ) -> Answer:
        """Exchange an authorization code (Akoya: client_secret_basic)."""

    def refresh(
        self,
        refresh_token: SecretText,
        *,
        credentials: ClientCredentials,
        read_timeout: int = READ_TIMEOUT,
    ) -> Answer:
        """Trade a refresh token for the next pair (Akoya: client_secret_post)."""

    def revoke(
        self,
        refresh_token: SecretText,
        *,
        credentials: ClientCredentials,
        read_timeout: int = READ_TIMEOUT,
    ) -> Answer:
        """Revoke the consent behind a refresh token (RFC 7009; Akoya: client_secret_post)."""


class IdTokens(Protocol):
    """Reading and checking of id_tokens; never raises."""

    def prepare(self) -> None:
        """Have the signing keys at hand before anything is sent."""

    def accepts_issuer(self, issuer: str) -> bool:
        """Return whether a redirect that names this issuer may go on; count a foreign one."""

    def claims(self, id_token: SecretText | None) -> Claims | None:
        """Read the claims without trusting them; None if they cannot be read."""

    def verify(
        self, id_token: SecretText | None, *, nonce: str | None, about: str | None = None
    ) -> Verdict:
        """Check signature and claims (OpenID Connect Core 3.1.3.7) as configured.

        `about` is the connection it is of, for the log.
        """

    def verify_at_hand(
        self, id_token: SecretText | None, *, nonce: str | None, about: str | None = None
    ) -> Verdict | None:
        """Check as `verify` does, but ask nobody for a key: None where it is not at hand."""

    def acceptable(self, verdict: Verdict) -> bool:
        """Return whether a bearer with this verdict may be handed out."""
