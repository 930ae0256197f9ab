"""Doing one thing to many connections: side by side, with progress, a report line each."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TextIO, TypeVar

T = TypeVar("T")
Entry = dict[str, Any]  # what the report says of one; `outcome` is counted

WORKERS = 8
SHOWN_EVERY = 100


class Progress:
    """A line on the terminal that says how far it is."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._total = total
        self._stream = stream or sys.stderr

    def count(self, outcome: str) -> None:
        """Count one more."""
        self.counts[outcome] += 1
        done = sum(self.counts.values())
        if done % SHOWN_EVERY == 0 or done == self._total:
            end = "\r" if self._stream.isatty() and done < self._total else "\n"
            print(f"{done} of {self._total}: {self}", end=end, file=self._stream, flush=True)

    def __str__(self) -> str:
        return ", ".join(f"{number} {outcome}" for outcome, number in sorted(self.counts.items()))


def for_each(
    items: Iterable[T], act: Callable[[T], Entry], *, report: Callable[[Entry], None], total: int
) -> Counter[str]:
    """Do it to all, report each as it is done, and return how many came to which outcome."""
    progress = Progress(total)
    with ThreadPoolExecutor(WORKERS) as pool:
        under_way = [pool.submit(act, item) for item in items]
        try:
            for done in as_completed(under_way):
                entry = done.result()
                report(entry)
                progress.count(entry["outcome"])
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # what has begun is finished
            raise
    return progress.counts
