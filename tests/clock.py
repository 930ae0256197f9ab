"""Time that moves only when a test moves it."""

from __future__ import annotations

import threading

START = 1_800_000_000


class FixedClock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> int:
        return int(self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds


class NoTimer(threading.Timer):
    """A deadline that never comes by itself: `Loopback` keeps it, by the clock of its world."""

    def start(self) -> None:
        pass
