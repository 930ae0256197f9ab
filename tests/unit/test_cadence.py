"""How many refresh tokens a use spends: rotations follow what is asked for, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cadence import DAY, HOUR, LIVES, every, idle, live, nightly
from tests.loopback import http_response
from tests.world import World
from token_broker.domain.connection import Connection, Lease
from token_broker.domain.errors import RequestRejected, TokenBrokerError
from token_broker.domain.refresh_policy import NEXT_USE_WITHIN, Ask, RefreshPolicy

EACH_LIFE = pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
POLICY = RefreshPolicy(margin=HOUR, keep_alive=7 * DAY)


@pytest.fixture
def memory() -> World:
    return World.in_memory()


def held(world: World, number: int, life: int) -> Connection:
    """Return a connection that got its set now."""
    now = world.clock()
    return Connection(
        id=f"{number:032x}",
        subject="ada",
        connector="mikomo",
        status=world.active()[0].status,
        linked_at=now,
        updated_at=now,
        generation=1,
        issued_at=now,
        expires_at=now + life,
    )


# ── what a use spends ────────────────────────────────────────────────────────────────────────────


@EACH_LIFE
def test_an_idle_connection_spends_its_keep_alive_alone(life: int) -> None:
    assert live(life, idle, days=28).rotations <= 5  # 6.3 to 7 days apart


@pytest.mark.parametrize("life", [LIVES["15 min"], LIVES["1 h"]])
def test_a_nightly_caller_spends_three_refresh_tokens_a_day_at_most(life: int) -> None:
    assert live(life, nightly, days=14).a_day <= 3


def test_a_nightly_caller_spends_one_a_life_where_a_bearer_lives_a_day() -> None:
    lived = live(DAY, nightly, days=14)

    assert lived.rotations <= lived.days * DAY // (DAY - 2 * HOUR)


@EACH_LIFE
def test_a_nightly_caller_that_says_so_spends_one_a_day_and_waits_for_none(life: int) -> None:
    lived = live(life, nightly, days=14, says_next_use=True)

    assert (lived.rotations, lived.waits <= 1) == (14, True)  # the first night is not foreseen


@EACH_LIFE
def test_a_caller_of_every_few_minutes_waits_for_no_refresh(life: int) -> None:
    lived = live(life, every(300), days=2)

    assert lived.waits <= 1  # the first ask after an idle night
    assert lived.rotations >= lived.days * DAY // life - 1


def test_an_ask_is_noted_once_a_generation_and_not_where_it_causes_the_rotation() -> None:
    lived = live(900, every(300), days=1)
    assert lived.notes <= lived.rotations

    once_a_day = live(900, nightly, days=7)
    assert (once_a_day.waits, once_a_day.notes) == (7, 0)


def test_rotations_and_hand_outs_are_counted(memory: World) -> None:
    one = memory.connect()
    memory.hand_out(one.id)
    memory.make_due(one.id)
    memory.run_schedule()

    counted = [len(memory.recorded(event)) for event in ("token_handed_out", "token_refreshed")]
    assert counted == [1, 1]


# ── what the row says ────────────────────────────────────────────────────────────────────────────


def test_a_bearer_that_nobody_asked_for_is_not_renewed_before_it_expires(memory: World) -> None:
    one = memory.connect()
    memory.make_due(one.id)
    memory.run_schedule()

    row = memory.row(one.id)
    assert row.asked_at is None
    assert (row.due_at or 0) - memory.clock() > 6 * DAY


def test_the_first_ask_of_a_living_bearer_makes_it_due_before_it_expires(memory: World) -> None:
    one = memory.connect()
    memory.make_due(one.id)
    memory.run_schedule()
    memory.clock.advance(60)
    memory.hand_out(one.id)

    row = memory.row(one.id)
    assert row.asked_at == memory.clock()
    assert memory.clock() < (row.due_at or 0) < (row.expires_at or 0)


def test_an_ask_in_the_last_part_of_a_life_makes_it_due_at_once(memory: World) -> None:
    one = memory.connect()
    memory.make_due(one.id)
    memory.run_schedule()
    memory.clock.now = (memory.row(one.id).expires_at or 0) - 90
    memory.hand_out(one.id)

    assert memory.row(one.id).due_at == memory.clock() + 1


def test_an_expired_bearer_of_an_idle_connection_is_refreshed_for_its_caller(
    memory: World,
) -> None:
    one = memory.connect()
    memory.make_due(one.id)
    memory.run_schedule()
    memory.clock.advance(DAY)

    assert memory.hand_out(one.id).generation == 3
    row = memory.row(one.id)
    assert row.asked_at == memory.clock()
    assert (row.due_at or 0) < (row.expires_at or 0)


def test_asking_brings_no_attempt_forward_that_failed(memory: World) -> None:
    memory.provider.change_settings({"id_token_lifetime": DAY})
    one = memory.connect()
    memory.make_due(one.id)
    memory.http.before = lambda _: http_response(503)
    memory.run_schedule()
    before = memory.row(one.id).due_at
    memory.hand_out(one.id)

    assert memory.row(one.id).due_at == before


def test_a_rotation_without_a_bearer_leaves_the_one_in_use_in_use(memory: World) -> None:
    one = memory.connect()
    memory.provider.arm({"fault": "id_token_missing", "times": 1})
    memory.make_due(one.id)
    memory.run_schedule()

    row = memory.row(one.id)
    assert (row.generation, row.expires_at) == (2, one.expires_at)
    assert (row.due_at or 0) <= (one.expires_at or 0)


def test_a_set_out_of_escrow_is_in_use_as_its_caller_left_it(memory: World) -> None:
    one = memory.connect()
    memory.clock.advance(DAY)
    rows, put = memory.broker.connections, memory.broker.connections.land

    def away(*_: object, **__: object) -> None:
        raise TokenBrokerError

    object.__setattr__(rows, "land", away)
    memory.hand_out(one.id)
    object.__setattr__(rows, "land", put)
    memory.pass_minutes(3)

    row = memory.row(one.id)
    assert (row.generation, row.asked_at is not None) == (2, True)


# ── next_use ─────────────────────────────────────────────────────────────────────────────────────


@EACH_LIFE
def test_a_thousand_nightly_jobs_are_renewed_before_their_hour_and_not_all_at_once(
    memory: World, life: int
) -> None:
    memory.connect()
    now, tomorrow = memory.clock(), memory.clock() + DAY + HOUR
    due = [
        POLICY.due_at(held(memory, n, life), now=now, ask=Ask(at=now, next_use=tomorrow))
        for n in range(1_000)
    ]

    early, half = POLICY.early(life), POLICY.longest_min_validity(life)
    assert all(tomorrow - half < one <= tomorrow - early for one in due)
    assert max(due) - min(due) > 0.9 * (half - early)


def test_who_asks_again_within_the_life_of_a_bearer_has_it_renewed_as_without_a_word(
    memory: World,
) -> None:
    memory.connect()
    row, now = held(memory, 1, 900), memory.clock()

    said = POLICY.due_at(row, now=now, ask=Ask(at=now, next_use=now + 300))
    assert said == POLICY.due_at(row, now=now, ask=Ask(at=now))


def test_a_later_next_use_takes_the_bearer_from_no_other_caller(memory: World) -> None:
    one = memory.connect()
    due_at = memory.row(one.id).due_at
    memory.hand_out(one.id, next_use=memory.clock() + DAY)
    assert memory.row(one.id).due_at == due_at

    memory.clock.advance(DAY)
    memory.hand_out(one.id, next_use=memory.clock() + DAY)
    row = memory.row(one.id)
    assert (row.asked_at, (row.due_at or 0) > memory.clock() + DAY // 2) == (None, True)
    memory.hand_out(one.id)
    row = memory.row(one.id)
    assert (row.asked_at, (row.due_at or 0) < (row.expires_at or 0)) == (memory.clock(), True)


@pytest.mark.parametrize("seconds", [-DAY, 0, NEXT_USE_WITHIN + 1])
def test_a_next_use_that_is_over_or_beyond_a_year_is_refused_and_changes_nothing(
    memory: World, seconds: int
) -> None:
    one = memory.connect()
    memory.clock.advance(DAY)
    before = memory.row(one.id)
    with pytest.raises(RequestRejected, match="next_use"):
        memory.hand_out(one.id, next_use=memory.clock() + seconds)

    assert (memory.row(one.id), memory.sends()) == (before, 0)


def test_a_next_use_far_ahead_is_no_reason_to_let_the_consent_die(memory: World) -> None:
    memory.connect()
    row, now = held(memory, 1, DAY), memory.clock()
    far = replace(row, id="f" * 32)

    due = POLICY.due_at(far, now=now, ask=Ask(at=now, next_use=now + 300 * DAY))
    assert due <= now + POLICY.keep_alive


@pytest.mark.parametrize("hindered", ["leased", "rests"])
def test_what_is_tried_already_is_handed_out_without_a_write(
    memory: World, monkeypatch: pytest.MonkeyPatch, hindered: str
) -> None:
    """A refresh is under way, or due soon after a failure: asking makes it no sooner."""
    one = memory.connect()
    row = replace(memory.row(one.id), due_at=memory.clock() + DAY)
    lease = Lease(id="another", until=memory.clock() + 60, since=memory.clock())
    memory.memory[one.id] = (
        replace(row, lease=lease) if hindered == "leased" else replace(row, failures=1)
    )
    monkeypatch.setattr(memory.broker.connections, "make_due", None)

    assert memory.hand_out(one.id).generation == row.generation
