"""One owner for each bank login: of two connections to it, the later consent is the one to keep.

Linking a login again may end the tokens of every earlier link, or may not (it depends on Akoya's
provider); in both cases only one connection goes on, and no consent is revoked that it needs.
"""

from __future__ import annotations

from token_broker.domain.connection import Connection, Landing, Owner, Status
from token_broker.domain.errors import RowUnreadable
from token_broker.domain.refresh_policy import BRIEFLY, HOLD_BEYOND
from token_broker.domain.token_set import Verdict
from token_broker.use_cases.attempt import claim, new_lease, release
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.landing import recover

IN_USE = frozenset({Status.ACTIVE, Status.REAUTH_REQUIRED})


def owner_of(broker: Broker, connection: Connection) -> Owner | None:
    """Return who owns the connection's bank login, if it is known."""
    return broker.connections.owner_of(connection.login) if connection.login else None


def settle_login(broker: Broker, linked: Connection) -> bool:
    """Decide which connection owns a re-linked bank login; return whether `linked` stays in use.

    An unconfirmed link only puts the older connection on hold. Of two ACTIVE connections, the one
    with the later consent becomes the owner. An owner whose row does not read loses the login and
    nothing else. May be repeated. Raises StaleGeneration while the other connection may be getting
    tokens.
    """
    owner = owner_of(broker, linked)
    rival = owner.connection if owner and owner.id != linked.id else None
    match linked.status:
        case Status.ACTIVE if rival and is_later(rival, linked):
            broker.connections.give_way(linked, now=broker.clock())
            broker.record("login_given_up", connection_id=linked.id)
            return False
        case Status.ACTIVE:
            broker.connections.take_over(linked, owner=owner, now=broker.clock())
        case Status.PENDING_CONFIRMATION if rival and linked.verdict is not Verdict.BAD:
            until = (linked.keep_until or broker.clock()) + HOLD_BEYOND
            needed = rival.status is Status.ACTIVE and not is_later(rival, linked)
            if needed and (rival.hold_until or 0) < until:
                broker.connections.hold(rival.id, until=until)
                broker.record("login_on_hold", connection_id=rival.id)
    return True


def is_later(one: Connection, other: Connection) -> bool:
    """Return whether a connection in use comes from a later consent than another one."""
    if one.status is not Status.ACTIVE or one.iat is None or other.iat is None:
        return False
    return one.iat > other.iat


def other_owner(broker: Broker, leased: Connection) -> Connection | None:
    """Return the connection this one's bank login belongs to, if that is another one in use.

    Raises RowUnreadable where its row does not read: it may need the consent, so nothing is revoked
    and no set erased until it reads, is renewed or is gone.
    """
    owner = owner_of(broker, leased)
    if owner and owner.is_unreadable and owner.id != leased.id:
        release(broker, leased, event="revoke_deferred")
        raise RowUnreadable(detail=f"the row of its login's owner does not read: {owner.id}")
    if owner is None or owner.id == leased.id or owner.connection is None:
        return None
    return owner.connection if owner.connection.status in IN_USE else None


def hand_over(broker: Broker, leased: Connection, heir: Connection) -> None:
    """Give the set of a link nobody confirmed to the connection that owns the login.

    Linking may have ended that one's own tokens; revoking here would end its consent. Of two
    consents the later one's set is kept, and the same one's is handed over once.
    """
    is_done = heir.consent is not None and heir.consent == leased.consent
    if leased.malformed:  # nobody can tell whose consent is the later one
        return
    if is_done or (heir.iat is not None and leased.iat is not None and heir.iat > leased.iat):
        return
    tokens = broker.seal.open(leased)
    sealer = broker.seal.prepare(heir.id, subject=heir.subject, connector=heir.connector)
    claimed = claim(
        broker,
        heir.id,
        lease=new_lease(broker, BRIEFLY),
        statuses=frozenset({heir.status}),
        generation=heir.generation,
        ignore_back_off=True,
    )
    if newer := recover(broker, claimed):
        hand_over(broker, leased, newer)
        return
    now = broker.clock()
    lease_id = claimed.lease.id if claimed.lease else ""
    broker.connections.land(
        Landing(
            connection_id=heir.id,
            generation=heir.generation + 1,
            attempt_id=lease_id,
            sealed=sealer.seal(tokens, generation=heir.generation + 1),
            login=leased.login,
            issued_at=leased.issued_at or now,
            expires_at=leased.expires_at or now,
            # Whose browser brought the code is nothing to the heir: it is that login's bearer.
            verdict=Verdict.UNVERIFIED if tokens.id_token else Verdict.BAD,
            iat=leased.iat,
            consent=leased.consent,
        ),
        lease_id=lease_id,
        status=Status.ACTIVE,
        due_at=now,
    )
    broker.record("token_set_handed_over", connection_id=heir.id)
