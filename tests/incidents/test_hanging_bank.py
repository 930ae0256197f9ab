"""A bank that hangs harms nobody else: neither the schedule's other banks nor their callers.

The threads are real and live by one clock; each send to a bank that hangs lasts its read timeout.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

import pytest
import requests

from tests.acts import END_AFTER, TOMBSTONE, Inline
from tests.clock import START
from tests.incidents.fleet import HOUR, MINUTE, RATE, Fleet, connect, fleet_due_at
from tests.interruptions import before
from tests.virtual_time import VirtualTime
from tests.world import World
from token_broker.domain.errors import TokenBrokerError, UpstreamUnavailable
from token_broker.domain.refresh_policy import CANARY_HEARD_WITHIN, READ_TIMEOUT, SENDING_WINDOW
from token_broker.store.control import HANG_EXPLAINS, HANG_STANDS
from token_broker.use_cases import schedule
from token_broker.use_cases.bulkhead import HANG_TRIED, UNHEARD

A_RUN = RATE * SENDING_WINDOW
RUN_LASTS = 150
ANSWER_TAKES = 0.3
HANGS, WELL = "hangs", "well"


def bank_of(fleet: Fleet, connector: str) -> list[str]:
    return [one for one in fleet.living if fleet.table[one].connector == connector]


def tokens_of(world: World, ids: Iterable[str]) -> list[str]:
    return [world.broker.seal.open(world.row(one)).refresh_token.reveal() for one in ids]


def hang(fleet: Fleet, *banks: str) -> list[str]:
    """Let every request for those banks hang; return the list of the tokens that met it."""
    theirs = {t for bank in banks for t in tokens_of(fleet.world, bank_of(fleet, bank))}
    met: list[str] = []

    def before(request: requests.PreparedRequest) -> None:
        sent = next((one for one in theirs if one in str(request.body)), None)
        if sent is None:
            fleet.world.clock.advance(ANSWER_TAKES)
            return
        met.append(sent)
        fleet.world.clock.advance(READ_TIMEOUT)
        raise requests.ReadTimeout

    fleet.world.http.before = before
    return met


def run(fleet: Fleet, *, limit: int = A_RUN) -> schedule.Run:
    """Let one run pass, with threads if the world's time is theirs."""
    clock = fleet.world.clock
    began = clock.now
    return schedule.tend_due(
        fleet.world.broker,
        schedule.Tending(
            rate=RATE, limit=limit, quarantine=HOUR, tombstone=TOMBSTONE, end_after=END_AFTER
        ),
        workers=clock if isinstance(clock, VirtualTime) else Inline(),
        remaining=lambda: RUN_LASTS - (clock.now - began),
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    made = VirtualTime()
    monkeypatch.setattr(schedule, "wait", made.wait)
    return made


def is_well(fleet: Fleet, bank: str, *, generation: int = 2) -> bool:
    return {fleet.table[one].generation for one in bank_of(fleet, bank)} == {generation}


# ── the schedule ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hanging_first", [True, False], ids=["oldest", "among the others"])
def test_seventy_healthy_of_a_hundred_due_with_thirty_hanging_are_refreshed_in_the_same_run(
    clock: VirtualTime, hanging_first: bool
) -> None:
    banks = [HANGS] * 3 + [WELL] * 7
    fleet = fleet_due_at(
        [START - (HOUR if hanging_first and place % 10 < 3 else 0) + place for place in range(100)],
        connectors=banks,
        clock=clock,
    )
    clock.now = float(START + MINUTE * 2)
    met = hang(fleet, HANGS)

    run(fleet)

    assert is_well(fleet, WELL)
    assert len(set(met)) <= UNHEARD


def test_one_connection_that_hangs_does_not_keep_its_bank_waiting_nor_makes_it_known_to_hang(
    clock: VirtualTime,
) -> None:
    fleet = fleet_due_at([START + place for place in range(30)], clock=clock)
    clock.now = float(START + MINUTE)
    world = fleet.world
    (token,) = tokens_of(world, fleet.living[:1])

    def before(request: requests.PreparedRequest) -> None:
        if token in str(request.body):
            clock.advance(READ_TIMEOUT)
            raise requests.ReadTimeout

    world.http.before = before

    run(fleet)

    assert len(fleet.refreshed()) == 29
    assert world.recorded("connector_hangs") == []


def test_a_bank_that_begins_to_hang_in_the_midst_of_a_run_holds_half_of_its_threads(
    clock: VirtualTime,
) -> None:
    fleet = fleet_due_at(
        [START + place for place in range(100)], connectors=[HANGS, WELL], clock=clock
    )
    clock.now = float(START + 2 * MINUTE)
    spared = tokens_of(fleet.world, bank_of(fleet, HANGS)[:1])
    met = hang(fleet, HANGS)
    hangs = fleet.world.http.before
    assert hangs

    def before(request: requests.PreparedRequest) -> requests.Response | None:
        return None if spared[0] in str(request.body) else hangs(request)

    fleet.world.http.before = before

    run(fleet)

    assert len(set(met)) == schedule.THREADS // 2
    assert is_well(fleet, WELL)


@pytest.mark.parametrize("is_known", [True, False])
def test_what_a_hanging_bank_has_due_hides_nothing_that_another_has(
    clock: VirtualTime, is_known: bool
) -> None:
    fleet = fleet_due_at([START + place // 40 for place in range(50)], clock=clock)
    late = fleet_due_at_too(fleet, START + 50, WELL)
    clock.now = float(START + MINUTE)
    met = hang(fleet, "mikomo")
    if is_known:
        fleet.world.broker.control.hang_met(connector="mikomo", sent_at=START)

    run(fleet, limit=20)

    assert fleet.table[late].generation == 2
    assert len(set(met)) == UNHEARD


def test_the_canary_of_a_run_is_not_of_the_bank_that_just_hung(clock: VirtualTime) -> None:
    fleet = fleet_due_at(
        [START, START + 1, START + 2], connectors=[HANGS, HANGS, WELL], clock=clock
    )
    clock.now = float(START + MINUTE)
    hang(fleet, HANGS)
    fleet.world.broker.control.hang_met(connector=HANGS, sent_at=START)
    first = fleet.world.clock.now

    run(fleet)

    assert fleet.table[fleet.living[2]].issued_at == first


def test_a_canary_that_hangs_costs_the_other_banks_ten_seconds_once(clock: VirtualTime) -> None:
    fleet = fleet_due_at([START] * 5 + [START + 1], connectors=[HANGS] * 5 + [WELL], clock=clock)
    clock.now = float(START + MINUTE)
    hang(fleet, HANGS)
    began = clock()

    run(fleet)

    assert (fleet.table[fleet.living[5]].issued_at or 0) - began == CANARY_HEARD_WITHIN


def test_eight_banks_that_begin_to_hang_in_one_run_leave_the_ninth_its_turns_in_the_next(
    clock: VirtualTime,
) -> None:
    banks = [f"hangs {number}" for number in range(8)]
    fleet = fleet_due_at([START] * 80, connectors=banks, clock=clock)
    late = fleet_due_at_too(fleet, START + 1, WELL)
    clock.now = float(START + MINUTE)
    hang(fleet, *banks)

    run(fleet)
    run(fleet)

    assert fleet.table[late].generation == 2


def test_runs_try_a_bank_that_hangs_again_and_it_is_served_as_soon_as_one_is_answered(
    clock: VirtualTime,
) -> None:
    fleet = fleet_due_at(
        [START + place for place in range(40)], connectors=[HANGS, WELL], clock=clock
    )
    clock.now = float(START + MINUTE)
    met = hang(fleet, HANGS)
    for _ in range(3):
        run(fleet)
    assert len(set(met)) <= 3 * 2 * UNHEARD, "a thread that has waited 40 s may begin another"

    fleet.world.http.before = None
    run(fleet)
    run(fleet)

    assert fleet.world.recorded("connector_answers") == [{"connector": HANGS, "value": 1}]
    refreshed = sum(fleet.table[one].generation == 2 for one in bank_of(fleet, HANGS))
    assert refreshed >= 20 - len(set(met)), "those that were tried rest, as others that failed do"


def test_what_waits_for_a_bank_that_hangs_is_no_lag_of_the_schedule_nor_what_it_leaves_behind() -> (
    None
):
    fleet = fleet_due_at([START, START + 1], connectors=[HANGS, WELL])
    world = fleet.world
    world.clock.advance(HOUR)
    world.broker.control.hang_met(connector=HANGS, sent_at=START)

    def said() -> object:
        return world.recorded("oldest_due_seconds")[-1]["value"]

    run(fleet, limit=1)
    assert said() == HOUR - 1, "of the other bank"
    world.clock.advance(HANG_EXPLAINS - 1)
    world.broker.connections.postpone(fleet.living[0], due_at=world.clock())
    run(fleet, limit=0)
    assert said() == 0


# ── their callers ────────────────────────────────────────────────────────────────────────────────


def told(fleet: Fleet, connection_id: str) -> TokenBrokerError | None:
    """Ask for a bearer; return the error, if it is one."""
    try:
        fleet.world.hand_out(connection_id)
    except TokenBrokerError as exc:
        return exc
    return None


@pytest.fixture
def stale() -> Fleet:
    """One connection of each bank, whose bearers have expired."""
    fleet = fleet_due_at([START, START], connectors=[HANGS, WELL])
    fleet.world.clock.advance(3 * HOUR)
    return fleet


def test_a_caller_of_a_bank_that_timed_out_is_told_when_to_ask_again_and_nothing_is_sent(
    stale: Fleet,
) -> None:
    stale.world.broker.control.hang_met(connector=HANGS, sent_at=START)

    refused = told(stale, stale.living[0])

    assert isinstance(refused, UpstreamUnavailable)
    assert (refused.retry_after, stale.world.sends()) == (HANG_TRIED, 0)
    assert stale.table[stale.living[0]].failures == 0
    assert told(stale, stale.living[1]) is None, "another bank's"


def test_a_caller_of_a_bank_that_timed_out_is_served_the_living_bearer(stale: Fleet) -> None:
    one = stale.world.connect()
    stale.world.clock.now = float((one.expires_at or 0) - 30)
    stale.world.broker.control.hang_met(connector="mikomo", sent_at=START)

    bearer = stale.world.hand_out(one.id)

    assert (bearer.generation, stale.world.sends()) == (1, 0)


def test_a_callers_own_timeout_makes_its_bank_known_to_all(stale: Fleet) -> None:
    hang(stale, HANGS)

    told(stale, stale.living[0])

    assert [one["connector"] for one in stale.world.recorded("connector_hangs")] == [HANGS] * 2
    assert stale.world.broker.control.hangs()[HANGS].stands(stale.world.clock())


def test_callers_try_again_where_the_schedule_has_nothing_to_try(stale: Fleet) -> None:
    stale.world.broker.control.hang_met(connector=HANGS, sent_at=START)
    stale.world.clock.advance(HANG_STANDS)

    assert told(stale, stale.living[0]) is None


def test_callers_are_served_as_soon_as_the_schedule_was_answered(stale: Fleet) -> None:
    stale.world.broker.control.hang_met(connector=HANGS, sent_at=START)
    other = fleet_due_at_too(stale, START, HANGS)

    run(stale)
    stale.world.clock.advance(3 * HOUR)

    assert stale.world.recorded("connector_answers")
    assert told(stale, other) is None


@pytest.mark.parametrize("is_known", [True, False])
def test_twenty_callers_at_a_hanging_bank_leave_another_banks_hand_outs_untouched(
    is_known: bool,
) -> None:
    """Real threads; those at the hanging bank wait until the other's callers are served."""
    fleet = fleet_due_at([START] * 40, connectors=[HANGS, WELL])
    world = fleet.world
    world.clock.advance(3 * HOUR)
    theirs, served = tokens_of(world, bank_of(fleet, HANGS)), Event()
    if is_known:
        world.broker.control.hang_met(connector=HANGS, sent_at=START)

    def before(request: requests.PreparedRequest) -> None:
        if any(one in str(request.body) for one in theirs):
            assert served.wait(30)
            raise requests.ReadTimeout

    world.http.before = before
    with ThreadPoolExecutor(20) as at_the_hanging, ThreadPoolExecutor(20) as others:
        hanging = [at_the_hanging.submit(told, fleet, one) for one in bank_of(fleet, HANGS)]
        answers = list(others.map(lambda one: told(fleet, one), bank_of(fleet, WELL)))
        served.set()

    assert answers == [None] * 20
    assert all(isinstance(one.result(), UpstreamUnavailable) for one in hanging)
    assert world.sends() == 20 + (0 if is_known else 40)


# ── the quiet path ───────────────────────────────────────────────────────────────────────────────


def test_while_no_bank_hangs_nothing_is_noted_and_nothing_more_is_read() -> None:
    fleet = fleet_due_at([START] * 4, connectors=[HANGS, WELL])
    world, control = fleet.world, fleet.world.broker.control
    calls: list[str] = []
    for name in ("get", "transact", "put", "update"):
        before(control._rows, name, partial(calls.append, name))
    world.clock.advance(3 * HOUR)

    told(fleet, fleet.living[0])
    run(fleet)

    assert calls == ["get"], "what every sender reads, once in ten seconds"


def fleet_due_at_too(fleet: Fleet, moment: int, connector: str) -> str:
    """Add one connection to a fleet."""
    one = connect(fleet, due_at=moment, expires_at=moment + 2 * HOUR, connector=connector)
    fleet.living.append(one)
    return one
