"""Move in with tokens a backend already holds, and move out again.

Nothing is sent to Akoya here: what comes in is refreshed by the next runs, what goes out is not
sent again.
"""

from __future__ import annotations

from dataclasses import dataclass

from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import RequestRejected, StaleGeneration
from token_broker.domain.names import ensure_named
from token_broker.domain.refresh_policy import jitter
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet, lifetime
from token_broker.use_cases.attempt import claim_as_seen, release
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.home import ensure_home
from token_broker.use_cases.landing import login_named_by, recover

SPREAD_OF_IMPORTS = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One connection as a backend holds it."""

    subject: str
    connector: str
    refresh_token: SecretText
    id_token: SecretText  # may have expired; it names the bank login


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Where a connection that was to come in now is."""

    connection_id: str | None  # None: a dry run, nothing was written
    is_new: bool


def login_in(broker: Broker, leased: Held) -> tuple[str, int]:
    """Return the bank login a bearer names and the time of its consent; raises RequestRejected."""
    ensure_named(subject=leased.subject, connector=leased.connector)
    claims = broker.id_tokens.claims(leased.id_token)
    if claims is None:
        raise RequestRejected("id_token cannot be read: give the last one issued, expired or not.")
    if broker.client_id not in claims.aud:
        raise RequestRejected("id_token was issued to another client id than this stack's.")
    return login_named_by(broker, claims, leased.connector), claims.iat


def bring_in(broker: Broker, leased: Held, *, dry_run: bool) -> Arrival:
    """Take a connection in: sealed before it is written anywhere, due within the hour.

    May be repeated: a bank login that is here already stays as it is. Its bearer is handed out
    while it lives. Raises RequestRejected, StaleGeneration (try again), BrokerMisconfigured.
    """
    login, iat = login_in(broker, leased)
    ensure_home(broker)
    owner = broker.connections.owner_of(login)
    there = owner.connection if owner else None
    if there and there.status is Status.ACTIVE:
        if there.subject != leased.subject:
            raise RequestRejected(
                f"This bank login is another subject's here: connection {there.id}."
            )
        return Arrival(connection_id=there.id, is_new=False)
    if dry_run:
        return Arrival(connection_id=None, is_new=True)
    connection_id, now = broker.new_id(), broker.clock()
    tokens = TokenSet(refresh_token=leased.refresh_token, id_token=leased.id_token)
    sealer = broker.seal.prepare(connection_id, subject=leased.subject, connector=leased.connector)
    claims = broker.id_tokens.claims(leased.id_token)
    left = min(claims.exp - now, lifetime(claims, None)) if claims else 0
    broker.connections.bring_in(
        Connection(
            id=connection_id,
            subject=leased.subject,
            connector=leased.connector,
            status=Status.ACTIVE,
            linked_at=now,
            updated_at=now,
            generation=1,
            sealed=sealer.seal(tokens, generation=1),
            login=login,
            issued_at=now,
            iat=iat,
            expires_at=now + max(0, left),
            due_at=now + jitter(connection_id, SPREAD_OF_IMPORTS),
            last_event="brought_in",
        ),
        owner=owner,
        now=now,
    )
    broker.record("connection_brought_in", connection_id=connection_id)
    return Arrival(connection_id=connection_id, is_new=True)


def take_out(broker: Broker, connection_id: str, *, quarantine: int) -> tuple[Connection, TokenSet]:
    """End a connection here and return the tokens it holds; they are not sent any more.

    May be repeated for `quarantine` seconds, until the sealed set is erased. Raises
    RequestRejected, RefreshInProgress and StaleGeneration (try again), UpstreamUnavailable.
    """
    ensure_home(broker)
    seen = broker.connections.get(connection_id)
    if seen.reason is Reason.EXPORTED and seen.sealed is not None:
        return seen, broker.seal.open(seen)
    if seen.status is not Status.ACTIVE:
        raise RequestRejected(f"It is {seen.status}; there are no living tokens to take out.")
    leased = claim_as_seen(broker, seen)
    if recover(broker, leased):
        raise StaleGeneration  # the newest set has just come out of escrow
    try:
        tokens = broker.seal.open(leased)
    except Exception:
        release(broker, leased, event="export_failed")
        raise
    now = broker.clock()
    try:
        until = now + quarantine
        broker.connections.end(
            leased, reason=Reason.EXPORTED, due_at=until, keep_until=until, now=now
        )
    except StaleGeneration:  # it was disconnected or superseded meanwhile
        release(broker, leased, event="export_failed")
        raise
    broker.record("connection_taken_out", connection_id=connection_id)
    return leased, tokens
