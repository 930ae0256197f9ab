"""`make lanes`: how fast one lane refreshes a backlog, against four, in turns.

Usage: python -m benchmarks.load.lanes BACKLOG TURNS
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests

from benchmarks.load import page, report
from benchmarks.load.fleet import Bank, Member, bring_in
from benchmarks.load.judge import spread
from benchmarks.load.usage import Watch
from local.__main__ import ended
from local.build import ROOT
from local.embedded_aws import client
from local.journey import Journey
from local.stack import Stack

PORT_BASE = 8900
DAY = 86_400  # a life of bearers in which nothing is due by itself
# No rate holds a lane back; its runs begin when we say.
PARAMETERS = {"RateLimitPerSecond": "100", "ScheduleState": "DISABLED"}
COMPARED = (1, 4)
ANSWERS_AFTER = (0.0, 0.5)  # seconds the bank takes


def main(backlog: int, turns: int) -> None:
    """Measure, print, keep it under the version, and show it in docs."""
    with ended(Stack("load", PORT_BASE)) as stack:
        started = stack.start(os.environ, with_demo=False, parameters=PARAMETERS)
        found = measured(Race(started, backlog), turns)
    kept = {"backlog": backlog, "turns": turns, "measured": found}
    report.keep("lanes", kept)
    page.put(page.table_of_lanes(kept))
    for one in found:
        print(json.dumps(one))


class Race:
    """A backlog on a running stack, and the lanes that tend it."""

    def __init__(self, stack: Mapping[str, Any], backlog: int) -> None:
        self._stack = stack
        self._bank, self._journey = Bank.of(stack), Journey(stack)
        self._bank.set_life(DAY)
        self._members = bring_in(stack, self._bank, range(1, backlog + 1))
        self._port = urlsplit(stack["aws_endpoint_url"]).port or 0

    def takes(self, seconds: float) -> None:
        """Let the bank answer each refresh after so many seconds from now on."""
        self._journey.behave()
        if seconds:
            slow = {"fault": "slow", "on": ["refresh"], "seconds": seconds}
            requests.post(
                f"{self._bank.url}/admin/faults", json=slow, timeout=10
            ).raise_for_status()

    def turn(self, lanes: int) -> tuple[float, Mapping[str, float]]:
        """Let all be due and the lanes run; return refreshes a second, and CPU ms by part."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._make_due, self._members))
        watch, began = Watch(ROOT), time.time()
        with ThreadPoolExecutor(lanes) as pool:
            tended = sum(pool.map(partial(self._run, lanes), range(lanes)))
        used, _ = watch.end()
        rotated = [
            entry["at"]
            for entry in self._bank.ledger()["entries"]
            if entry["event"] == "refresh_token.rotated" and entry["at"] >= began
        ]
        if len(rotated) != len(self._members):
            raise SystemExit(f"{lanes} lanes: {len(rotated)} rotated, {tended} tended")
        costs = {name: 1000 * seconds / len(rotated) for name, seconds in used.items()}
        return (len(rotated) - 1) / (max(rotated) - min(rotated)), costs

    def _make_due(self, member: Member) -> None:
        self._journey.make_due(member.connection_id)

    def _run(self, lanes: int, number: int) -> int:
        answer = client("lambda", self._port).invoke(
            FunctionName=self._stack["functions"]["refresh"],
            Payload=json.dumps({"lane": number, "of": lanes}),
        )
        return int(json.loads(answer["Payload"].read())["tended"])


def measured(race: Race, turns: int) -> list[dict[str, Any]]:
    """Run one lane, then four, again and again; at a quick bank, then at a slow one."""
    for lanes in COMPARED:
        race.turn(lanes)  # starts the processes
    found = []
    for seconds in ANSWERS_AFTER:
        race.takes(seconds)
        seen = [(lanes, race.turn(lanes)) for _ in range(turns) for lanes in COMPARED]
        for lanes in COMPARED:
            these = [one for of, one in seen if of == lanes]
            found.append(
                {
                    "bank_answers_after": seconds,
                    "lanes": lanes,
                    "refreshes_a_second": spread([rate for rate, _ in these]),
                    "cpu_ms_a_refresh": _medians([costs for _, costs in these]),
                }
            )
    return found


def _medians(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for one in costs for name in one} - {"callers", "token function"})
    return {name: spread([one.get(name, 0) for one in costs])["median"] for name in names}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
