"""When the table does not take a new set for longer than a function lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.acts import FUNCTION_TIMEOUT
from tests.interleavings.cuts import KilledError
from tests.interleavings.flows import Person, sent_out
from tests.interruptions import before, before_akoya_is_heard, cut_at, table_away
from tests.world import World
from token_broker.domain.authorization import Redirect
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import (
    BrokerMisconfigured,
    ConnectionNotFound,
    ExchangeInProgress,
    OutcomeUnknown,
    SetEscrowed,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.use_cases.persist import ESCROW_TRY, TABLE_TRY

in_both_dialects = pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])


def escrowed(world: World, connection_id: str, generation: int) -> bool:
    return world.broker.escrow.find(connection_id, generation) is not None


def left_in_escrow(world: World, subject: str = "ada", connection_id: str | None = None) -> Person:
    """Have a person consent and come back while the table is away."""
    person = sent_out(world, subject, connection_id)
    with table_away(world), pytest.raises(SetEscrowed):
        world.come_back(person.address)
    return person


def come_back(world: World, address: str) -> Redirect:
    """Deliver a redirect while the table is away, then again once it is back."""
    with table_away(world), pytest.raises(SetEscrowed):
        world.come_back(address)
    with pytest.raises(ExchangeInProgress):
        world.come_back(address)
    world.pass_a_lease()
    return world.come_back(address)


# ── a refresh ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_the_next_run_applies_the_set_before_it_sends_anything(world: World, dialect: str) -> None:
    world.provider.change_settings({"dialect": dialect})
    one = world.connect()
    world.make_due(one.id)
    with table_away(world):
        world.run_schedule()
    assert world.row(one.id).generation == 1
    assert escrowed(world, one.id, 2)

    world.pass_a_lease()
    world.run_schedule()

    row = world.row(one.id)
    assert (row.generation, row.unsettled, row.lease) == (2, 0, None)
    assert not escrowed(world, one.id, 2)
    assert world.sends() == 1
    assert world.hand_out(one.id).generation == 2


def test_a_caller_is_handed_the_bearer_that_was_put_into_escrow(world: World) -> None:
    one = world.connect()
    world.clock.now = float(one.expires_at or 0)
    with table_away(world):
        bearer = world.hand_out(one.id)

    assert bearer.generation == 2
    assert world.is_accepted(bearer)

    world.pass_a_lease()
    assert world.hand_out(one.id) == bearer  # who comes next lands it, as the schedule does
    assert world.row(one.id).generation == 2
    assert world.sends() == 1


def table_takes_no_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        world.clock.advance(2)
        raise UpstreamUnavailable(detail="away")

    ends_at = world.clock.now + FUNCTION_TIMEOUT
    monkeypatch.setattr(world.broker.connections, "land", refuse)
    monkeypatch.setattr(world, "remaining", lambda: ends_at - world.clock.now)


@pytest.mark.parametrize("by_schedule", [True, False])
def test_a_row_whose_set_is_in_escrow_is_due_now_and_nothing_is_sent_before_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, *, by_schedule: bool
) -> None:
    world = World.in_memory("gen2-strict")
    one = world.connect()
    world.make_due(one.id)
    with monkeypatch.context() as patch:
        table_takes_no_set(world, patch)
        world.run_schedule()
    row = world.row(one.id)
    assert (row.generation, row.lease, row.due_at) == (1, None, world.clock())

    if by_schedule:
        world.run_schedule()
    assert world.hand_out(one.id, rejected=1).generation == 2
    assert world.sends() == 1
    assert world.is_alive(world.row(one.id))


def test_a_run_goes_on_where_a_set_is_left_to_escrow(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.in_memory()
    for login in ("mikomo_1", "mikomo_2"):
        world.make_due(world.connect(login, login).id)
    with monkeypatch.context() as patch:
        table_takes_no_set(world, patch)
        run = world.run_schedule()

    assert len(run.answered) == world.sends() == 2
    assert run.failed == []


def test_a_person_is_connected_by_the_run_that_follows_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    person = sent_out(world)
    with monkeypatch.context() as patch:
        table_takes_no_set(world, patch)
        with pytest.raises(SetEscrowed):
            world.come_back(person.address)

    world.run_schedule()

    assert world.come_back(person.address).result.status == "pending_confirmation"
    assert world.sends("authorization_code") == 1


def test_a_set_is_in_escrow_two_seconds_after_its_answer_while_the_table_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    put_at: list[float] = []
    answered_at: list[float] = []
    before(world.broker.escrow, "put", lambda: put_at.append(world.clock.now))
    before_akoya_is_heard(world, "refresh_token", lambda: answered_at.append(world.clock.now))
    table_takes_no_set(world, monkeypatch)
    world.run_schedule()

    assert put_at[0] - answered_at[0] <= 2
    assert escrowed(world, one.id, 2)


def test_a_table_that_comes_back_takes_the_set_and_escrow_lets_go_of_it() -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)

    def hiccup() -> None:
        raise UpstreamUnavailable(detail="away")

    before(world.broker.connections, "land", hiccup)
    world.run_schedule()

    assert world.row(one.id).generation == 2
    assert not escrowed(world, one.id, 2)
    assert world.recorded("persist_retried")
    assert world.recorded("escrow_used") == []


def test_a_try_on_escrow_that_took_effect_unheard_is_removed_once_the_set_has_landed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    put = world.broker.escrow.put

    def unheard(landing: Any) -> None:
        put(landing)
        raise UpstreamUnavailable(detail="S3: ReadTimeoutError")

    def hiccup() -> None:
        raise UpstreamUnavailable(detail="away")

    monkeypatch.setattr(world.broker.escrow, "put", unheard)
    before(world.broker.connections, "land", hiccup)
    world.run_schedule()

    assert world.row(one.id).generation == 2
    assert not escrowed(world, one.id, 2)


def test_a_set_that_nothing_took_is_said_so_once_with_connection_and_attempt(memory: World) -> None:
    one = memory.connect()
    memory.make_due(one.id)
    with table_away(memory, bucket_too=True):
        memory.run_schedule()

    (said,) = memory.recorded("token_persist_failed")
    assert said["connection_id"] == one.id
    assert len(said["attempt_id"]) == 32
    assert said["generation"] == 2
    assert memory.pass_refusals(one.id).reason is Reason.ROTATION_LOST
    assert len(memory.recorded("token_persist_failed")) == 1


# ── what it takes to get there ───────────────────────────────────────────────────────────────────


def due_in_memory() -> tuple[World, str]:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    return world, one.id


def ends_in(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> Callable[[float], None]:
    """Let the process end so long after Akoya has answered; return what spends of that time."""
    ends_at: list[float] = []

    def spend(seconds: float) -> None:
        world.clock.advance(seconds)
        if world.clock.now >= ends_at[0]:
            raise KilledError

    before_akoya_is_heard(world, "refresh_token", lambda: ends_at.append(world.clock.now + seconds))
    monkeypatch.setattr(
        world, "remaining", lambda: ends_at[0] - world.clock.now if ends_at else FUNCTION_TIMEOUT
    )
    return spend


def hanging(spend: Callable[[float], None], seconds: float) -> Callable[..., None]:
    """Return a write that is given up after so many seconds."""

    def hang(*_: Any, **__: Any) -> None:
        spend(seconds)
        raise UpstreamUnavailable(detail="ReadTimeoutError")

    return hang


def test_a_table_that_hangs_leaves_escrow_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    world, connection_id = due_in_memory()
    spend = ends_in(world, monkeypatch, 12.5)
    monkeypatch.setattr(world.broker.connections, "land", hanging(spend, TABLE_TRY))
    before(world.broker.escrow, "put", lambda: spend(0.3))
    with suppress(KilledError):
        world.run_schedule()

    assert escrowed(world, connection_id, 2)


@pytest.mark.parametrize("seconds", [12.1, 12.15, 16.3])
def test_no_write_begins_that_cannot_end_before_the_process_does(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Table and bucket hang: whoever loses the set must still be able to say so."""
    world, _ = due_in_memory()
    spend = ends_in(world, monkeypatch, seconds)
    monkeypatch.setattr(world.broker.connections, "land", hanging(spend, TABLE_TRY))
    monkeypatch.setattr(world.broker.escrow, "put", hanging(spend, ESCROW_TRY))
    with suppress(KilledError):
        world.run_schedule()

    assert world.recorded("token_persist_failed")


