"""What every control table, escrow, seal and client secret must do."""

from __future__ import annotations

import dataclasses

import pytest

from tests.world import World
from token_broker.adapters.client_credentials import SecretsManagerPresence
from token_broker.domain.connection import Connection, Landing, Reason, Status, Suspect
from token_broker.domain.errors import RowUnreadable
from token_broker.domain.secret_text import SecretText
from token_broker.domain.suspicion import Witness
from token_broker.domain.token_set import TokenSet, Verdict
from token_broker.store.control import Control, Hang, Trouble
from token_broker.use_cases.broker import Broker

NOW = 1_800_000_000
LANDING = Landing(
    connection_id="c" * 32,
    generation=7,
    attempt_id="attempt",
    sealed=b"\x00sealed",
    login="login",
    issued_at=NOW,
    expires_at=NOW + 900,
    verdict=Verdict.BAD,
    iat=NOW - 3,
    suspect=Suspect(generation=7, reason=Reason.LOGIN_CHANGED, since=NOW, streak_since=NOW),
)
ROW = Connection(
    id="c" * 32,
    subject="ada",
    connector="mikomo",
    status=Status.ACTIVE,
    linked_at=NOW,
    updated_at=NOW,
    generation=3,
)
TOKENS = TokenSet(refresh_token=SecretText("rt"), id_token=SecretText("it"))


@pytest.fixture(params=["aws", "memory"])
def either(request: pytest.FixtureRequest) -> World:
    made: World = (
        World.in_memory() if request.param == "memory" else request.getfixturevalue("world")
    )
    return made


@pytest.fixture
def broker(either: World) -> Broker:
    return either.broker


def another(world: World) -> Control:
    """Return what another process knows of the control table."""
    control = world.broker.control
    return Control(control._rows, clock=world.clock, record=world.broker.record)


def test_escrow_gives_back_what_it_was_given_for_that_generation_alone(broker: Broker) -> None:
    broker.escrow.put(LANDING)

    assert broker.escrow.find(LANDING.connection_id, 7) == LANDING
    assert broker.escrow.find(LANDING.connection_id, 8) is None
    assert broker.escrow.find("d" * 32, 7) is None

    assert list(broker.escrow.put_before(1)) == []
    assert list(broker.escrow.put_before(4_000_000_000)) == [(LANDING.connection_id, 7, "attempt")]

    broker.escrow.discard(LANDING.connection_id, 7, "attempt")
    assert list(broker.escrow.put_before(4_000_000_000)) == []
    assert broker.escrow.find(LANDING.connection_id, 7) is None
    broker.escrow.discard(LANDING.connection_id, 7, "attempt")


def test_no_attempt_overwrites_or_discards_what_another_left_in_escrow(broker: Broker) -> None:
    consented = dataclasses.replace(LANDING, attempt_id="consent", consent="consent")
    late = dataclasses.replace(LANDING, attempt_id="late", issued_at=NOW + 5, suspect=None)
    for one in (LANDING, consented, late):
        broker.escrow.put(one)

    assert broker.escrow.find(LANDING.connection_id, 7) == consented
    broker.escrow.discard(LANDING.connection_id, 7, "consent")
    assert broker.escrow.find(LANDING.connection_id, 7) == late
    broker.escrow.discard(LANDING.connection_id, 7, "late")
    assert broker.escrow.find(LANDING.connection_id, 7) == LANDING


def test_escrow_lists_more_sets_than_one_page_holds(broker: Broker) -> None:
    for number in range(1_001):
        broker.escrow.put(dataclasses.replace(LANDING, attempt_id=f"{number:04}"))

    assert len(list(broker.escrow.put_before(4_000_000_000))) == 1_001


def test_the_breaker_is_closed_until_it_opens_and_after_it_closes(broker: Broker) -> None:
    assert broker.control.breaker() is None
    broker.control.open_breaker(until=NOW + 60)
    assert broker.control.breaker() == NOW + 60
    broker.control.close_breaker(NOW + 60)
    assert broker.control.breaker() is None


def test_the_breaker_is_closed_only_as_it_was_seen(either: World) -> None:
    control = either.broker.control
    control.open_breaker(until=NOW + 60)
    control.open_breaker(until=NOW + 120)

    assert not control.close_breaker(NOW + 60)
    assert control.breaker() == NOW + 120
    assert control.close_breaker(NOW + 120)


