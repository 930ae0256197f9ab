"""One attempt to connect: from the start link to the redirect that comes back (RFC 6749 4.1).

A 256-bit ticket opens it; each opening gives the browser a cookie of its own, and everything else
that binds the two ends (nonce, PKCE verifier, confirmation) is derived from that cookie, so that
the row holds hashes alone and a redelivered redirect gets the same answer again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, urlencode, urlsplit

from token_broker.domain.connection import Lease
from token_broker.domain.errors import StateInvalid
from token_broker.domain.secret_text import SecretText

LIFE = 900  # seconds from POST /connections to the redirect back
MOST_OPENINGS = 20
MOST_ATTEMPTS = 10  # of one subject that are open at once

# What the redirect to the app tells; a return_to may not carry any of these itself.
OWN_PARAMETERS = frozenset(
    {"connection_id", "status", "error", "previous_connection_id", "confirmation"}
)
STATE = re.compile(r"([0-9a-f]{64})\.[A-Za-z0-9_-]{43}")


class CodeBinding(StrEnum):
    """What shows that a code was issued to the very browser that brings it (RFC 9700 4.5)."""

    NONCE = "nonce"  # Akoya repeats the nonce in the id_token (OpenID Connect Core 3.1.3.7)
    PKCE = "pkce"  # or enforces PKCE, by the operator's word (RFC 7636)
    UNBOUND = "unbound-codes-accepted"  # nothing has to: anybody's code links a login to a victim


class Progress(StrEnum):
    """How far the attempt is; it moves down only, except back to OPEN if nothing was sent."""

    OPEN = "OPEN"
    EXCHANGING = "EXCHANGING"  # an attempt prepares; should it die, nothing was sent
    SENT = "SENT"  # the code may have been sent; it never is again
    DONE = "DONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the front end is told at the end, and told again if the redirect is delivered again."""

    status: str  # active | pending_confirmation | declined | failed
    connection_id: str
    error: str | None = None
    previous_connection_id: str | None = None  # a renewal came back with another login


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOpening:
    """What the row keeps of one opening of the start link."""

    cookie_hash: str
    sent_pkce: bool  # the verifier goes with the code if, and only if, the challenge went before


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """One row: an attempt to connect. `id` is the hash of the ticket."""

    id: str
    connection_id: str  # the id a new connection gets
    subject: str
    connector: str
    return_to: str
    redirect_uri: str
    expires_at: int
    progress: Progress = Progress.OPEN
    openings: Mapping[str, StoredOpening] | None = None  # by the hash of their state
    attempt: Lease | None = None
    replaces: str | None = None  # the connection whose consent is renewed
    finished_by: str | None = None  # the opening (hash of its state) whose code was exchanged
    result: Result | None = None

    @property
    def visible_id(self) -> str:
        """The connection the backend asked for, which is the one to be renewed if there is one."""
        return self.replaces or self.connection_id

    def way_back(self, *, error: str) -> str:
        """Return the address in the app: with the outcome, or saying that there is none.

        What a redirect would carry, but never the confirmation.
        """
        failed = Result(status="failed", connection_id=self.visible_id, error=error)
        return Redirect(return_to=self.return_to, result=self.result or failed).location()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where the browser goes at the end, and what it carries there."""

    return_to: str
    result: Result
    confirmation: SecretText | None = None
    cookie_name: str | None = None  # whose work is done

    def location(self) -> str:
        """Return the URL; the fintech's own query parameters stay."""
        parts = urlsplit(self.return_to)
        ours = {
            "connection_id": self.result.connection_id,
            "status": self.result.status,
            "error": self.result.error,
            "previous_connection_id": self.result.previous_connection_id,
            "confirmation": self.confirmation.reveal() if self.confirmation else None,
        }
        query = parse_qsl(parts.query, keep_blank_values=True)
        query += [(name, value) for name, value in ours.items() if value is not None]
        return parts._replace(query=urlencode(query)).geturl()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What one opening of the start link puts into the browser; kept nowhere else."""

    authorization_url: str  # carries the state; only ever a Location header
    cookie_name: str
    cookie: SecretText


def fingerprint(secret: SecretText) -> str:
    """Return the hash under which a 256-bit random value is stored."""
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def subject_hash(subject: str) -> str:
    """Return what stands for a subject where it is only counted."""
    return hashlib.sha256(subject.encode()).hexdigest()


def carries_own_parameters(return_to: str) -> bool:
    """Return whether an address already says what only the broker may say there."""
    query = parse_qsl(urlsplit(return_to).query, keep_blank_values=True)
    return any(name in OWN_PARAMETERS for name, _ in query)


def matches(secret: SecretText, stored: str) -> bool:
    """Compare a value with its stored hash in constant time."""
    return hmac.compare_digest(fingerprint(secret), stored)


def compose_state(authorization_id: str, unguessable: SecretText) -> SecretText:
    """Return the `state` of one opening: the row's id and 256 random bits."""
    return SecretText(f"{authorization_id}.{unguessable.reveal()}")


def authorization_id_of(state: SecretText) -> str:
    """Return the id of the row a `state` points at; raises StateInvalid."""
    if not (found := STATE.fullmatch(state.reveal())):
        raise StateInvalid
    return found.group(1)


def cookie_name(state: SecretText) -> str:
    """Return the name of the opening's own cookie, so that two tabs do not overwrite each other.

    `__Host-` ties it to this host, to https and to the root path (RFC 6265bis 4.1.3.2).
    """
    return f"__Host-link-{fingerprint(state)[:16]}"


def _derive(cookie: SecretText, purpose: str) -> str:
    digest = hmac.digest(cookie.reveal().encode(), purpose.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def nonce(cookie: SecretText) -> str:
    """Return the OpenID Connect nonce of the opening (Core 3.1.2.1)."""
    return _derive(cookie, "nonce")


def code_verifier(cookie: SecretText) -> SecretText:
    """Return the PKCE verifier of the opening (RFC 7636 4.1)."""
    return SecretText(_derive(cookie, "code_verifier"))


def code_challenge(verifier: SecretText) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 4.2)."""
    digest = hashlib.sha256(verifier.reveal().encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def confirmation(cookie: SecretText) -> SecretText:
    """Return the one-time value only the finishing browser sees."""
    return SecretText(_derive(cookie, "confirmation"))
