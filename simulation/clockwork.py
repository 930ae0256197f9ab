"""Simulated time: code that waits as it does when deployed, on simpy's events instead of threads.

What would be a thread or a process is a greenlet; one that waits hands over to the others, and time
goes on to the next moment that a wait ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future
from typing import Any

import simpy
from greenlet import getcurrent, greenlet


class Clockwork:
    """A clock, and whatever waits by it."""

    def __init__(self, start: int) -> None:
        self.env = simpy.Environment(start)
        self._hub = getcurrent()

    def __call__(self) -> int:
        """Return whole seconds, as a `Clock`."""
        return int(self.env.now)

    def ticks(self) -> float:
        """Return seconds to the fraction, as `Ticks`."""
        return float(self.env.now)

    def pause(self, seconds: float) -> None:
        """Wait, as a `Pause`."""
        self.until(self.env.timeout(max(0.0, seconds)))

    def until(self, event: simpy.Event) -> None:
        """Wait until an event has come."""
        _when(event, getcurrent().switch)
        self._hub.switch()

    def at(self, moment: float, act: Callable[[], object]) -> None:
        """Call `act` at a moment, in a greenlet of its own, so that it may wait."""
        begins = greenlet(act, self._hub)
        _when(self.env.timeout(max(0.0, moment - self.env.now)), begins.switch)

    def run(self, *, until: float) -> None:
        """Let time pass."""
        self.env.run(until=until)


def _when(event: simpy.Event, act: Callable[[], object]) -> None:
    """Let something happen once an event comes."""
    if event.callbacks is None:
        raise RuntimeError("it has come already")

    def called(_: simpy.Event) -> None:
        act()

    event.callbacks.append(called)


class Workers(Executor):
    """The threads of one run of the schedule."""

    def __init__(self, clock: Clockwork) -> None:
        self._clock = clock
        self._working = 0
        self._awaited: simpy.Event | None = None  # by the run itself

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin a piece of work at once."""
        future = _Work(self)
        self._working += 1

        def work() -> None:
            future.set_result(fn(*args, **kwargs))
            self._working -= 1
            self._wake()

        self._clock.at(self._clock.ticks(), work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as Executor's
        """Wait until all work is done."""
        del wait, cancel_futures
        while self._working:
            self._wait(None)

    def await_one(self, futures: Collection[Future[Any]], timeout: float | None) -> None:
        """Wait until one of them is done, or for so long."""
        if timeout != 0 and not any(one.done() for one in futures):
            self._wait(timeout)

    def _wait(self, timeout: float | None) -> None:
        self._awaited = self._clock.env.event()
        if timeout is not None:
            awaited = self._awaited
            self._clock.at(self._clock.ticks() + timeout, lambda: self._wake(awaited))
        self._clock.until(self._awaited)

    def _wake(self, only: simpy.Event | None = None) -> None:
        if self._awaited and not self._awaited.triggered and only in (None, self._awaited):
            self._awaited.succeed()


class _Work(Future[Any]):
    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self.workers = workers


def wait(
    futures: Collection[_Work], timeout: float | None = None, _: str = ""
) -> tuple[set[_Work], set[_Work]]:
    """Wait as `concurrent.futures.wait` does for the first of one run's futures."""
    next(iter(futures)).workers.await_one(futures, timeout)
    done = {one for one in futures if one.done()}
    return done, set(futures) - done


class Machine:
    """The processor of one process: what it computes, it computes one after the other."""

    def __init__(self, clock: Clockwork, *, share: float) -> None:
        """`share`: of one processor; Lambda gives it by memory."""
        self._clock = clock
        self._share = min(1.0, share)
        self._free_at = 0.0

    def compute(self, seconds: float, *, beside: float = 0) -> None:
        """Wait until so many seconds of a whole processor are spent, and `beside` for others."""
        now = self._clock.ticks()
        self._free_at = max(now, self._free_at) + seconds / self._share
        self._clock.pause(self._free_at - now + beside)
