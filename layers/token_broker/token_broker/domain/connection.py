"""A connection: one person's authorization at one connector, its states and their moves."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Terms, Verdict


class Status(StrEnum):
    """Where a connection stands; whatever holds a token set is tended by the schedule."""

    LINKING = "LINKING"
    PENDING_CONFIRMATION = "PENDING_CONFIRMATION"
    ACTIVE = "ACTIVE"
    REAUTH_REQUIRED = "REAUTH_REQUIRED"
    SUPERSEDED = "SUPERSEDED"
    REVOKE_PENDING = "REVOKE_PENDING"
    REVOKED = "REVOKED"


class Reason(StrEnum):
    """Why a connection needs a new consent, or whose tokens it holds no more."""

    GRANT_DEAD = "grant_dead"  # Akoya refuses the refresh token, twice
    ROTATION_LOST = "rotation_lost"  # the same, after an attempt whose answer never came
    LOGIN_CHANGED = "login_changed"  # a refresh brought the tokens of another bank login
    EXPORTED = "exported"  # its tokens were taken out and are somebody else's to use
    SUPERSEDED = "superseded"  # another goes on with its login; its own set is never sent


class Degraded(StrEnum):
    """Why an ACTIVE connection does not do as it should, though it may recover by itself."""

    SUSPECT = "suspect"  # its refresh token was refused; it is looked at until it heals or ends
    UNREADABLE = "unreadable"  # its set does not open, or not all of it reads; a consent heals it
    DATA_ACCESS_REFUSED = "data_access_refused"  # its refresh token is taken, its bearers are not


# Which status may follow which; the store guards each of these writes.
MOVES: Mapping[Status, frozenset[Status]] = {
    Status.LINKING: frozenset({Status.PENDING_CONFIRMATION, Status.ACTIVE, Status.REVOKE_PENDING}),
    Status.PENDING_CONFIRMATION: frozenset(
        {Status.ACTIVE, Status.SUPERSEDED, Status.REVOKE_PENDING}
    ),
    Status.ACTIVE: frozenset({Status.REAUTH_REQUIRED, Status.SUPERSEDED, Status.REVOKE_PENDING}),
    Status.REAUTH_REQUIRED: frozenset({Status.ACTIVE, Status.REVOKE_PENDING}),
    Status.SUPERSEDED: frozenset({Status.ACTIVE, Status.REVOKE_PENDING}),
    Status.REVOKE_PENDING: frozenset({Status.REVOKED}),
    Status.REVOKED: frozenset({Status.REVOKE_PENDING}),  # a set that landed after the end
}


IN_USE = frozenset({Status.ACTIVE, Status.REAUTH_REQUIRED})  # what may own a bank login
RENEWABLE = IN_USE | {Status.SUPERSEDED}  # what a new consent makes ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of one attempt to use a connection's refresh token until a moment."""

    id: str
    until: int
    since: int | None = None  # as the row has it; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """The refresh token of a generation was refused, which may be Akoya's fault as well."""

    generation: int
    reason: Reason  # what its end will be called if it comes to that
    since: int  # the first refusal
    streak_since: int | None  # from when on every look was refused; None: the latest was not
    looks: int = 1  # refused looks so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One row, as last read. Times are whole seconds since the epoch on our clock."""

    id: str
    subject: str
    connector: str
    status: Status
    linked_at: int
    updated_at: int
    generation: int = 0
    sealed: bytes | None = None
    login: str | None = None
    issued_at: int | None = None
    iat: int | None = None  # Akoya's time of the consent: the later of two links of a login wins
    expires_at: int | None = None
    verdict: Verdict = Verdict.UNVERIFIED
    reason: Reason | None = None
    due_at: int | None = None
    asked_at: int | None = None  # since when the bearer held now is in use; None: it is not
    lease: Lease | None = None
    attempt_id: str | None = None  # the attempt whose token set this row holds
    consent: str | None = None  # the exchange its tokens descend from, however often refreshed
    grant_id: str | None = None  # what Akoya calls that consent
    interaction_id: str | None = None  # of the answer that brought its set
    terms: Terms | None = None
    unsettled: int = 0  # attempts started whose outcome is not recorded
    predecessor_resent: bool = False  # its set came of a refresh token that was sent twice
    failures: int = 0  # attempts in a row that brought no new set
    suspect: Suspect | None = None
    rejected: int | None = None  # the generation whose rejection forced the latest refresh
    refused: int | None = None  # the latest generation refused right upon the one before it
    proved_at: int | None = None  # when the consent was last refreshed for such a refusal
    unreadable: int | None = None  # the generation whose token set did not open
    malformed: tuple[str, ...] = ()  # attributes of the row that make no sense: read as absent
    id_token: SecretText | None = None  # of its set, where this process has just sealed it
    confirmation_hash: str | None = None
    superseded_by: str | None = None  # its subject's connection of the login, which gets its set
    # What an ended or unconfirmed connection holds goes then; a revoke was asked for then.
    keep_until: int | None = None
    last_event: str | None = None

    @property
    def set_id(self) -> str:
        """Return what names the token set it holds among all others."""
        return f"{self.id}/{self.generation}"

    @property
    def suspected(self) -> Suspect | None:
        """The suspicion against the set held now, if any; one against an older set is void."""
        if self.suspect and self.suspect.generation == self.generation:
            return self.suspect
        return None

    @property
    def degraded(self) -> Degraded | None:
        """Return what a person should know of an ACTIVE connection; None: all is well."""
        is_unreadable = self.malformed or self.unreadable == self.generation
        if self.status is Status.ACTIVE and is_unreadable:
            return Degraded.UNREADABLE
        if self.status is Status.ACTIVE and self.suspected:
            return Degraded.SUSPECT
        refused = self.refused is not None and self.generation - self.refused <= 1
        if self.status is Status.ACTIVE and refused:
            return Degraded.DATA_ACCESS_REFUSED
        return None

    def leased(self, now: int) -> bool:
        """Return whether an attempt may be using the refresh token."""
        return self.lease is not None and self.lease.until > now

    def remaining(self, now: int) -> int:
        """Return for how many seconds the bearer can still be handed out; 0 if it must not be."""
        if self.verdict is Verdict.BAD or self.expires_at is None:
            return 0
        return max(0, self.expires_at - now)


