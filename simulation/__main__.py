"""`make simulate`: fleets of up to a million connections in simulated time, kept as data.

Each part runs in a process of its own, as many at once as there are processors.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import token_broker
from simulation import page, parts


def main(only: list[str]) -> None:
    """Simulate all parts, or those named, and keep what came of them under the version."""
    began = time.monotonic()
    found: dict[str, dict[int, Any]] = defaultdict(dict)
    jobs = [
        (name, place, job)
        for name, list_of_jobs in parts.PARTS.items()
        if not only or name in only
        for place, job in enumerate(list_of_jobs)
    ]
    jobs.sort(key=lambda one: -one[2].weight)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        under_way = {pool.submit(job): (name, place) for name, place, job in jobs}
        for future in as_completed(under_way):
            name, place = under_way[future]
            found[name][place] = future.result()
            said = parts.line(name, found[name][place])
            print(f"{time.monotonic() - began:6.0f} s  {said}", flush=True)
    keep({name: [of[place] for place in sorted(of)] for name, of in found.items()})
    page.show(page.kept())


def keep(found: dict[str, Any]) -> None:
    """Write the results of a version; parts that were not simulated stay."""
    page.RESULTS.mkdir(exist_ok=True)
    file = page.RESULTS / f"{token_broker.__version__}.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    after = before | found | {"assumed": parts.assumed()}
    file.write_text(json.dumps(_rounded(after), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {name: _rounded(one) for name, one in value.items()}
        case list() | tuple():
            return [_rounded(one) for one in value]
    return value


if __name__ == "__main__":
    main(sys.argv[1:])
