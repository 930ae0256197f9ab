"""`make mutants`: switch each guard off, one at a time, and see which test misses it.

The test that missed a guard the last time is asked first; only where it no longer fails, or has
gone, do all of them run. So a run takes minutes, and the file says which test each guard is for.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.guard import Guard
from tests.mutants.guards import GUARDS

ROOT = Path(__file__).parents[2]
TREES = ("benchmarks", "layers", "local", "functions", "operations", "events", "tests")
FILES = ("pyproject.toml", "template.yaml", "openapi.yaml", "README.md", "Makefile")
TESTS = (
    "tests/contract",
    "tests/unit",
    "tests/handlers",
    "tests/operations",
    "tests/interleavings",
    "tests/incidents",
)
HOW = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not optional")
MISSED_BY = Path(__file__).with_name("missed_by.json")
AT_ONCE = 2
NOT_COPIED = shutil.ignore_patterns("__pycache__", ".run", "*.pyc")


def main() -> int:
    """Print the test that died of each guard; returns 1 if one is missed by none."""
    before: dict[str, str] = json.loads(MISSED_BY.read_text())
    missed: dict[str, str] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tests = pool.map(lambda guard: _died_of(guard, before.get(guard.name)), GUARDS)
        for guard, test in zip(GUARDS, tests, strict=True):
            print(f"{guard.name}\n    {test or 'MISSED BY NO TEST'}", flush=True)
            if test:
                missed[guard.name] = test
    MISSED_BY.write_text(json.dumps(missed, indent=2) + "\n")
    print(f"{len(missed)} of {len(GUARDS)} guards are missed when they are off")
    return len(missed) != len(GUARDS)


def _died_of(guard: Guard, asked_first: str | None) -> str | None:
    """Return the first test that fails without the guard; an error is no failed test."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for tree in TREES:
            shutil.copytree(ROOT / tree, copy / tree, ignore=NOT_COPIED)
        for file in FILES:
            shutil.copy(ROOT / file, copy / file)
        mutated = copy / guard.file
        mutated.write_text(guard.switched_off(mutated.read_text()))
        return (asked_first and _first_failure(copy, asked_first)) or _first_failure(copy, *TESTS)


def _first_failure(root: Path, *tests: str) -> str | None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *HOW, *tests],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^FAILED (\S.*?)(?: - .*)?$", run.stdout, re.MULTILINE)
    return found.group(1) if found else None


if __name__ == "__main__":
    sys.exit(main())
