"""The operator's commands write down what they are about to do, or do not do it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from operations import __main__ as command
from operations import transfer
from operations.audit import Trail
from tests.operations.command_line import GROUP, run
from tests.operations.test_moving import line_of
from tests.world import World
from token_broker.domain.connection import Connection
from token_broker.domain.errors import UpstreamUnavailable

RUN = "0" * 32


@pytest.fixture
def world() -> World:
    """A broker with one active connection and one that has ended."""
    world = World.in_memory()
    world.connect("ada", "mikomo_1")
    ended = world.connect("grace", "mikomo_2")
    transfer.take_out(world.broker, ended.id, quarantine=86_400)
    return world


def of(world: World, subject: str) -> Connection:
    (found,) = world.broker.connections.of_subject(subject).connections
    return found


def command_lines(world: World, folder: Path) -> dict[str, list[str]]:
    """Return every command there is, as an operator would call it here."""
    other = World.in_memory()
    other.provider, other.http.provider = world.provider, world.provider
    file = folder / "in.jsonl"
    file.write_text(line_of(other, other.connect("eve", "mikomo_3").id))
    report = ["--report", str(folder / "report")]
    return {
        "import": ["import", str(file), *report],
        "export": ["export", str(folder / "out.jsonl"), "--subject", "ada", *report],
        "reinstate": ["reinstate", of(world, "grace").id],
        "adopt": ["adopt"],
    }


def everything(world: World) -> list[Connection]:
    return sorted(
        (world.row(one.id) for one in world.broker.connections.every()), key=lambda r: r.id
    )


def written(logs: Any) -> list[dict[str, Any]]:
    streams = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
    return [
        json.loads(event["message"])
        for stream in streams
        for event in logs.get_log_events(
            logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True
        )["events"]
    ]


@pytest.mark.parametrize("act", command._COMMANDS)
def test_a_command_does_nothing_where_the_trail_does_not_take_its_line(
    world: World, logs: Any, tmp_path: Path, act: str
) -> None:
    arguments = command_lines(world, tmp_path)[act]
    before, recorded = everything(world), len(world.events)
    trail = Trail(logs, "no-such-group", caller="arn:me", run=RUN)

    with pytest.raises(UpstreamUnavailable, match="ResourceNotFoundException"):
        run(world, trail, arguments)

    assert everything(world) == before
    assert len(world.events) == recorded
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("act", command._COMMANDS)
def test_every_command_writes_who_runs_it_and_what_about_before_it_acts(
    world: World, logs: Any, tmp_path: Path, act: str
) -> None:
    arguments = command_lines(world, tmp_path)[act]

    assert run(world, Trail(logs, GROUP, caller="arn:me", run=RUN), arguments) == 0

    lines = written(logs)
    assert {(line["act"], line["caller"], line["request_id"]) for line in lines} == {
        (act, "arn:me", RUN)
    }
    assert all(line["audit"] and line["outcome"] == "begun" for line in lines)
    assert lines[0]["count"] == len(lines) - 1


def test_an_export_names_each_connection_and_a_hash_of_its_subject(
    world: World, logs: Any, tmp_path: Path
) -> None:
    one = of(world, "ada")
    run(
        world,
        Trail(logs, GROUP, caller="arn:me", run=RUN),
        command_lines(world, tmp_path)["export"],
    )

    _, line = written(logs)
    assert line["connection_id"] == one.id
    assert line["subject_hash"] == hashlib.sha256(b"ada").hexdigest()
    assert "ada" not in json.dumps(written(logs))


def test_a_long_list_is_written_in_several_requests(logs: Any) -> None:
    ids = [{"connection_id": f"{n:032x}"} for n in range(2_500)]

    Trail(logs, GROUP, caller="arn:me", run=RUN).write("export", ids)

    (stream,) = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
    found, token = [], None
    while True:
        more: dict[str, Any] = {"nextToken": token} if token else {}
        page = logs.get_log_events(
            logGroupName=GROUP,
            logStreamName=stream["logStreamName"],
            startFromHead=True,
            **more,
        )
        if not page["events"]:
            break
        found += [json.loads(event["message"]).get("connection_id") for event in page["events"]]
        token = page["nextForwardToken"]
    assert found[0] is None
    assert found[1:] == [one["connection_id"] for one in ids]


def test_the_caller_is_whom_aws_says(logs: Any) -> None:
    Trail.of(GROUP, run=RUN).write("adopt", [])

    (line,) = written(logs)
    assert line["caller"].startswith("arn:aws:")