def test_escrow_is_tried_again_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hiccup of S3 while the table refuses for want of a permission."""
    world, connection_id = due_in_memory()

    def refuse(*_: Any, **__: Any) -> None:
        raise BrokerMisconfigured(detail="DynamoDB: AccessDeniedException")

    def hiccup() -> None:
        raise UpstreamUnavailable(detail="S3: SlowDown")

    monkeypatch.setattr(world.broker.connections, "land", refuse)
    before(world.broker.escrow, "put", hiccup)
    world.run_schedule()

    assert escrowed(world, connection_id, 2)


def test_persist_falls_back_to_escrow_whatever_the_table_adapter_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, connection_id = due_in_memory()

    def bug(*_: Any, **__: Any) -> None:
        raise ValueError("a bug after the 200")

    monkeypatch.setattr(world.broker.connections, "land", bug)
    world.run_schedule()

    assert escrowed(world, connection_id, 2)


def test_the_table_is_tried_once_however_little_time_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, connection_id = due_in_memory()
    ends_in(world, monkeypatch, TABLE_TRY / 2)
    world.run_schedule()

    assert world.row(connection_id).generation == 2


def test_a_set_that_a_newer_one_overtook_is_not_left_in_escrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table hiccups, so the set goes to escrow; then it says that a newer one has landed."""
    world, connection_id = due_in_memory()
    tries: list[type[TokenBrokerError]] = [StaleGeneration, UpstreamUnavailable]

    def overtaken(*_: Any, **__: Any) -> None:
        raise tries.pop()

    monkeypatch.setattr(world.broker.connections, "land", overtaken)
    world.run_schedule()

    assert tries == []
    assert not escrowed(world, connection_id, 2)


