"""`make faults`: every cut and every misbehaviour, by the sandbox's ledger, as docs/faults.md."""

from __future__ import annotations

import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import chain, product
from pathlib import Path

from local.akoya_sandbox.faults import FAULTS
from tests.interleavings import report
from tests.interleavings.baselines import BASELINES, loses_to, loses_when_sent, losses
from tests.interleavings.endings import DIALECTS, Cell, cells_of
from tests.interleavings.flows import CASES, Case
from tests.interleavings.pairs import PAIRED, pairs_of
from tests.interleavings.report import OURS, PLAIN, Ends, Found, Losses, is_kept
from tests.world import World
from token_broker.domain.connection import Status
from token_broker.domain.errors import TokenBrokerError

DOCS = Path(__file__).parents[2] / "docs"
SEND = "token_endpoint.refresh"
PARTS = 4  # of the pairs of a flow, for as many processes


def main() -> int:
    """Print and write the page, and the data files beside it.

    Returns 1 if anything was lost that could be kept, or if in all a plain loop loses less.
    """
    with ProcessPoolExecutor() as workers:
        twice = workers.map(_pairs_of, *zip(*product(PAIRED, range(PARTS)), strict=True))
        once = workers.map(_cells_of, *zip(*product(CASES, DIALECTS), strict=True))
        cells, pairs = [*chain(*once)], [*chain(*twice)]
    ends = {
        (fault, times, dialect): _misbehaved(fault, times, dialect)
        for fault, times in MISBEHAVIOURS
        for dialect in DIALECTS
    }
    found = Found(cells, pairs, ends, _losses(cells, ends), _plain_does_better(cells, ends))
    write(found, DOCS)
    for cell in found.wrong:
        print(cell)
    print(report.page(found).rstrip())
    return bool(found.wrong or found.worse)


def write(found: Found, docs: Path) -> None:
    """Write what was found."""
    (docs / "faults.md").write_text(report.page(found))
    (docs / "faults.csv").write_text(report.grid(found.cells))
    (docs / "misbehaviours.csv").write_text(report.misbehaviours(found.ends))


def _cells_of(case: Case, dialect: str) -> list[Cell]:
    return [*cells_of(case, dialect)]


def _pairs_of(case: Case, part: int) -> list[Cell]:
    return [*pairs_of(case, sample=slice(part, None, PARTS))]


MISBEHAVIOURS = [
    (fault.name, times) for fault in FAULTS.values() if "refresh" in fault.on for times in (1, None)
]


def _misbehaved(fault: str, times: int | None, dialect: str) -> str:
    world = World.in_memory(dialect)
    connection = world.connect()
    world.make_due(connection.id)
    world.provider.arm({"fault": fault, "on": ["refresh"], "times": times})
    _an_hour(world)
    world.provider.disarm()
    _an_hour(world)
    row = world.row(connection.id)
    sent = [
        one
        for one in world.provider.ledger()["requests"]
        if one.get("grant_type") == "refresh_token"
    ]
    refused = sum(one["status"] in {400, 401} for one in sent)
    stands: str = row.reason or row.status
    if row.status is Status.ACTIVE and not world.is_alive(row):
        stands = f"lost, and {row.degraded or 'not noticed yet'}"
    return f"{stands} ({len(sent)}, {refused})"


def _an_hour(world: World) -> None:
    for _ in range(60):
        world.clock.advance(60)
        with suppress(TokenBrokerError):
            world.run_schedule()


def _losses(cells: list[Cell], ends: Ends) -> dict[str, list[Losses]]:
    """Return what each way loses, dialect by dialect; the broker's come last."""
    by_way = {
        name: [
            Losses(
                *losses(loop, dialect),
                sum(loses_to(loop, fault, times, dialect) for fault, times in MISBEHAVIOURS),
            )
            for dialect in DIALECTS
        ]
        for name, loop in BASELINES.items()
    }
    return {**by_way, OURS: [_our_losses(cells, ends, dialect) for dialect in DIALECTS]}


def _our_losses(cells: list[Cell], ends: Ends, dialect: str) -> Losses:
    lost = [
        cell.is_lost
        for cell in cells
        if (cell.case, cell.dialect) == ("refresh by schedule", dialect)
    ]
    ended = [not is_kept(end) for (*_, told), end in ends.items() if told == dialect]
    return Losses(sum(lost), len(lost), sum(ended))


def _plain_does_better(cells: list[Cell], ends: Ends) -> dict[str, list[str]]:
    """Return what the plain loop keeps and the broker loses, each with its dialects."""
    plain = BASELINES[PLAIN]
    better: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        where = (cell.case, cell.cut.step)
        if where != ("refresh by schedule", SEND) or not cell.is_lost:
            continue
        if not loses_when_sent(plain, cell.cut.fault, cell.dialect):
            better[f"the request to Akoya, {cell.cut.fault}"].append(cell.dialect)
    for (fault, times, dialect), end in ends.items():
        if not is_kept(end) and not loses_to(plain, fault, times, dialect):
            better[f"{fault} {'once' if times else 'for an hour'}"].append(dialect)
    return better


if __name__ == "__main__":
    sys.exit(main())
