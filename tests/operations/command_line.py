"""A command as an operator runs it, on a broker and an audit trail in this process."""

from __future__ import annotations

import itertools
from typing import Any

from operations import __main__ as command
from operations.audit import Trail
from tests.world import World

GROUP = "stack-OperatorAuditLogGroup-1A2B"
_runs = itertools.count(1)


def trail_in(logs: Any) -> Trail:
    """Return the trail of one more run."""
    return Trail(logs, GROUP, caller="arn:me", run=f"{next(_runs):032x}")


def run(world: World, trail: Trail, arguments: list[str]) -> int:
    options = command._parser().parse_args(["--stack-name", "stack", *arguments])
    return command.run(world.broker, trail, {"QUARANTINE_DAYS": "7"}, options)
