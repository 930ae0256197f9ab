"""One owner for each bank login: of two connections to it, the later consent is the one to keep.

Linking a login again may end the tokens of every earlier link, or may not (it depends on Akoya's
provider); in both cases only one connection goes on, and no consent is revoked that it needs.
"""

from __future__ import annotations

from token_broker.domain.connection import IN_USE, RENEWABLE, Connection, Owner, Status, is_later
from token_broker.domain.errors import ConnectionNotFound, RowUnreadable, StaleGeneration
from token_broker.domain.ports import Remaining
from token_broker.domain.refresh_policy import Ask
from token_broker.domain.token_set import TokenSet, Verdict
from token_broker.use_cases.attempt import claim_as_seen, release
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.landing import NewSet, land, recover

LINKED = frozenset({Status.PENDING_CONFIRMATION, Status.ACTIVE})


def owner_of(broker: Broker, connection: Connection) -> Owner | None:
    """Return who owns the connection's bank login, if it is known."""
    if connection.login is None:
        return None
    return broker.connections.owner_of(connection.login, asking=connection.id)


def settle_login(broker: Broker, linked: Connection, *, lease_id: str = "") -> Connection | None:
    """Decide which connection goes on with a bank login that was linked, and return it.

    None: another subject's, or none. A link by the subject of a connection in use is that one's
    re-consent, and its set is still to be transferred. Of two ACTIVE connections the one with the
    later consent becomes the owner. An owner whose row does not read loses the login and nothing
    else. `lease_id`: the lease of a caller that holds `linked`. May be repeated. Raises
    StaleGeneration while another attempt may be getting tokens.
    """
    if linked.superseded_by:
        return _named_by(broker, linked)
    owner, now = owner_of(broker, linked), broker.clock()
    rival = owner.connection if owner and owner.id != linked.id else None
    is_re_consent = rival and rival.subject == linked.subject and rival.status in IN_USE
    match linked.status:
        case Status.ACTIVE if rival and is_later(rival, linked):
            broker.connections.supersede(linked, now=now)
            broker.record("connection_superseded", connection_id=linked.id)
            return None
        case Status.ACTIVE:
            broker.connections.own(linked, owner=owner, now=now)
        case Status.PENDING_CONFIRMATION if rival and is_re_consent:
            broker.connections.supersede(linked, by=rival.id, lease_id=lease_id, now=now)
            broker.record("login_linked_again", connection_id=rival.id)
            return rival
    return linked if linked.status in LINKED else None


def heir_of(broker: Broker, leased: Connection) -> Connection | None:
    """Return the connection that goes on with this one's bank login, if that is another one.

    Its own subject's, if the row names it and no later consent owns the login; else the owner, if
    that is in use. Raises RowUnreadable where the owner's row does not read: it may need the
    consent, so nothing is revoked and no set erased until it reads, is renewed or is gone.
    """
    owner = owner_of(broker, leased)
    if owner and owner.is_unreadable and owner.id != leased.id:
        release(broker, leased, event="revoke_deferred")
        raise RowUnreadable(detail=f"the row of its login's owner does not read: {owner.id}")
    rival = owner.connection if owner and owner.id != leased.id else None
    if not (rival and is_later(rival, leased)) and (named := _named_by(broker, leased)):
        return named
    return rival if rival and rival.status in IN_USE else None


def _named_by(broker: Broker, link: Connection) -> Connection | None:
    """Return the connection that a superseded link's set is for, while that can take it."""
    try:
        named = broker.connections.look(link.superseded_by) if link.superseded_by else None
    except ConnectionNotFound:  # it was revoked, and its tombstone is gone
        return None
    return named if named and named.status in RENEWABLE else None


def transfer(
    broker: Broker,
    leased: Connection,
    heir: Connection,
    *,
    remaining: Remaining,
    tokens: TokenSet | None = None,
) -> None:
    """Land the set of a link as the next generation of the connection that goes on with its login.

    Linking may have ended that one's own tokens; revoking here would end its consent. Of two
    consents the later one's set is kept, and each is transferred once. `tokens`: the set, where the
    caller cannot open it. May be repeated. Raises RefreshInProgress, StaleGeneration (the heir is
    at something else), SetEscrowed (the next claim of the heir lands it).
    """
    is_done = heir.consent is not None and heir.consent == leased.consent
    is_earlier = heir.iat is not None and leased.iat is not None and heir.iat > leased.iat
    if leased.malformed or is_earlier:  # malformed: which consent is later cannot be told
        return
    if not is_done:
        tokens = tokens or broker.seal.open(leased)
        sealer = broker.seal.prepare(heir.id, subject=heir.subject, connector=heir.connector)
        claimed = claim_as_seen(broker, heir)
        if recover(broker, claimed):
            raise StaleGeneration  # its newest set has just come out of escrow
        issued, expires = leased.issued_at or 0, leased.expires_at or 0
        new = NewSet(
            tokens=tokens,
            attempt_id=claimed.lease.id if claimed.lease else "",
            sent_at=issued,
            expires_in=expires - issued,
            consent=leased.consent,
            ask=Ask(at=broker.clock()),  # who links is about to ask
            # Whose browser brought the code is nothing to the heir: it is that login's bearer.
            verdict=Verdict.OK if leased.verdict is Verdict.OK else Verdict.UNVERIFIED,
        )
        heir = land(broker, claimed, new, sealer=sealer, remaining=remaining)
        broker.record("token_set_transferred", connection_id=heir.id)
    settle_login(broker, heir)
