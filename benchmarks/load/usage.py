"""Which process of a local stack has used how much CPU; Linux only (/proc)."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from threading import Event, Thread

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
LOOKS_EVERY = 10  # seconds: a process that ends in between is counted up to the look before
NAMES = {  # in a command line, the first that fits
    "-RefreshFunction-": "refresh function",
    "-TokenFunction-": "token function",
    "ministack": "embedded AWS",
    "local.akoya_sandbox": "sandbox",
    "benchmarks.load": "callers",
}


class Usage:
    """Reads again and again, so that what a process used is known when it has ended."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the stack's checkout; other checkouts' processes are not counted."""
        self._folder = str(folder)
        self._by_process: dict[tuple[int, str], float] = {}

    def read(self) -> Counter[str]:
        """Return the seconds of CPU each part has used so far."""
        for process in PROC.iterdir():
            if process.name.isdigit() and (name := self._name(process)):
                self._by_process[int(process.name), name] = _seconds(process)
        found: Counter[str] = Counter()
        for (_, name), seconds in self._by_process.items():
            found[name] += seconds  # type: ignore[assignment]
        return found

    def _name(self, process: Path) -> str | None:
        try:
            command = process.joinpath("cmdline").read_text(errors="replace")
        except OSError:
            return None
        is_ours = self._folder in command or int(process.name) == os.getpid()
        return next((name for part, name in NAMES.items() if is_ours and part in command), None)


def _seconds(process: Path) -> float:
    """Return what a process used, its threads included."""
    try:
        after_name = process.joinpath("stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(after_name[11]) + int(after_name[12])) / TICK


def busy() -> tuple[float, float]:
    """Return the seconds of CPU this machine has spent busy, and in all."""
    user, nice, system, idle, waiting, *rest = (
        int(one) / TICK for one in PROC.joinpath("stat").read_text().split("\n")[0].split()[1:]
    )
    spent = user + nice + system + sum(rest[:3])
    return spent, spent + idle + waiting


class Watch:
    """Looks at the CPU each part uses, from now on."""

    def __init__(self, folder: Path) -> None:
        self._usage = Usage(folder)
        self._before, self._machine = self._usage.read(), busy()
        self._over = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> tuple[Counter[str], float]:
        """Return the seconds each part has used since, and the share of the machine in use."""
        self._over.set()
        self._thread.join()
        spent, whole = (now - then for now, then in zip(busy(), self._machine, strict=True))
        used = self._usage.read()
        used.subtract(self._before)
        return used, round(spent / whole, 2)

    def _look(self) -> None:
        while not self._over.wait(LOOKS_EVERY):
            self._usage.read()
