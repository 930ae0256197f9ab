"""Many connections in and out: resumable, reported, and no token where none belongs."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from operations import move_in, move_out
from operations.many import Entry, Progress
from tests.world import World
from token_broker.domain.connection import Status
from token_broker.domain.errors import UpstreamUnavailable

QUARANTINE = 7 * 86_400


@pytest.fixture
def world() -> World:
    """A broker on fakes: unlike the in-memory AWS they stand threads."""
    return World.in_memory()


@pytest.fixture
def lines(world: World) -> list[str]:
    """What another backend wrote down of three connections it made at Akoya."""
    other = World.in_memory()
    other.provider, other.http.provider = world.provider, world.provider
    return [line_of(other, other.connect(f"person-{n}", f"mikomo_{n}").id) for n in range(1, 4)]


def line_of(world: World, connection_id: str) -> str:
    row = world.row(connection_id)
    tokens = world.broker.seal.open(row)
    assert tokens.id_token is not None
    return json.dumps(
        {
            "subject": row.subject,
            "connector": row.connector,
            "refresh_token": tokens.refresh_token.reveal(),
            "id_token": tokens.id_token.reveal(),
        }
    )


def bring_in(world: World, lines: list[str], *, dry_run: bool = False) -> dict[int, Entry]:
    entries: list[Entry] = []
    read = move_in.read(world.broker, lines)
    move_in.bring_in(world.broker, read, dry_run=dry_run, report=entries.append)
    return {entry["line"]: entry for entry in entries}


def test_each_line_is_reported_with_the_connection_it_became(
    world: World, lines: list[str]
) -> None:
    entries = bring_in(world, lines)

    assert {entry["outcome"] for entry in entries.values()} == {"imported"}
    for number, entry in entries.items():
        assert entry["subject"] == f"person-{number}"
        assert world.hand_out(entry["connection_id"]).generation == 1


def test_what_is_refused_is_named_by_line_and_reason_and_the_rest_comes_in(
    world: World, lines: list[str]
) -> None:
    broken = [lines[0], "{", "[]", json.dumps({"subject": "x"}), "", "x" * 70_000, lines[1]]

    entries = bring_in(world, broken)

    assert {number: entry["outcome"] for number, entry in entries.items()} == {
        1: "imported",
        2: "refused",
        3: "refused",
        4: "refused",
        6: "refused",
        7: "imported",
    }
    assert all("reason" in entries[number] for number in (2, 3, 4, 6))


def test_of_two_lines_with_one_bank_login_the_later_consent_comes_in(
    world: World, lines: list[str]
) -> None:
    other = World.in_memory()
    other.provider, other.http.provider = world.provider, world.provider
    world.clock.advance(60)
    later = line_of(other, other.connect("later", "mikomo_1").id)

    entries = bring_in(world, [later, *lines])

    assert entries[1]["outcome"] == "imported"
    assert entries[2]["outcome"] == "refused"
    assert "later consent" in entries[2]["reason"]


def test_a_run_that_was_stopped_goes_on_where_it_was(world: World, lines: list[str]) -> None:
    bring_in(world, lines[:2])

    entries = bring_in(world, lines)

    assert [entries[n]["outcome"] for n in (1, 2, 3)] == ["present", "present", "imported"]
    assert len(list(world.broker.connections.every())) == 3


def test_what_could_not_be_written_is_reported_and_comes_in_by_another_run(
    world: World, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise UpstreamUnavailable(detail="DynamoDB: throttled")

    with monkeypatch.context() as patch:
        patch.setattr(world.broker.connections, "bring_in", away)
        entries = bring_in(world, lines)
    assert {entry["outcome"] for entry in entries.values()} == {"failed"}
    assert "run the command again" in entries[1]["reason"]

    assert {entry["outcome"] for entry in bring_in(world, lines).values()} == {"imported"}


def test_a_dry_run_reports_what_would_happen_and_writes_nothing(
    world: World, lines: list[str]
) -> None:
    entries = bring_in(world, [*lines, "{"], dry_run=True)

    assert [entries[n]["outcome"] for n in (1, 4)] == ["would_be_imported", "refused"]
    assert list(world.broker.connections.every()) == []


def test_no_token_stands_in_report_or_refusal(world: World, lines: list[str]) -> None:
    refused = json.dumps(json.loads(lines[0]) | {"subject": "two words"})

    told = json.dumps(bring_in(world, [refused, *lines]))

    for line in lines:
        assert json.loads(line)["refresh_token"] not in told
        assert json.loads(line)["id_token"] not in told


def take_out(world: World, file: Path, *subjects: str) -> list[Entry]:
    entries: list[Entry] = []
    move_out.take_out(
        world.broker,
        [one.id for one in move_out.chosen(world.broker, subjects)],
        file=file,
        quarantine=QUARANTINE,
        report=entries.append,
    )
    return entries


def test_what_goes_out_can_come_in_elsewhere(
    world: World, lines: list[str], tmp_path: Path
) -> None:
    bring_in(world, lines)
    file = tmp_path / "out.jsonl"

    entries = take_out(world, file)

    assert {entry["outcome"] for entry in entries} == {"exported"}
    assert {one.status for one in world.broker.connections.every()} == {Status.REAUTH_REQUIRED}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    out = file.read_text().splitlines()
    members = {"subject", "connector", "refresh_token", "id_token", "connection_id"}
    assert all(json.loads(line).keys() == members for line in out)  # a login says nothing elsewhere
    assert {json.loads(line)["refresh_token"] for line in out} == {
        json.loads(line)["refresh_token"] for line in lines
    }
    assert {entry["outcome"] for entry in bring_in(world, out).values()} == {"imported"}


def test_only_the_chosen_subjects_go_out(world: World, lines: list[str], tmp_path: Path) -> None:
    bring_in(world, lines)

    entries = take_out(world, tmp_path / "out.jsonl", "person-2")

    assert [entry["subject"] for entry in entries] == ["person-2"]
    statuses = {one.subject: one.status for one in world.broker.connections.every()}
    assert statuses["person-1"] is Status.ACTIVE


def test_an_export_that_died_gives_everything_again_into_another_file(
    world: World, lines: list[str], tmp_path: Path
) -> None:
    bring_in(world, lines)
    take_out(world, tmp_path / "lost.jsonl", "person-1")
    with pytest.raises(FileExistsError):
        take_out(world, tmp_path / "lost.jsonl")

    take_out(world, tmp_path / "whole.jsonl")

    assert len((tmp_path / "whole.jsonl").read_text().splitlines()) == 3


def test_progress_is_shown_every_hundred_and_at_the_end() -> None:
    said = io.StringIO()
    progress = Progress(250, said)
    for _ in range(249):
        progress.count("imported")
    progress.count("refused")

    assert said.getvalue().splitlines() == [
        "100 of 250: 100 imported",
        "200 of 250: 200 imported",
        "250 of 250: 249 imported, 1 refused",
    ]
