"""What the schedule itself says of its runs, out of its log."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from local.embedded_aws import client

MINUTE = 60_000  # milliseconds
WRITTEN_AS = "%Y-%m-%d %H:%M:%S,%f%z"


@dataclass(frozen=True, slots=True)
class Line:
    """One event of a function: when, its name and its figure."""

    at: float
    event: str
    value: int


def lines_of(stack: Mapping[str, Any], function: str, *, since: float) -> list[Line]:
    """Read all a function has logged since then; it arrives when an invocation is over.

    A minute at a time: the embedded AWS gives 10,000 lines and no next page.
    """
    logs = client("logs", urlsplit(stack["aws_endpoint_url"]).port or 0)
    group = f"/aws/lambda/{stack['functions'][function]}"
    messages: list[str] = []
    for start in range(int(since) * 1000, int(time.time() + 1) * 1000, MINUTE):
        found = logs.filter_log_events(
            logGroupName=group, startTime=start, endTime=start + MINUTE - 1
        )
        messages += (event["message"] for event in found["events"])
    return read(messages)


def read(messages: Iterable[str]) -> list[Line]:
    """Return the events among log lines, in their order."""
    found = []
    for message in messages:
        try:
            content = json.loads(message)
        except ValueError:  # START, END, REPORT
            continue
        if isinstance(content, dict) and "event" in content:
            at = datetime.strptime(content["timestamp"], WRITTEN_AS).astimezone(UTC)
            found.append(Line(at.timestamp(), content["event"], content.get("value", 1)))
    return found


def samples(lines: Iterable[Line], event: str, *, since: float) -> list[tuple[int, int]]:
    """Return what one gauge read: seconds since a moment, and the figure."""
    return [(round(one.at - since), one.value) for one in lines if one.event == event]


def counted(lines: Iterable[Line]) -> dict[str, int]:
    """Return how often each event came."""
    return dict(sorted(Counter(one.event for one in lines).items()))
