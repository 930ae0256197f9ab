"""Many ends undone at once: chosen by id, subject or reason, a report line each."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operations import reinstate
from operations.many import Entry
from tests.operations.command_line import run, trail_in
from tests.world import World
from token_broker.domain.connection import Reason, Status
from token_broker.domain.errors import UpstreamUnavailable


@pytest.fixture
def world() -> World:
    """A broker on fakes: unlike the in-memory AWS they stand threads."""
    return World.in_memory()


@pytest.fixture
def ended(world: World) -> list[str]:
    """Three connections of two subjects that ended for two reasons, and one that lives."""
    made = [world.connect("ada" if n < 3 else "bob", f"mikomo_{n}").id for n in range(1, 5)]
    for one, reason in zip(
        made, (Reason.GRANT_DEAD, Reason.EXPORTED, Reason.GRANT_DEAD), strict=False
    ):
        row = world.row(one)
        world.memory[one] = replace(row, status=Status.REAUTH_REQUIRED, reason=reason)
    return made[:3]


def reinstated(world: World, ids: list[str]) -> tuple[Counter[str], list[Entry]]:
    entries: list[Entry] = []
    return reinstate.reinstate_all(world.broker, ids, report=entries.append), entries


def test_all_named_are_reinstated_and_reported_and_a_second_run_is_as_good(
    world: World, ended: list[str]
) -> None:
    counts, entries = reinstated(world, ended)

    assert counts == {"reinstated": 3}
    assert {one["connection_id"] for one in entries} == set(ended)
    assert {world.row(one).status for one in ended} == {Status.ACTIVE}
    assert reinstated(world, ended)[0] == {"active": 3}
    world.run_schedule()
    assert {world.row(one).generation for one in ended} == {2}


def test_what_cannot_be_reinstated_says_why_and_keeps_no_other_from_it(
    world: World, ended: list[str]
) -> None:
    erased, away, good = ended
    world.memory[erased] = replace(world.row(erased), sealed=None)
    undo = world.broker.connections.reinstate

    def refuse(seen: object, **how: object) -> object:
        if getattr(seen, "id", "") == away:
            raise UpstreamUnavailable(detail="DynamoDB: away")
        return undo(seen, **how)  # type: ignore[arg-type]

    world.broker.connections.reinstate = refuse  # type: ignore[assignment, method-assign]

    counts, entries = reinstated(world, [*ended, "0" * 32])

    assert counts == {"reinstated": 1, "failed": 1, "refused": 2}
    reasons = {one["connection_id"]: one.get("reason", "") for one in entries}
    assert "erased" in reasons[erased]
    assert "run the command again" in reasons[away]
    assert "No connection" in reasons["0" * 32]
    assert world.row(good).status is Status.ACTIVE


@pytest.mark.parametrize(
    ("subjects", "reasons", "places"),
    [
        ([], ["grant_dead"], [0, 2]),
        (["ada"], [], [0, 1]),
        (["ada"], ["grant_dead"], [0]),
        (["ada", "bob"], ["exported"], [1]),
        (["nobody"], [], []),
    ],
)
def test_subject_and_reason_choose_among_what_has_ended(
    world: World, ended: list[str], subjects: list[str], reasons: list[str], places: list[int]
) -> None:
    found = reinstate.chosen(world.broker, subjects=subjects, reasons=reasons)

    assert sorted(found) == sorted(ended[place] for place in places)


def test_the_command_takes_ids_and_a_file_and_fails_unless_all_are_back(
    world: World,
    ended: list[str],
    logs: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trail = trail_in(logs)
    file = tmp_path / "ids"
    file.write_text(f"# those of the outage\n{ended[1]}\n\n{ended[2]}  # bob's\n")

    done = run(world, trail, ["reinstate", ended[0], "--file", str(file)])

    assert done == 0
    report = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["connection_id"] for one in report} == set(ended)
    assert run(world, trail_in(logs), ["reinstate", "0" * 32]) == 1
    assert run(world, trail_in(logs), ["reinstate", "--subject", "nobody"]) == 1
