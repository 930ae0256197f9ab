"""How a run under load is judged: by what the bank issued, and what its callers were given."""

from __future__ import annotations

from typing import Any

from benchmarks.load import judge, runs
from benchmarks.load.judge import Ask
from token_broker.domain.refresh_policy import RefreshPolicy

POLICY = RefreshPolicy(margin=3_600, keep_alive=7 * 86_400)
LIFE = 300
DUE_WITHIN = (188, 225)  # seconds after its issue: 300, less a quarter, less up to half of that
LOGIN, CONNECTION = "mikomo/mikomo_1", "c1"
BEGAN = 1_000_000
TOKENS = {1: "f1", 2: "f2", 3: "f3", 4: "f4"}


def issued(*at: float) -> dict[str, Any]:
    """The ledger of a bank that issued its bearers at these seconds."""
    return {
        "entries": [
            {
                "event": "id_token.issued",
                "login": LOGIN,
                "number": number,
                "at": BEGAN + seconds,
                "fingerprint": TOKENS[number],
            }
            for number, seconds in enumerate(at, 1)
        ]
    }


def given(number: int, began: float, *, ended: float | None = None, issued: float = 0) -> Ask:
    """A caller was handed out that bearer, which was issued then."""
    return Ask(
        connection_id=CONNECTION,
        began=BEGAN + began,
        ended=BEGAN + (began + 0.1 if ended is None else ended),
        generation=number,
        expires_at=int(BEGAN + issued) + LIFE,
        dies_at=int(BEGAN + issued) + LIFE,
        fingerprint=TOKENS[number],
    )


def judged(ledger: dict[str, Any], *asks: Ask, until: float) -> dict[str, Any]:
    found = judge.bearers(ledger, asks, connections={LOGIN: CONNECTION}, life=LIFE)
    return judge.verdict(
        found, asks, in_use={CONNECTION}, policy=POLICY, life=LIFE, until=BEGAN + until
    )


def test_a_bearer_that_was_asked_for_and_due_is_well_rotated() -> None:
    verdict = judged(issued(0, 60, 290), given(1, 30), given(2, 100, issued=60), until=300)
    assert verdict["rotations"] == 2
    assert verdict["rotations_of_an_import"] == 1
    assert verdict["rotations_of_idle_bearers"] == 0
    assert verdict["rotations_before_due"] == 0
    assert verdict["bearers_expired_in_use"] == 0
    assert verdict["idle_lives"] == 0


def test_a_rotation_of_an_idle_bearer_is_for_nothing() -> None:
    verdict = judged(issued(0, 60, 290), given(1, 30), given(3, 295, issued=290), until=300)
    assert verdict["rotations_of_idle_bearers"] == 1


def test_an_ask_after_the_rotation_does_not_excuse_it() -> None:
    """It was handed out the older bearer, as a caller may be that overtakes the landing."""
    late = given(2, 291, issued=60)
    assert judged(issued(0, 60, 290), late, until=300)["rotations_of_idle_bearers"] == 1


def test_the_caller_that_causes_a_rotation_has_asked_for_it() -> None:
    waits = given(3, 289.9, ended=290.2, issued=290)
    verdict = judged(issued(0, 60, 290), waits, until=300)
    assert verdict["rotations_of_idle_bearers"] == 0
    assert verdict["rotations_by_callers"] == 1


def test_a_rotation_before_the_policy_has_it_due_is_early() -> None:
    ask = given(2, 100, issued=60)
    early, late = (60 + seconds for seconds in DUE_WITHIN)
    assert judged(issued(0, 60, early - 1), ask, until=300)["rotations_before_due"] == 1
    assert judged(issued(0, 60, late), ask, until=300)["rotations_before_due"] == 0
    verdict = judged(issued(0, 60, late), ask, until=300)
    assert 0 <= verdict["seconds_rotated_after_due"]["most"] <= DUE_WITHIN[1] - DUE_WITHIN[0]
    assert verdict["seconds_left_when_rotated"]["least"] == LIFE - DUE_WITHIN[1]


def test_what_is_due_follows_the_expiry_that_the_broker_keeps() -> None:
    """It counts from before its send, so a second before the bank's may be right."""

    def earliest(ask: Ask) -> int:
        seconds = range(60, 400)
        verdicts = (judged(issued(0, 60, one), ask, until=500) for one in seconds)
        return next(
            one
            for one, verdict in zip(seconds, verdicts, strict=True)
            if not verdict["rotations_before_due"]
        )

    assert earliest(given(2, 61, issued=59)) == earliest(given(2, 61, issued=60)) - 1


def test_the_first_rotation_of_an_import_is_counted_apart() -> None:
    verdict = judged(issued(0, 20), until=100)
    assert verdict["rotations_of_an_import"] == 1
    assert verdict["rotations_of_idle_bearers"] == 0
    assert verdict["rotations_before_due"] == 0


def test_a_bearer_that_had_died_when_it_arrived_was_handed_out_expired() -> None:
    verdict = judged(issued(0), given(1, 299, ended=300), until=301)
    assert verdict["handed_out_expired"] == 1
    assert verdict["seconds_left_at_hand_out"]["least"] == 0
    assert judged(issued(0), given(1, 298, ended=299), until=301)["handed_out_expired"] == 0


def test_a_bearer_in_use_that_died_before_its_successor_came_is_counted() -> None:
    asks = given(1, 30), given(2, 100, issued=60)
    assert judged(issued(0, 60, 360), *asks, until=400)["bearers_expired_in_use"] == 1
    assert judged(issued(0, 60), *asks, until=360)["bearers_expired_in_use"] == 1
    assert judged(issued(0, 60), *asks, until=359)["bearers_expired_in_use"] == 0


def test_a_bearer_that_died_without_being_asked_for_was_not_in_use() -> None:
    assert judged(issued(0, 60), given(1, 30), until=400)["bearers_expired_in_use"] == 0


def test_an_idle_life_shows_that_a_connection_was_not_in_use() -> None:
    assert judged(issued(0), until=300)["idle_lives"] == 1
    assert judged(issued(0), until=299)["idle_lives"] == 0


def test_a_refusal_is_counted_by_what_the_caller_was_told() -> None:
    told = Ask(connection_id=CONNECTION, began=BEGAN, ended=BEGAN + 1, refusal="503 busy")
    verdict = judged(issued(0), told, given(1, 30), until=40)
    assert verdict["refused"] == {"503 busy": 1}
    assert verdict["hand_outs"] == 1


def test_a_spread_names_its_ends_and_its_middle() -> None:
    assert judge.spread([3.0, 1.0, 2.0]) == {
        "least": 1.0,
        "median": 2.0,
        "of_100_the_99th": 2.98,
        "most": 3.0,
    }
    assert judge.spread([5.0])["of_100_the_99th"] == 5.0
    assert judge.spread([]) == {}


def test_the_log_of_a_function_is_read_line_by_line() -> None:
    lines = runs.read(
        [
            "START RequestId: 1",
            (
                '{"event": "oldest_due_seconds", "value": 7,'
                ' "timestamp": "2026-12-01 03:12:41,799+0000"}'
            ),
            '{"event": "token_refreshed", "timestamp": "2026-12-01 03:12:42,000+0000"}',
            '{"_aws": {}}',
        ]
    )
    assert runs.samples(lines, "oldest_due_seconds", since=lines[0].at - 3) == [(3, 7)]
    assert runs.counted(lines) == {"oldest_due_seconds": 1, "token_refreshed": 1}
