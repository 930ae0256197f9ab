"""Tend what is due, oldest first: refresh, end what is over, finish a revoke, erase.

Every connection is claimed before it is touched, so runs may overlap. A run starts with one
connection at a time until Akoya has answered one (the canary). How many threads a connector may
hold: `bulkhead`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field

from token_broker.domain.connection import Connection, Due, Reason, Status
from token_broker.domain.errors import (
    AkoyaUnreached,
    BrokerMisconfigured,
    ConnectionNotFound,
    GrantRefused,
    RefreshInProgress,
    RowNewer,
    RowUnreadable,
    SetEscrowed,
    StaleGeneration,
    TokenBrokerError,
)
from token_broker.domain.ports import Remaining
from token_broker.domain.refresh_policy import (
    CANARY_HEARD_WITHIN,
    ENDED_ROW_KEPT,
    ESCROW_SWEPT_EVERY,
    REFRESH_BUDGET,
    SENDING_WINDOW,
    back_off,
)
from token_broker.use_cases.attempt import claim, new_lease, postpone
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.bulkhead import Bulkhead
from token_broker.use_cases.daily_try import may_be_tried, try_again
from token_broker.use_cases.escrow import sweep
from token_broker.use_cases.home import ensure_home
from token_broker.use_cases.landing import recover
from token_broker.use_cases.lane import ALONE, Lane
from token_broker.use_cases.login import heir_of, settle_login, transfer
from token_broker.use_cases.measure import (
    account_for,
    measure_expired,
    measure_failed,
    measure_load,
)
from token_broker.use_cases.pace import AT_ONCE, Pace, Turns
from token_broker.use_cases.refresh import refresh_held
from token_broker.use_cases.refusal import end, end_or_suspect
from token_broker.use_cases.revoke import REVOKED, revoke

TENDED = frozenset(Status) - {Status.REVOKED}
MOST_UNREACHED = 3  # so many did not reach Akoya, and nobody did: not this minute
RUN_EVERY = 60
THREADS = 16
SECONDS_A_CONNECTION = 0.5  # assumed: a thread needs so long in the mean
BEGUN_AHEAD = 2  # seconds: no lease is held for longer while its holder waits for a turn
WRAP_UP = 5  # seconds kept back for the end of the run
NOT_OURS_TO_END = frozenset({Reason.EXPORTED, Reason.SUPERSEDED})  # another needs that consent
CONCLUSIVE_REASONS = frozenset({Reason.LOGIN_CHANGED})  # no second send needed


@dataclass(slots=True)
class Run:
    """What one run saw; the threads of the run only ever append to it."""

    tended: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)  # Akoya's token endpoint itself spoke
    heard: set[str] = field(default_factory=set)  # the connectors of these
    suspected: list[str] = field(default_factory=list)  # refused, and looked at again
    ended: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    deferred: list[str] = field(default_factory=list)  # of these, those no row is to blame for
    unreached: list[str] = field(default_factory=list)  # of these, those that met nothing of Akoya
    stopped: bool = False  # a cause is named: no secret, no key, refused credentials
    closes: float = 0  # with so many seconds left nothing is begun any more
    turns: Turns = AT_ONCE

    def hears(self, leased: Connection) -> None:
        """Note that Akoya answered a connection."""
        self.answered.append(leased.id)
        self.heard.add(leased.connector)

    def is_open(self, remaining: Remaining) -> bool:
        """Return whether another connection may be begun with."""
        is_cut_off = len(self.unreached) >= MOST_UNREACHED and not self.answered
        return not self.stopped and not is_cut_off and remaining() >= self.closes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tending:
    """How much one run may do."""

    rate: float  # sends a second, of all lanes together
    limit: int  # connections a minute, likewise
    quarantine: int  # seconds an ended connection keeps its sealed set
    tombstone: int  # seconds the row of a revoked connection is kept
    end_after: int  # seconds of refusals after which a connection ends without a witness
    threads: int = THREADS  # connections under way at once


def tend_due(
    broker: Broker,
    tending: Tending,
    *,
    workers: Executor,
    remaining: Remaining,
    lane: Lane = ALONE,
) -> Run:
    """Tend what a lane has due, oldest first, until time is up or the breaker opens.

    Raises BrokerMisconfigured on a foreign table, UpstreamUnavailable if the index cannot be read.
    """
    ensure_home(broker)
    run, now = Run(), broker.clock()
    hangs = broker.control.hangs()
    hanging = {connector for connector, hang in hangs.items() if hang.stands(now)}
    limit = max(1, tending.limit // lane.of)
    due = _due(broker, lane, now=now, limit=limit, hanging=hanging)
    watched = broker.connections.due(now=now, limit=1, beside=hangs, shards=lane.watched)
    waiting = [now - one.due_at for one in due if one.connector not in hangs]
    lag = max([*waiting, *(now - one.due_at for one in watched)], default=0)
    if lane.is_first:
        broker.record("oldest_due_seconds", value=lag)
        measure_expired(broker)
    carried = min(limit, int(tending.threads * SENDING_WINDOW / SECONDS_A_CONNECTION))
    measure_load(broker, due=len(waiting), capacity=carried)
    paused_until = broker.control.breaker()
    if paused_until is not None and paused_until > now:
        account_for(broker, lag=lag, answered=False, in_vain=False, alarmed=True, lane=lane)
        return run
    run.turns = pace = Pace(
        tending.rate / lane.of,
        ticks=broker.ticks,
        pause=broker.pause,
        slow_for=broker.control.slow_for,
        has_answered=lambda: bool(run.answered),
    )
    run.closes = max(remaining() - SENDING_WINDOW, REFRESH_BUDGET + WRAP_UP)
    bulkhead = Bulkhead(due, threads=tending.threads, hanging=hanging, heard=run.heard)
    under_way: dict[Future[None], Due] = {}
    patience: float | None
    while run.is_open(remaining) and pace.is_worth_waiting():
        awaiting_turn = sum(not pace.has_begun(one.id) for one in under_way.values())
        is_ahead = awaiting_turn * pace.between >= BEGUN_AHEAD
        one = None if is_ahead else bulkhead.begin()
        if one:
            under_way[workers.submit(_tend, broker, tending, run, one.id, remaining)] = one
            patience = 0 if run.answered else CANARY_HEARD_WITHIN
        elif under_way:
            patience = pace.between if is_ahead else None
        else:
            break
        ended, _ = wait(under_way, patience, FIRST_COMPLETED)
        for future in ended:
            bulkhead.end(under_way.pop(future))
    workers.shutdown(wait=True)
    in_vain = bool(run.deferred) and not run.answered and not run.stopped
    if in_vain:
        broker.record("nothing_answered", value=len(run.deferred))
    is_well = run.answered and not run.stopped
    if paused_until is not None and is_well and broker.control.close_breaker(paused_until):
        broker.record("breaker_closed")
    if lane.is_first and now % ESCROW_SWEPT_EVERY < RUN_EVERY:
        sweep(broker)
    measure_failed(broker, failed=run.failed, tended=run.tended)
    account_for(
        broker,
        lag=lag,
        answered=bool(run.answered),
        in_vain=in_vain,
        alarmed=run.stopped,
        lane=lane,
    )
    return run


def _due(
    broker: Broker, lane: Lane, *, now: int, limit: int, hanging: Collection[str]
) -> list[Due]:
    """Return what is due, oldest first; what one connector has due hides nothing of another's.

    Behind what a connector has due that hangs, or takes more than half the places of a full run,
    what the others have due is looked for.
    """
    due = broker.connections.due(now=now, limit=limit, shards=lane.shards)
    places = Counter(one.connector for one in due)
    crowds = [
        connector
        for connector, taken in places.items()
        if connector in hanging or (len(due) == limit and taken > limit // 2)
    ]
    if crowds:
        due += broker.connections.due(now=now, limit=limit, beside=crowds, shards=lane.shards)
    return sorted(dict.fromkeys(due), key=lambda one: one.due_at)


def _tend(
    broker: Broker, tending: Tending, run: Run, connection_id: str, remaining: Remaining
) -> None:
    """Tend one connection; whatever happens to it, those behind it get their turn."""
    if not run.is_open(remaining):
        return
    try:
        leased = claim(broker, connection_id, lease=new_lease(broker, remaining()), statuses=TENDED)
        run.tended.append(connection_id)
        if found := recover(broker, leased):
            settle_login(broker, found)  # a set that comes late is due now: the next run goes on
        else:
            _TASKS[leased.status](broker, tending, run, leased, remaining)
    except (RefreshInProgress, StaleGeneration, ConnectionNotFound):
        pass  # somebody else was here first
    except SetEscrowed as exc:
        run.hears(exc.connection)
    except RowUnreadable as exc:
        run.failed.append(connection_id)
        broker.record("row_unreadable", connection_id=connection_id, detail=exc.detail)
        _push_back(broker, connection_id, failures=10)
    except RowNewer as exc:
        run.failed.append(connection_id)
        broker.record(exc.event, connection_id=connection_id, detail=exc.detail)
        _push_back(broker, connection_id, failures=0)  # nothing else of it is touched
    except TokenBrokerError as exc:
        _deferred(broker, run, connection_id, exc)
    except Exception as exc:  # noqa: BLE001 - one row must not stop the run
        run.failed.append(connection_id)
        broker.record("row_unreadable", connection_id=connection_id, detail=type(exc).__name__)
        _push_back(broker, connection_id, failures=0)  # one that is claimed is due later anyway


def _push_back(broker: Broker, connection_id: str, *, failures: int) -> None:
    """Let those behind a row that cannot be handled have the next run."""
    due_at = broker.clock() + back_off(connection_id, failures)
    with suppress(TokenBrokerError):
        broker.connections.postpone(connection_id, due_at=due_at)


def _deferred(broker: Broker, run: Run, connection_id: str, exc: TokenBrokerError) -> None:
    """Say why; the run ends where those behind this one would fare the same."""
    run.failed.append(connection_id)
    run.deferred.append(connection_id)
    if isinstance(exc, AkoyaUnreached):
        run.unreached.append(connection_id)
    broker.record("tending_failed", connection_id=connection_id, detail=exc.detail)
    ours = exc.event == BrokerMisconfigured.event  # no secret, no key: whatever the row
    if ours:
        broker.record(exc.event, connection_id=connection_id, detail=exc.detail)
    with suppress(TokenBrokerError):
        until = broker.control.breaker()
        if (until is not None and until > broker.clock()) or (ours and not run.answered):
            run.stopped = True


def _refresh(
    broker: Broker, tending: Tending, run: Run, leased: Connection, remaining: Remaining
) -> None:
    if (suspect := leased.suspected) and suspect.reason in CONCLUSIVE_REASONS:
        end(broker, leased, reason=suspect.reason, quarantine=tending.quarantine)
        run.ended.append(leased.id)
        return
    try:
        landed = refresh_held(broker, leased, remaining, turns=run.turns)
    except GrantRefused as refused:
        run.hears(leased)
        is_over = end_or_suspect(
            broker, refused, end_after=tending.end_after, quarantine=tending.quarantine
        )
        (run.ended if is_over else run.suspected).append(leased.id)
        return
    run.hears(leased)
    settle_login(broker, landed)  # mends what a renewal that died half way has left


def _revoke(
    broker: Broker, tending: Tending, run: Run, leased: Connection, remaining: Remaining
) -> None:
    """Revoke the current refresh token at Akoya, then erase ours (RFC 7009)."""
    is_ours = leased.sealed is not None and leased.reason not in NOT_OURS_TO_END
    ended_as = _ended_at_akoya(broker, tending, run, leased, remaining) if is_ours else REVOKED
    if ended_as is not None:
        now = broker.clock()
        broker.connections.mark_revoked(
            leased, gone_at=now + tending.tombstone, now=now, event=ended_as
        )
        if ended_as == REVOKED:
            broker.record("connection_revoked", connection_id=leased.id)


def _expire(
    broker: Broker, tending: Tending, run: Run, leased: Connection, remaining: Remaining
) -> None:
    """Revoke and remove a link whose time to be confirmed is over.

    Before, settle its login: the process that linked may have died before it did.
    """
    if leased.keep_until and leased.keep_until > broker.clock():
        settle_login(broker, leased, lease_id=leased.lease.id if leased.lease else "")
        postpone(broker, leased, due_at=leased.keep_until, event="confirmation_awaited")
        return
    if leased.sealed is None or _ended_at_akoya(broker, tending, run, leased, remaining):
        broker.connections.delete(leased)
        broker.record("connection_unconfirmed", connection_id=leased.id)


def _ended_at_akoya(
    broker: Broker, tending: Tending, run: Run, leased: Connection, remaining: Remaining
) -> str | None:
    """Return what the end of the consent is called; None: not yet, the row is postponed."""
    if heir := heir_of(broker, leased):
        try:
            transfer(broker, leased, heir, remaining=remaining)
        except (RefreshInProgress, StaleGeneration, SetEscrowed):
            postpone(broker, leased, due_at=broker.clock(), event="transfer_deferred")
            return None
        return REVOKED
    ended_as = revoke(
        broker, leased, quarantine=tending.quarantine, remaining=remaining, turns=run.turns
    )
    if ended_as in (REVOKED, None):
        run.hears(leased)
    return ended_as


def _erase(
    broker: Broker, tending: Tending, run: Run, leased: Connection, remaining: Remaining
) -> None:
    """Try what an ended connection still holds; erase it once its time is over, or transferred."""
    now = broker.clock()
    if leased.sealed is None or (leased.keep_until or 0) <= now:
        is_owed = leased.superseded_by and leased.sealed  # to the connection it names
        if is_owed and not _ended_at_akoya(broker, tending, run, leased, remaining):
            return
        broker.connections.erase_token_set(leased, gone_at=now + ENDED_ROW_KEPT, now=now)
        broker.record("token_set_erased", connection_id=leased.id)
    elif may_be_tried(broker, leased):
        back = try_again(broker, leased, remaining, run.turns)
        run.hears(leased)
        if back:
            settle_login(broker, back)
    else:  # a renewal that died made it due before its time
        postpone(broker, leased, due_at=leased.keep_until or now, event="renewal_failed")


_TASKS: dict[Status, Callable[[Broker, Tending, Run, Connection, Remaining], None]] = {
    Status.LINKING: _expire,
    Status.PENDING_CONFIRMATION: _expire,
    Status.ACTIVE: _refresh,
    Status.REAUTH_REQUIRED: _erase,
    Status.SUPERSEDED: _erase,
    Status.REVOKE_PENDING: _revoke,
}
