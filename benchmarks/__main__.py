"""`make bench`: what we cost against what we stand on, in turns, as medians with their spread.

Each turn measures both sides one right after the other, so that a machine which is busy for a while
is busy for both. Only ratios are kept, under benchmarks/results: milliseconds are a machine's own.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import token_broker
from benchmarks import start, tls

RESULTS = Path(__file__).with_name("results")
Ratios = dict[str, list[float]]


def main(turns: int) -> None:
    """Measure, print a table, and keep the ratios under the version."""
    starts, sends = _starts(turns), _sends(turns)
    kept = {
        name: {
            "median": round(statistics.median(ratios), 3),
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
        }
        for name, ratios in (starts | sends).items()
    }
    for name, ratio in kept.items():
        print(f"{name:44} {ratio['median']:6.2f}   ({ratio['least']:.2f} to {ratio['most']:.2f})")
    RESULTS.mkdir(exist_ok=True)
    content = {"turns": turns, "python": sys.version.split()[0], "ratios": kept}
    file = RESULTS / f"{token_broker.__version__}.json"
    file.write_text(json.dumps(content, indent=2) + "\n")


def _starts(turns: int) -> Ratios:
    found: Ratios = defaultdict(list)
    start.turn()  # compiles what is not compiled yet
    for _ in range(turns):
        for name, (ours, floor) in start.turn().items():
            found[f"start of {name}: CPU / floor"].append(ours.cpu / floor.cpu)
            found[f"start of {name}: memory / floor"].append(ours.memory / floor.memory)
    return found


def _sends(turns: int) -> Ratios:
    found: Ratios = defaultdict(list)
    with TemporaryDirectory() as folder, tls.server() as (address, trust_store):
        before = tls.earlier(Path(folder))
        for _ in range(turns):
            spent = tls.turn(address, trust_store, before)
            found["refresh over TLS: CPU / bare POST"].append(spent["here"] / spent["bare"])
            if before:
                found[f"refresh over TLS: CPU / {tls.BEFORE}"].append(
                    spent["here"] / spent["before"]
                )
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
