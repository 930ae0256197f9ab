"""What a run under load came to, as it is kept under benchmarks/results."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import token_broker
from benchmarks.load import judge, runs
from benchmarks.load.fleet import Member
from benchmarks.load.judge import Ask
from benchmarks.load.runs import Line
from token_broker.domain.refresh_policy import RefreshPolicy

RESULTS = Path(__file__).parents[1] / "results"
SHIPPED = RefreshPolicy(margin=3_600, keep_alive=7 * 86_400)  # the template's defaults
BUCKET = 10  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is run: `life` of a bearer in seconds, `rate` as RateLimitPerSecond."""

    connections: int
    minutes: float
    life: int
    lanes: int
    rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a run left behind; times in seconds since the epoch.

    From `whole_at` on all connections were there. `used` and `busy` (seconds of CPU by part, share
    of the machine) are of that time.
    """

    began: float
    whole_at: float
    until: float
    in_use: list[Member]
    idle: list[Member]
    asks: list[Ask]
    ledger: Mapping[str, Any]
    said: Mapping[str, list[Line]]
    used: Counter[str]
    busy: float


def of(seen: Seen, asked: Asked) -> dict[str, Any]:
    """Return the verdict, what it cost, and how it went over time."""
    connections = {one.login: one.connection_id for one in [*seen.in_use, *seen.idle]}
    found = judge.bearers(seen.ledger, seen.asks, connections=connections, life=asked.life)
    rotated = [one.rotated_at for one in found if one.rotated_at is not None]
    verdict = judge.verdict(
        found,
        seen.asks,
        in_use={one.connection_id for one in seen.in_use},
        policy=SHIPPED,
        life=asked.life,
        until=seen.until,
    )
    sent = [one for one in seen.ledger["requests"] if one.get("grant_type") == "refresh_token"]
    seconds = seen.until - seen.whole_at
    rotations = sum(at > seen.whole_at for at in rotated)
    return {
        "asked": asdict(asked) | {"idle_beside": len(seen.idle)},
        "verdict": verdict | {"refused_by_the_bank": sum(one["status"] != 200 for one in sent)},  # noqa: PLR2004
        "while_all_were_there": {
            "seconds": round(seconds),
            "rotations_a_second": round(rotations / seconds, 2),
            "hand_outs_a_second": round(
                sum(one.ended > seen.whole_at for one in seen.asks) / seconds, 2
            ),
            "cpu_ms_a_rotation": {
                name: round(1000 * used / max(1, rotations), 1)
                for name, used in sorted(seen.used.items())
            },
            "cores": os.cpu_count(),
            "share_of_the_machine_busy": seen.busy,
        },
        "counted_by_the_broker": {name: runs.counted(lines) for name, lines in seen.said.items()},
        "over_time": {
            "whole_at": round(seen.whole_at - seen.began),
            "lag": _gauge(seen, "oldest_due_seconds"),
            "due_over_capacity": _gauge(seen, "due_over_capacity"),
            "rotations_a_second": _a_second(rotated, seen),
            "hand_outs_a_second": _a_second([one.ended for one in seen.asks], seen),
            "least_seconds_left": _least_left(seen),
        },
    }


def keep(name: str, content: Mapping[str, Any]) -> None:
    """Keep what was measured in a file of this version."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}-{token_broker.__version__}.json"
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[\s+([-.\d]+),\s+([-.\d]+)\s+\]", r"[\1, \2]", text)
    file.write_text(re.sub(r"\],\s+\[", "], [", text) + "\n")  # a series a line


def kept(name: str) -> dict[str, Any]:
    """Return what was kept of this version."""
    content: dict[str, Any] = json.loads(
        (RESULTS / f"{name}-{token_broker.__version__}.json").read_text()
    )
    return content


def _gauge(seen: Seen, event: str) -> list[tuple[int, int]]:
    return runs.samples(seen.said["refresh"], event, since=seen.began)


def _a_second(moments: Iterable[float], seen: Seen) -> list[list[float]]:
    """Return pairs: seconds since the beginning, how many came a second from then on."""
    counts = Counter(int(at - seen.began) // BUCKET for at in moments)
    buckets = range(int(seen.until - seen.began) // BUCKET)
    return [[one * BUCKET, round(counts[one] / BUCKET, 1)] for one in buckets]


def _least_left(seen: Seen) -> list[list[float]]:
    """Return pairs: seconds since the beginning, how long the oldest bearer given then lived."""
    least: dict[int, float] = {}
    for ask in seen.asks:
        if ask.refusal is None:
            bucket = int(ask.ended - seen.began) // BUCKET
            least[bucket] = min(least.get(bucket, ask.dies_at), ask.dies_at - ask.ended)
    return [[one * BUCKET, round(least[one], 1)] for one in sorted(least)]