def test_what_one_lane_has_met_is_not_lost_to_what_another_knew_before(either: World) -> None:
    one = either.broker.control
    other, later = (another(either) for _ in range(2))
    assert other.trouble() == Trouble()
    one.note_trouble(Trouble(explained_until=NOW + 3_600))
    other.note_trouble(Trouble(in_vain_since=NOW))

    assert later.trouble() == Trouble(in_vain_since=NOW, explained_until=NOW + 3_600)


def test_what_a_later_version_adds_to_a_fact_is_passed_over(either: World) -> None:
    control = another(either)
    control._rows.put(
        {
            "id": "senders",
            "schema": 1,
            "open_until": NOW + 60,
            "tide": {"turns_at": NOW},
            "hangs#mikomo": {"at": NOW, "is_over": False, "since": NOW - 60},
            "refused#mikomo": NOW,
            "answered#mikomo": {"id": "a", "at": NOW, "generation": 7},
        }
    )

    assert control.hangs() == {"mikomo": Hang(at=NOW)}
    assert control.witness("mikomo") == Witness(connection_id="a", answered_at=NOW)
    assert control.breaker() == NOW + 60
    assert not either.recorded("fact_unreadable")


def test_a_fact_that_does_not_read_counts_as_absent_and_is_reported_once_a_process(
    either: World,
) -> None:
    control = another(either)
    facts = {
        "open_until": "soon",
        "in_vain_since": True,
        "slow_until": {"at": NOW + 60},
        "hangs#mikomo": {"since": NOW, "is_over": False},
        "hangs#capital": NOW,
        "refused#mikomo": "today",
        "answered#mikomo": {"id": "a", "at": None},
    }
    control._rows.put({"id": "senders", "schema": 1, "explained_until": NOW, **facts})

    for _ in range(2):
        assert control.breaker() is None
        assert control.trouble() == Trouble(explained_until=NOW)
        assert control.hangs() == {}
        assert control.slow_for() <= 0
        assert control.witness("mikomo") is None
    assert not control.rotation_met(connector="mikomo", by="b")
    assert control.refusal_met(connector="mikomo", earlier_at=None) == 1

    assert sorted(str(said["detail"]) for said in either.recorded("fact_unreadable")) == sorted(
        facts
    )


def test_trouble_is_as_the_last_run_left_it_and_leaves_the_breaker_alone(broker: Broker) -> None:
    assert broker.control.trouble() == Trouble()
    broker.control.open_breaker(until=NOW + 60)
    for trouble in (
        Trouble(in_vain_since=NOW, explained_until=NOW + 3_600),
        Trouble(in_vain_since=None, explained_until=NOW + 7_200),
    ):
        broker.control.note_trouble(trouble)
        assert broker.control.trouble() == trouble
    assert broker.control.breaker() == NOW + 60


def test_opening_and_closing_the_breaker_leave_what_is_known_of_witnesses(either: World) -> None:
    control = either.broker.control
    control.rotation_met(connector="mikomo", by="a")
    control.refusal_met(connector="mikomo", earlier_at=None)
    control.open_breaker(until=NOW + 60)
    control.close_breaker(NOW + 60)

    assert control.witness("mikomo") == Witness(connection_id="a", answered_at=NOW)


def test_a_connector_hangs_from_a_timeout_to_a_rotation_and_is_known_for_an_hour(
    either: World,
) -> None:
    control = either.broker.control
    assert control.hang_met(connector="mikomo", sent_at=NOW)
    assert control.hang_met(connector="capital", sent_at=NOW)
    either.clock.advance(30)

    assert control.rotation_met(connector="mikomo", by="a")
    assert not control.rotation_met(connector="mikomo", by="b")
    either.clock.advance(10)

    assert control.hangs() == {"mikomo": Hang(at=NOW, is_over=True), "capital": Hang(at=NOW)}
    assert not control.hang_met(connector="mikomo", sent_at=NOW + 30)
    assert control.hang_met(connector="mikomo", sent_at=NOW + 31)
    either.clock.advance(3_600)
    assert control.hangs() == {}


def test_the_connections_of_a_connector_that_are_refused_are_counted_once_an_hour_each(
    either: World,
) -> None:
    def refused(connector: str = "mikomo", earlier_at: int | None = None) -> int:
        return either.broker.control.refusal_met(connector=connector, earlier_at=earlier_at)

    assert [refused(), refused(), refused("capital"), refused(earlier_at=NOW)] == [1, 2, 1, 2]

    either.clock.advance(3_600)
    assert [refused(earlier_at=NOW), refused(earlier_at=NOW + 3_600)] == [1, 1]


