"""The deployed functions as real processes: run by hand, killed, told apart from other stacks'."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from local.build import RUN
from local.embedded_aws import client
from tests.deployed.until import until


def port(stack: Mapping[str, Any], url: str = "aws_endpoint_url") -> int:
    """Return the port of one of the stack's addresses."""
    found: int | None = urlsplit(stack[url]).port
    assert found is not None
    return found


class Functions:
    """The stack's functions."""

    def __init__(self, stack: Mapping[str, Any]) -> None:
        self._names: Mapping[str, str] = stack["functions"]
        self._aws = {
            service: client(service, port(stack)) for service in ("lambda", "events", "dynamodb")
        }

    def run_schedule(self) -> dict[str, Any]:
        """Run the refresh function once, as the schedule does each minute."""
        answer: dict[str, Any] = self._aws["lambda"].invoke(
            FunctionName=self._names["refresh"], Payload=b"{}"
        )
        return answer

    @contextmanager
    def schedule_off(self) -> Iterator[None]:
        """Keep the real schedule from running, whichever of its lanes are in use."""
        events = self._aws["events"]
        rules = events.list_rules()["Rules"]
        in_use = [rule["Name"] for rule in rules if rule["State"] == "ENABLED"]
        for name in in_use:
            events.disable_rule(Name=name)
        try:
            yield
        finally:
            for name in in_use:
                events.enable_rule(Name=name)

    def kill(self, function: str) -> list[int]:
        """Kill every process of a function, at rest or at work; return who they were."""
        killed = self.processes(function)
        for process in killed:
            os.kill(process, signal.SIGKILL)
        until(lambda: not set(killed) & set(self.processes(function)), "the killed to be gone")
        return killed

    def be_one(self, function: str) -> None:
        """Let the process that a call is served by be the only one of its function."""
        if len(self.processes(function)) > 1:
            self.kill(function)

    def processes(self, function: str) -> list[int]:
        """Return the living processes of a function of this very stack."""
        return processes_of(f"{RUN}/tests/tmp/ministack-lambda-{self._names[function]}-")


def processes_of(command: str) -> list[int]:
    """Return the processes with this in their command line."""
    listed = subprocess.run(
        ["ps", "-Aww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    found = [line.split(maxsplit=1) for line in listed.splitlines()]
    return [int(pid) for pid, args in found if command in args]
