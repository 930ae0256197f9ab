"""`make bench`: what we cost against what we stand on, in turns, as medians with their spread.

Each turn measures both sides one right after the other, so that a machine which is busy for a while
is busy for both. Only ratios are kept, under benchmarks/results: milliseconds are a machine's own.
"""

from __future__ import annotations

import sys

from benchmarks import hand_out, page, refresh, start, tls
from benchmarks.ratios import Ratios


def main(turns: int) -> None:
    """Measure, print a table, keep the ratios under the version, and show them in docs."""
    ratios: Ratios = {}
    for comparison in (tls, refresh, hand_out, start):
        ratios |= comparison.ratios(turns)
    page.keep(ratios, turns)
    page.show(page.kept())
    print(page.table(page.kept()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
