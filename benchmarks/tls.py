"""What a refresh over TLS costs on our side: here, in an earlier version, and in a bare loop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.ratios import Ratios

ROOT = Path(__file__).parents[1]
BEFORE = "4368633"  # the last version that loaded the trust store for each connection
REFRESHES = 60


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """Run the server in a process of its own; return its address and its trust store."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.tls_server"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout  # noqa: S101 - both are pipes
        assert process.stdin  # noqa: S101
        address, trust_store = json.loads(process.stdout.readline())
        yield address, trust_store
        process.stdin.close()


def earlier(folder: Path) -> Path | None:
    """Unpack the layer of the earlier version; None where this checkout has no such history."""
    packed = subprocess.run(
        ["git", "archive", BEFORE, "layers/token_broker"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        return None
    subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
    return folder / "layers" / "token_broker"


def turn(address: str, trust_store: str, before: Path | None) -> dict[str, float]:
    """Return the CPU of a refresh in milliseconds, each measured in a fresh process."""
    layer = ROOT / "layers" / "token_broker"
    found = {"here": _spent("broker", layer, address, trust_store)}
    if before:
        found["before"] = _spent("broker", before, address, trust_store)
    return found | {"bare": _spent("bare", layer, address, trust_store)}


def _spent(what: str, layer: Path, address: str, trust_store: str) -> float:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.tls_send", what, address, trust_store, str(REFRESHES)],
        cwd=ROOT,
        env={"PYTHONPATH": str(layer), "POWERTOOLS_METRICS_NAMESPACE": "n"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout)


def ratios(turns: int) -> Ratios:
    """Return the CPU of a send against a bare loop's and the earlier version's."""
    found: Ratios = defaultdict(list)
    what = "a refresh over TLS, without AWS, CPU"
    with TemporaryDirectory() as folder, server() as (address, trust_store):
        before = earlier(Path(folder))
        for _ in range(turns):
            spent = turn(address, trust_store, before)
            found[what, "`requests.post`"].append(spent["here"] / spent["bare"])
            if before:
                found[what, f"commit {BEFORE}"].append(spent["here"] / spent["before"])
    return found