def test_who_is_answered_is_noted_while_a_suspect_of_the_connector_stands(either: World) -> None:
    control = either.broker.control
    control.breaker()  # as whoever sends has read it
    for connector in ("mikomo", "capital"):
        control.rotation_met(connector=connector, by="early")
        assert control.witness(connector) is None

    either.clock.advance(5)
    control.refusal_met(connector="mikomo", earlier_at=None)
    assert control.witness("mikomo") == Witness(connection_id="early", answered_at=NOW)
    either.clock.advance(300)
    control.rotation_met(connector="mikomo", by="a")
    control.rotation_met(connector="capital", by="b")
    assert control.witness("mikomo") == Witness(connection_id="a", answered_at=NOW + 305)
    assert control.witness("capital") is None

    either.clock.advance(299)
    control.rotation_met(connector="mikomo", by="c")
    assert control.witness("mikomo") == Witness(connection_id="a", answered_at=NOW + 305)
    either.clock.advance(1)
    control.rotation_met(connector="mikomo", by="d")
    assert control.witness("mikomo") == Witness(connection_id="d", answered_at=NOW + 605)

    either.clock.advance(7_200)
    control.rotation_met(connector="mikomo", by="e")
    assert control.witness("mikomo") == Witness(connection_id="d", answered_at=NOW + 605)


def test_whom_this_process_saw_answered_before_a_refusal_is_known_from_then_on(
    either: World,
) -> None:
    either.broker.control.rotation_met(connector="mikomo", by="a")
    either.clock.advance(600)
    either.broker.control.refusal_met(connector="mikomo", earlier_at=None)

    assert either.broker.control.witness("mikomo") == Witness(connection_id="a", answered_at=NOW)


def test_a_witness_is_asked_for_once_in_a_quarter_of_an_hour_by_connector(either: World) -> None:
    asked = [either.broker.control.ask_witness(one) for one in ("mikomo", "mikomo", "capital")]
    assert asked == [True, False, True]

    either.clock.advance(900)
    assert either.broker.control.ask_witness("mikomo")


def test_a_set_opens_where_and_as_what_it_was_sealed(broker: Broker) -> None:
    sealed = broker.seal.prepare(ROW.id, subject="ada", connector="mikomo").seal(
        TOKENS, generation=3
    )
    row = dataclasses.replace(ROW, sealed=sealed)
    assert broker.seal.open(row) == TOKENS

    for other in (
        {"generation": 4},
        {"id": "d" * 32},
        {"subject": "eve"},
        {"connector": "pecan"},
        {"sealed": None},
    ):
        with pytest.raises(RowUnreadable):
            broker.seal.open(dataclasses.replace(row, **other))


def test_a_set_without_a_bearer_opens_as_one(broker: Broker) -> None:
    tokens = TokenSet(refresh_token=SecretText("rt"), id_token=None)
    sealed = broker.seal.prepare(ROW.id, subject="ada", connector="mikomo").seal(
        tokens, generation=3
    )
    assert broker.seal.open(dataclasses.replace(ROW, sealed=sealed)) == tokens


def test_the_client_secret_is_the_same_read_and_read_again(broker: Broker) -> None:
    assert broker.client_secret.read() == broker.client_secret.reread()


def test_different_people_are_counted_within_their_time(either: World) -> None:
    recent = either.finishing.recent_subjects

    def met(subject: str, at: int, event: str = "error") -> int:
        return recent.met(event, subject=subject, now=NOW + at, within=900)

    assert [met("ada", 0), met("ada", 1), met("grace", 2), met("joan", 3)] == [1, 1, 2, 3]
    assert met("ada", 4, event="another") == 1
    assert met("barbara", 902) == 2  # joan and herself
    assert met("ada", 5_000) == 1


def test_a_secret_that_was_never_put_is_not_there(world: World) -> None:
    secret = world.aws.secretsmanager.create_secret(Name=f"{world.prefix}-empty")["Name"]
    presence = SecretsManagerPresence(world.aws.secretsmanager, secret, clock=world.clock)
    assert not presence.is_set()

    world.aws.secretsmanager.put_secret_value(SecretId=secret, SecretString="s")
    assert presence.is_set()

    missing = SecretsManagerPresence(world.aws.secretsmanager, "no-such", clock=world.clock)
    assert not missing.is_set()