# ── a new connection ─────────────────────────────────────────────────────────────────────────────


def test_a_person_whose_set_is_in_escrow_is_connected_by_the_reloaded_page(world: World) -> None:
    address = world.consent(world.open(world.begin()))

    went = come_back(world, address)

    assert went.result.status == "pending_confirmation"
    assert world.hand_out(world.confirm(went).id).generation == 1
    assert not escrowed(world, went.result.connection_id, 1)
    assert world.sends("authorization_code") == 1


def test_a_page_reloaded_after_a_hiccup_of_the_table_need_not_wait_for_a_lease_to_end() -> None:
    world = World.in_memory()
    person = left_in_escrow(world)
    world.pass_a_lease()
    with cut_at(world.broker.connections, "land", UpstreamUnavailable):
        world.come_back(person.address)
    world.clock.advance(5)

    assert world.come_back(person.address).result.status == "pending_confirmation"


def test_a_person_who_does_not_reload_leaves_no_consent_behind(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    with table_away(world), pytest.raises(SetEscrowed):
        world.come_back(address)

    for _ in range(8):
        world.clock.advance(300)
        world.run_schedule()

    (grant,) = world.provider.grants()
    assert grant["ended"]
    assert world.broker.connections.of_subject("ada") == []
    late = world.come_back(address)
    assert late.result.status == "failed"
    with pytest.raises(ConnectionNotFound):
        world.row(late.result.connection_id)


# ── a renewed consent ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ended", [False, True], ids=["active", "ended"])
@pytest.mark.parametrize("reloads", [False, True], ids=["by the schedule", "by the reloaded page"])
def test_a_renewed_consent_in_escrow_is_kept(memory: World, *, ended: bool, reloads: bool) -> None:
    one = memory.connect()
    if ended:
        memory.provider.expire("refresh_token")
        assert memory.pass_refusals(one.id).status is Status.REAUTH_REQUIRED
    address = memory.consent(memory.open(memory.begin(connection_id=one.id)))
    with table_away(memory), pytest.raises(SetEscrowed):
        memory.come_back(address)
    refused_so_far = len(memory.refused())

    memory.pass_a_lease()
    if reloads:
        assert memory.come_back(address).result.status == "active"
    else:
        memory.run_schedule()

    row = memory.row(one.id)
    assert (row.status, row.generation) == (Status.ACTIVE, 2)
    assert memory.hand_out(one.id).generation == 2
    memory.make_due(one.id)
    memory.run_schedule()
    assert memory.row(one.id).generation == 3
    assert len(memory.refused()) == refused_so_far


def test_a_renewal_that_died_does_not_shorten_the_quarantine(memory: World) -> None:
    one = memory.connect()
    memory.provider.expire("refresh_token")
    kept_until = memory.pass_refusals(one.id).keep_until or 0
    address = memory.consent(memory.open(memory.begin(connection_id=one.id)))
    with table_away(memory, bucket_too=True), pytest.raises(OutcomeUnknown):
        memory.come_back(address)

    memory.pass_a_lease()
    memory.run_schedule()

    row = memory.row(one.id)
    assert row.sealed is not None
    assert row.keep_until == kept_until
    assert memory.clock() < (row.due_at or 0) < kept_until


def test_a_renewal_in_escrow_is_not_lost_to_the_transfer_of_an_older_link() -> None:
    world = World.in_memory("gen1")
    first = world.connect("ada")
    world.clock.advance(5)
    world.link("grace")
    world.clock.advance(850)
    left_in_escrow(world, "ada", first.id)
    assert escrowed(world, first.id, 2)

    world.pass_a_lease()  # the attempt's lease is over; the unconfirmed link is due longer
    world.pass_minutes(30)

    row = world.row(first.id)
    assert row.status is Status.ACTIVE
    assert world.is_alive(row)


@in_both_dialects
def test_a_renewal_in_escrow_is_not_lost_to_an_older_link_that_is_confirmed(dialect: str) -> None:
    world = World.in_memory(dialect)
    first = world.connect("ada")
    world.clock.advance(5)
    went = world.link("grace")
    world.clock.advance(5)
    left_in_escrow(world, "ada", first.id)
    assert escrowed(world, first.id, 2)

    world.pass_minutes(3)  # the attempt's lease ends; the schedule has had its chances
    with suppress(TokenBrokerError):
        world.confirm(went, "grace")
    world.pass_minutes(60)

    assert [world.is_alive(row) for row in world.active()] == [True]
    assert world.recorded("escrow_stranded") == []


@in_both_dialects
def test_a_renewal_in_escrow_does_not_stand_beside_a_later_consent_to_the_same_login(
    dialect: str,
) -> None:
    """Of two consents the later one is the one to keep: one login, one connection."""
    world = World.in_memory(dialect)
    first = world.connect("ada")
    world.clock.advance(5)
    second = world.confirm(world.link("grace"), "grace")
    world.clock.advance(5)
    left_in_escrow(world, "ada", first.id)
    world.clock.advance(5)
    world.link("grace", second.id)
    world.pass_minutes(60)

    assert [row.id for row in world.active()] == [second.id]
    assert world.recorded("reauthorization_required") == []


def test_an_older_connection_is_not_ended_while_the_set_of_a_new_link_is_in_escrow() -> None:
    """That link has ended its tokens, and the link's row is not looked at for a while."""
    world = World.in_memory("gen1")
    first = world.connect("ada")
    world.make_due(first.id)
    left_in_escrow(world, "grace")
    world.pass_minutes(30)

    assert world.recorded("reauthorization_required") == []
    assert world.is_alive(world.row(first.id))


def test_a_transfer_is_not_overtaken_by_the_dead_tokens_of_an_older_renewal_in_escrow() -> None:
    """The link has ended what the renewal brings."""
    world = World.in_memory("gen1")
    first = world.connect("ada")
    world.clock.advance(600)
    left_in_escrow(world, "ada", first.id)
    world.pass_a_lease()
    world.link("grace")
    world.pass_minutes(60)

    assert world.recorded("reauthorization_required") == []
    assert world.is_alive(world.row(first.id))


# ── of a connection that was superseded ──────────────────────────────────────────────────────────


def superseded(world: World) -> Connection:
    """Leave a rotation in escrow, then let a later link of the login take over."""
    first = world.connect("ada")
    world.make_due(first.id)
    with table_away(world):
        world.run_schedule()
    world.pass_a_lease()  # until then the older one may be getting tokens
    world.confirm(world.link("grace"), "grace")
    assert world.row(first.id).status is Status.SUPERSEDED
    return first


def test_a_set_in_escrow_of_a_superseded_connection_does_not_make_it_active_again() -> None:
    """A renewal is prepared for and given up; no consent has come of it."""
    world = World.in_memory("gen1")
    first = superseded(world)
    renewal = sent_out(world, "ada", first.id)
    sent = world.sends("authorization_code")
    with cut_at(world.finishing.authorizations, "mark_sent", UpstreamUnavailable):
        world.come_back(renewal.address)
    assert world.sends("authorization_code") == sent
    world.pass_minutes(10)

    assert world.row(first.id).status is Status.SUPERSEDED


def test_a_set_in_escrow_of_a_superseded_connection_is_let_go_of() -> None:
    world = World.in_memory()
    first = superseded(world)
    world.clock.advance(2 * 86_400)
    world.pass_minutes(5)

    stranded = [said["connection_id"] for said in world.recorded("escrow_stranded")]
    assert stranded.count(first.id) <= 1


# ── what stays behind ────────────────────────────────────────────────────────────────────────────


A_QUARTER = 900


def sweep(world: World) -> None:
    """Let the next run come that sweeps."""
    world.clock.now += -world.clock.now % A_QUARTER
    world.run_schedule()


def sweep_after_an_hour(world: World) -> None:
    world.clock.advance(3_600)
    sweep(world)


def test_escrow_is_swept_by_one_run_of_each_quarter_of_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    looked: list[int] = []

    def look(moment: int) -> Iterator[Any]:
        looked.append(moment)
        return iter(())

    monkeypatch.setattr(world.broker.escrow, "put_before", look)
    for _ in range(60):
        world.clock.advance(60)
        world.run_schedule()

    assert len(looked) == 4


def test_a_set_whose_row_is_gone_is_reported_once_and_removed() -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    with table_away(world):
        world.run_schedule()
    world.memory.clear()

    for _ in range(4):
        sweep_after_an_hour(world)

    assert len(world.recorded("escrow_stranded")) == 1
    assert not escrowed(world, one.id, 2)


def test_a_set_whose_row_does_not_read_is_kept_and_reported_and_hides_no_other() -> None:
    world = World.in_memory()
    both = [world.connect(), world.connect("bob", "mikomo_2")]
    for one in both:
        world.make_due(one.id)
        with table_away(world):
            world.run_schedule()
    for one in both:
        world.memory.spoil(one.id, {"status": "ODD"})

    sweep_after_an_hour(world)

    stranded = {said["connection_id"] for said in world.recorded("escrow_stranded")}
    assert stranded == {one.id for one in both}
    assert world.recorded("escrow_unswept") == []
    assert all(escrowed(world, one.id, 2) for one in both)


def test_a_set_that_stayed_behind_after_landing_is_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    with table_away(world):
        world.run_schedule()
    world.pass_a_lease()

    def refuse(*_: Any, **__: Any) -> None:
        raise UpstreamUnavailable(detail="away")

    with monkeypatch.context() as patch:
        patch.setattr(world.broker.escrow, "discard", refuse)
        world.run_schedule()
    assert world.row(one.id).generation == 2
    assert escrowed(world, one.id, 2)

    sweep_after_an_hour(world)

    assert not escrowed(world, one.id, 2)
    assert not world.recorded("escrow_stranded")


def test_a_set_nobody_came_for_within_an_hour_is_reported_by_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    with table_away(world):
        world.run_schedule()
    monkeypatch.setattr(world.broker.connections, "due", lambda **_: [])

    world.clock.advance(A_QUARTER)
    sweep(world)
    assert not world.recorded("escrow_stranded")
    sweep_after_an_hour(world)

    (said,) = world.recorded("escrow_stranded")
    assert (said["connection_id"], said["generation"]) == (one.id, 2)
    assert escrowed(world, one.id, 2)
