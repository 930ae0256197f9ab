"""Time shared by threads: it moves on when all of them wait, to the moment the first waits for.

A `FixedClock` for real threads. Which of two that wake at one moment goes first is the order in
which they went to sleep.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future
from typing import Any

from tests.clock import FixedClock

HUNG = 30  # real seconds: a test whose threads wait for each other fails


class VirtualTime(FixedClock, Executor):
    """A clock, whatever pauses on it, and threads that live by it."""

    def __init__(self) -> None:
        super().__init__()
        self._mutex = threading.Lock()
        self._order = itertools.count()
        self._asleep: list[tuple[float, int, threading.Event]] = []
        self._awake = 1  # the test itself
        self._pending: set[Future[Any]] = set()
        self._waiter: threading.Event | None = None

    def advance(self, seconds: float) -> None:
        woken = threading.Event()
        with self._mutex:
            self._lie_down(seconds, woken)
        assert woken.wait(HUNG), "threads wait for each other"

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._mutex:
            self._awake += 1
            self._pending.add(future)
        threading.Thread(target=self._run, args=(future, fn, args, kwargs), daemon=True).start()
        return future

    def wait(
        self, futures: Collection[Future[Any]], timeout: float | None = None, _: str = ""
    ) -> tuple[set[Future[Any]], set[Future[Any]]]:
        """Wait until one of them is done, as `concurrent.futures.wait` does."""
        seconds, woken = math.inf if timeout is None else timeout, threading.Event()
        with self._mutex:
            if seconds and not any(one.done() for one in futures):
                self._waiter = woken
                self._lie_down(seconds, woken)
            else:
                woken.set()
        assert woken.wait(HUNG), "threads wait for each other"
        done = {one for one in futures if one.done()}
        return done, set(futures) - done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        del wait, cancel_futures
        while self._pending:
            self.wait(self._pending)

    def _run(
        self, future: Future[Any], fn: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> None:
        error, result = None, None
        try:
            result = fn(*args, **kwargs)
        except BaseException as exc:  # noqa: BLE001 - it is the future's
            error = exc
        with self._mutex:
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)
            self._pending.discard(future)
            self._awake -= 1
            if self._waiter and not self._waiter.is_set():
                self._asleep = [one for one in self._asleep if one[2] is not self._waiter]
                heapq.heapify(self._asleep)
                self._awake += 1
                self._waiter.set()
            self._move_on()

    def _lie_down(self, seconds: float, woken: threading.Event) -> None:
        heapq.heappush(self._asleep, (self.now + seconds, next(self._order), woken))
        self._awake -= 1
        self._move_on()

    def _move_on(self) -> None:
        if self._awake or not self._asleep:
            return
        moment, _, woken = heapq.heappop(self._asleep)
        assert moment < math.inf, "nobody is left to be waited for"
        self.now = max(self.now, moment)
        self._awake += 1
        woken.set()