class Due(NamedTuple):
    """What the schedule knows of a connection before it is claimed."""

    id: str
    due_at: int
    connector: str  # empty where the row names none


class Place(NamedTuple):
    """Where a connection stands in the list of its subject's."""

    linked_at: int
    id: str


class Page(NamedTuple):
    """Some of a subject's connections, and behind which the next page begins; None: the last."""

    connections: list[Connection]
    last: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """A sealed token set on its way into the row, or into escrow when the row cannot take it."""

    connection_id: str
    generation: int  # the one it will hold: always the current one plus one
    attempt_id: str
    sealed: bytes
    login: str | None
    issued_at: int  # the moment before the send, on our clock
    expires_at: int  # issued_at plus the bearer's life
    verdict: Verdict  # BAD: kept for its refresh token, its bearer is never handed out
    iat: int | None = None  # Akoya's time of the consent
    consent: str | None = None  # the exchange it came of; None: a rotation
    grant_id: str | None = None
    interaction_id: str | None = None
    terms: Terms | None = None  # None: not told
    suspect: Suspect | None = None
    predecessor_resent: bool = False
    asked_at: int | None = None  # the moment of the ask that caused it, if its bearer is in use

    @property
    def set_id(self) -> str:
        """Return what names this token set among all others."""
        return f"{self.connection_id}/{self.generation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who owns a bank login, as it was looked up; what it decides holds while nothing has moved."""

    id: str
    connection: Connection | None  # None: its row is gone, or cannot be read
    is_going: bool = False  # its row was erased: what says whose the login is goes with it
    is_unreadable: bool = False  # its row is there, and may hold a set that a consent still feeds


def is_later(one: Connection, other: Connection) -> bool:
    """Return whether a connection in use comes from a later consent than another one."""
    if one.status is not Status.ACTIVE or one.iat is None or other.iat is None:
        return False
    return one.iat > other.iat


def login_of(key: SecretText, *, environment: str, client_id: str, connector: str, sub: str) -> str:
    """Return the keyed hash that names one bank login; `sub` alone is unique per provider only.

    It begins with a short hash of the key. Source: Akoya, unique-keys-and-values.
    """
    secret = key.reveal().encode()
    named = hmac.new(secret, framed(environment, client_id, connector, sub).encode(), "sha256")
    return f"{hashlib.sha256(secret).hexdigest()[:8]}-{named.hexdigest()}"


def are_comparable(one: str | None, other: str | None) -> bool:
    """Return whether two logins are hashed under the same key: only then they can be told apart."""
    if one is None or other is None:
        return False
    return one.partition("-")[0] == other.partition("-")[0]


def framed(*parts: str) -> str:
    """Join parts, each with its length before it, so that no two tuples read the same."""
    return "".join(f"{len(part)}:{part}" for part in parts)
