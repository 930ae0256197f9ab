"""What the use cases need from outside, and what they may rely on.

One contract suite (tests/contract) runs on every implementation, the tests' fakes included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from token_broker.domain.authorization import Authorization, Result, StoredOpening
from token_broker.domain.connection import (
    Connection,
    Landing,
    Lease,
    Owner,
    Reason,
    Status,
    Suspect,
)
from token_broker.domain.identity import Identity
from token_broker.domain.outcome import Answer
from token_broker.domain.refresh_policy import READ_TIMEOUT, RefreshPolicy
from token_broker.domain.secret_text import SecretText
from token_broker.domain.suspicion import Witness
from token_broker.domain.token_set import Claims, TokenSet, Verdict

Clock = Callable[[], int]
"""Whole seconds since the epoch."""

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


class ConnectionTable(Protocol):
    """The rows of connections. Every write is conditional; a refused one changes nothing.

    Raises: UpstreamUnavailable when the table refuses or cannot be reached (for a write that means
    its effect is unknown), ConnectionNotFound, and what each method names.
    """

    def create(self, connection: Connection) -> None:
        """Add a LINKING row; over an earlier one that never held a set; else StaleGeneration."""

    def get(self, connection_id: str) -> Connection:
        """Read one row, strongly consistent."""

    def look(self, connection_id: str) -> Connection:
        """Read one row without its token set, strongly consistent."""

    def of_subject(self, subject: str) -> list[Connection]:
        """List a subject's connections without their token sets, newest first; may lag."""

    def due(self, *, now: int, limit: int) -> list[tuple[str, int]]:
        """List (id, due_at) of what is due, oldest first, at most `limit`; may lag."""

    def expiries(self, *, due_until: int, asked_since: int) -> list[int]:
        """List when bearers in use expire: of ACTIVE connections asked for since then.

        Only of those that are due until then and not suspect, the longest due first; some thousands
        at most; may lag.
        """

    def claim(
        self,
        connection_id: str,
        *,
        lease: Lease,
        now: int,
        due_at: int,
        statuses: Collection[Status],
        generation: int | None = None,
        rejected: bool = False,
        even_resting: bool = False,
    ) -> Connection:
        """Take the lease and count an unsettled attempt.

        Of a row with one of `statuses` and no live lease that is due; or, if a generation is given,
        that still holds it and is not resting after a failure. `even_resting`: or is; for the set
        of a new consent, before which no rejection counts. `rejected` notes that the data API
        refused its bearer. Claiming twice with one lease id counts once. Raises RefreshInProgress
        (leased), UpstreamUnavailable (resting), StaleGeneration (not due, or moved on).
        """

    def land(self, landing: Landing, *, lease_id: str, status: Status, due_at: int) -> Connection:
        """Store a token set as the generation it names, if the row holds the one before it.

        Where the lease is still `lease_id`'s, the lease ends, the counters are cleared and the row
        becomes `status`, due at `due_at`; otherwise the set alone is written, but that a LINKING
        row becomes `status` all the same. A set that lands after the end (REVOKED) makes the row
        due for a revoke. Landing one attempt twice is landing it once. A set of a new consent lifts
        a hold; one that awaits confirmation is kept until CONFIRM_WITHIN after `due_at`. Raises
        StaleGeneration.
        """

    def settle(
        self,
        held: Connection,
        *,
        due_at: int,
        settled: bool,
        failures: int,
        event: str,
        now: int,
        suspect: Suspect | None = None,
    ) -> None:
        """End the lease of `held`; `settled`: the attempt is known to have changed nothing.

        Does nothing where the lease is no longer held.
        """

    def judge(self, landed: Connection, verdict: Verdict) -> None:
        """Note what checking the bearer came to, if that generation is still held."""

    def end(
        self, held: Connection, *, reason: Reason, due_at: int, keep_until: int, now: int
    ) -> None:
        """Make an ACTIVE connection that is not on hold REAUTH_REQUIRED, under its lease.

        Its sealed set is kept until `keep_until`. Ending it twice is ending it once. Raises
        StaleGeneration.
        """

    def bring_back(self, seen: Connection, *, now: int) -> Connection:
        """Make a REAUTH_REQUIRED connection that still has its set ACTIVE and due now.

        Raises StaleGeneration if it moved on since it was seen.
        """

    def bring_in(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        """Add an ACTIVE row that holds a set and owns its login, in one transaction.

        `owner` as in `confirm`. Raises StaleGeneration (it has moved on, or the id is taken).
        """

    def every(self) -> Iterator[Connection]:
        """Read all rows without their token sets, in no order; may lag."""

    def note_unreadable(self, seen: Connection) -> None:
        """Note that the token set seen does not open, if that generation is still held."""

    def note_refused(self, seen: Connection) -> None:
        """Note that the bearer seen was refused upon another, if that generation is still held."""

    def note_proof(self, landed: Connection, *, now: int) -> None:
        """Note that the predecessor was refused upon another, and that the consent lives."""

    def make_due(self, seen: Connection, *, due_at: int) -> None:
        """Make an ACTIVE row that nobody claims due by then, if it still holds what was seen."""

    def confirm(
        self,
        connection_id: str,
        *,
        subject: str,
        confirmation_hash: str,
        owner: Owner | None,
        due_at: int,
        now: int,
    ) -> Connection:
        """Make a pending connection ACTIVE and the owner of its login; may be repeated.

        `owner` is who owned the login when it was looked up; it becomes SUPERSEDED in the same
        transaction and is due at once: the schedule erases its set. Returns the row without its
        token set. Raises ConfirmationInvalid, NotConfirmed (LINKING),
        ConnectionNotFound (its time is over), ConnectionGone, StaleGeneration (the owner is
        another by now, has other tokens, or an attempt may be getting some).
        """

    def owner_of(self, login: str) -> Owner | None:
        """Return who owns a login, without the token set, strongly consistent."""

    def hold(self, connection_id: str, *, until: int) -> None:
        """Let no refresh token of an ACTIVE connection be sent until then."""

    def take_over(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        """Make an ACTIVE connection the owner of its login, as `confirm` does; StaleGeneration."""

    def give_way(self, connection: Connection, *, now: int) -> None:
        """Make an ACTIVE connection SUPERSEDED, its set to be erased; StaleGeneration.

        It has moved on since it was seen, or an attempt may be getting it other tokens.
        """

    def forget_login(self, connection: Connection) -> None:
        """Remove the pointer of a login this connection owns."""

    def note_asked(self, seen: Connection, *, now: int, due_at: int) -> None:
        """Note that the bearer was asked for, and make the row due no later than `due_at`."""

    def ask_revoke(self, connection_id: str, *, now: int) -> Connection:
        """Make the row REVOKE_PENDING and due now, and return it without its token set.

        A tombstone stays one.
        """

    def entomb(self, held: Connection, *, now: int, event: str = "revoked") -> None:
        """Erase all but the fact that the connection was: REVOKED by `event`; under its lease."""

    def erase_token_set(self, held: Connection, *, due_at: int, now: int) -> None:
        """Erase the token set and keep the row; under its lease."""

    def delete(self, held: Connection) -> None:
        """Remove a row that never became a connection; under its lease."""

    def postpone(self, connection_id: str, *, due_at: int) -> None:
        """Push back a row that cannot be read, so that it does not block those behind it."""

    def table_id(self) -> str:
        """Return what tells this very table from its copies and restores."""

    def recorded_identity(self, home: Identity) -> Identity:
        """Return the identity recorded in the table; call it before anything is sent.

        Until a token set has landed its provider is None, and it follows `home`; with the first
        set that lands the table is bound to `home` as it was named last.
        """

    def adopt(self, home: Identity) -> None:
        """Record another identity, by the operator's word."""


class AuthorizationTable(Protocol):
    """The rows of attempts to connect; they disappear by themselves some time after their end."""

    def create(self, authorization: Authorization) -> None:
        """Add a row."""

    def get(self, authorization_id: str) -> Authorization | None:
        """Read one row, strongly consistent."""

    def add_opening(
        self,
        authorization_id: str,
        *,
        state_hash: str,
        opening: StoredOpening,
        now: int,
        most: int,
    ) -> bool:
        """Add an opening while OPEN, unexpired and below `most`; tell whether it was added."""

    def begin_exchange(self, authorization_id: str, *, attempt: Lease, now: int) -> bool:
        """OPEN and unexpired → EXCHANGING; tell whether this attempt is the one winner.

        An attempt whose time is over before it sent anything is followed by another.
        """

    def mark_sent(self, authorization_id: str, *, attempt: Lease) -> bool:
        """EXCHANGING by this attempt → SENT, before the code is; tell whether it was."""

    def reopen(self, authorization_id: str, *, attempt: Lease) -> None:
        """EXCHANGING or SENT by this attempt → OPEN: nothing was sent, or nothing used up."""

    def finish(self, authorization_id: str, *, result: Result, finished_by: str) -> Result:
        """→ DONE with the result; return the one that stands, which may be an earlier one."""

    def reserve(self, authorization: Authorization, *, now: int, most: int) -> int | None:
        """Count an attempt among its subject's open ones, each until it expires.

        Return None, or the moment at which one of `most` open ones expires.
        """

    def vacate(self, authorization: Authorization) -> None:
        """Count an attempt that has ended no more."""


class RecentSubjects(Protocol):
    """Which different people met something lately. Raises UpstreamUnavailable."""

    def met(self, event: str, *, subject: str, now: int, within: int) -> int:
        """Note that a subject met an event; return how many did within so many seconds."""


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


class TokenEndpoint(Protocol):
    """Akoya's token and revocation endpoints: each call sends once and never raises."""

    def exchange(
        self,
        code: SecretText,
        *,
        redirect_uri: str,
        code_verifier: SecretText | None,
        credentials: ClientCredentials,
    ) -> Answer:
        """Exchange an authorization code (Akoya: client_secret_basic)."""

    def refresh(
        self,
        refresh_token: SecretText,
        *,
        credentials: ClientCredentials,
        read_timeout: int = READ_TIMEOUT,
    ) -> Answer:
        """Trade a refresh token for the next pair (Akoya: client_secret_post).

        The answer is waited for `read_timeout` seconds beyond CONNECT_TIMEOUT, headers and body.
        """

    def revoke(self, refresh_token: SecretText, *, credentials: ClientCredentials) -> Answer:
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
        """Tell whether a bearer with this verdict may be handed out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What the schedule's runs have met lately that no connection is to blame for."""

    in_vain_since: int | None = None  # since then runs have tried and none was answered
    explained_until: int = 0  # until then an alarm speaks for lag and for expired bearers


class Control(Protocol):
    """What holds for many connections at once: the breaker, and whom each connector answers."""

    def breaker(self) -> int | None:
        """Return until when all sends pause, or None; may lag by some seconds."""

    def open_breaker(self, *, until: int) -> None:
        """Pause all sends: our credentials are refused. After `until` a canary may try."""

    def close_breaker(self) -> None:
        """Let sends go on."""

    def refusal_met(self, *, connector: str, earlier_at: int | None) -> int:
        """Note that a connection of this connector was refused, and that a suspect of it stands.

        Returns how many of its connections were refused within the clock hour; one that was
        counted `earlier_at` in the same hour counts once.
        """

    def rotation_met(self, *, connector: str, by: str) -> None:
        """Note which connection was answered with a rotation, where a suspect of its connector is.

        At most once in NOTED_EVERY seconds; elsewhere it makes no call.
        """

    def witness(self, connector: str) -> Witness | None:
        """Return which connection of a connector was answered last, as far as it was noted."""

    def ask_witness(self, connector: str) -> bool:
        """Return whether a witness may be asked for: once in WITNESS_ASKED_EVERY seconds."""

    def trouble(self) -> Trouble:
        """Return what the runs before have met; may lag as the breaker does."""

    def note_trouble(self, trouble: Trouble) -> None:
        """Leave to the runs that follow what they have to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What every function that talks to Akoya stands on."""

    environment: str
    client_id: str
    provider: str  # base URL of the identity provider, as it is asked for tokens
    connections: ConnectionTable
    escrow: EscrowedSets
    control: Control
    seal: Seal
    client_secret: ClientSecret
    token_endpoint: TokenEndpoint
    id_tokens: IdTokens
    policy: RefreshPolicy
    clock: Clock
    pause: Pause
    new_id: NewId
    record: Record
