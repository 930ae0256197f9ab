"""`make faults`: every cut and every misbehaviour, by the sandbox's ledger, as docs/faults.md."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from local.akoya_sandbox.faults import FAULTS
from tests.interleavings.baselines import BASELINES, loses_to, losses
from tests.interleavings.cuts import Fault
from tests.interleavings.endings import DIALECTS, Cell, Verdict, cells_of
from tests.interleavings.flows import CASES
from tests.world import World
from token_broker.domain.connection import Status
from token_broker.domain.errors import TokenBrokerError

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
TEXT = Path(__file__).with_name("faults_page.md")
SIGNS = {
    Verdict.KEPT: "k",
    Verdict.BY_RETRY: "r",
    Verdict.BY_ESCROW: "e",
    Verdict.NEVER_ARRIVED: "A",
    Verdict.ONLY_COPY: "P",
    Verdict.NEVER_TWICE: "C",
    Verdict.RECOVERABLE: "**LOST**",
}


def main() -> int:
    """Print and write the page; returns 1 if anything was lost that could be kept."""
    cells = [cell for case in CASES for dialect in DIALECTS for cell in cells_of(case, dialect)]
    wrong = [cell for cell in cells if cell.verdict is Verdict.RECOVERABLE or cell.complaints]
    totals = [*_totals(cells), f"lost though recoverable: {len(wrong)}"]
    ends = {
        (fault, times, dialect): _misbehaved(fault, times, dialect)
        for fault, times in MISBEHAVIOURS
        for dialect in DIALECTS
    }
    page = TEXT.read_text().format(
        dialects=", ".join(DIALECTS),
        flows="\n".join(_flows(cells)),
        misbehaviours="\n".join(_misbehaviours(ends)),
        compared="\n".join(_compared(cells, ends)),
        totals="\n\n".join(totals),
    )
    PAGE.write_text(page)
    for cell in wrong:
        print(f"{cell.case} ({cell.dialect}): {cell.step} {cell.fault}: {cell.complaints}")
    print(page.rstrip())
    return bool(wrong)


def _totals(cells: list[Cell]) -> Iterator[str]:
    found = Counter(cell.verdict for cell in cells)
    yield f"cuts: {len(cells)}"
    yield from (f"{verdict}: {found[verdict]}" for verdict in Verdict if found[verdict])


def _flows(cells: list[Cell]) -> Iterator[str]:
    by_row: dict[str, dict[tuple[int, str], dict[Fault, dict[str, str]]]] = {}
    for cell in cells:
        rows = by_row.setdefault(cell.case, defaultdict(lambda: defaultdict(dict)))
        rows[cell.place, cell.step][cell.fault][cell.dialect] = SIGNS[cell.verdict]
    for case, rows in by_row.items():
        yield f"\n## {case[0].upper()}{case[1:]}\n"
        yield f"| step | {' | '.join(fault.value for fault in Fault)} |"
        yield "|---" * (len(Fault) + 1) + "|"
        for (_, step), faults in sorted(rows.items()):
            yield f"| {step} | {' | '.join(_sign(faults.get(fault, {})) for fault in Fault)} |"


def _sign(by_dialect: dict[str, str]) -> str:
    signs = [by_dialect.get(dialect, "·") for dialect in DIALECTS]
    return signs[0] if len(set(signs)) == 1 else "".join(signs)


MISBEHAVIOURS = [
    (fault.name, times) for fault in FAULTS.values() if "refresh" in fault.on for times in (1, None)
]


def _misbehaviours(ends: Mapping[tuple[str, int | None, str], str]) -> Iterator[str]:
    yield f"| the sandbox | {' | '.join(DIALECTS)} |"
    yield "|---" * (len(DIALECTS) + 1) + "|"
    for fault, times in MISBEHAVIOURS:
        said = "once" if times else "for an hour"
        stands = (ends[fault, times, dialect] for dialect in DIALECTS)
        yield f"| {fault} {said} | {' | '.join(stands)} |"


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
    if row.status is Status.ACTIVE and not _lives(world):
        stands = "ACTIVE, and its consent is dead"
    return f"{stands} ({len(sent)}, {refused})"


def _an_hour(world: World) -> None:
    for _ in range(60):
        world.clock.advance(60)
        with suppress(TokenBrokerError):
            world.run_schedule()


def _lives(world: World) -> bool:
    return any(not grant["ended"] for grant in world.provider.grants())


def _compared(cells: list[Cell], ends: Mapping[tuple[str, int | None, str], str]) -> Iterator[str]:
    yield f"| | {' | '.join(DIALECTS)} |"
    yield "|---" * (len(DIALECTS) + 1) + "|"
    for name, loop in BASELINES.items():
        lost = ("{} of {} cuts".format(*losses(loop, dialect)) for dialect in DIALECTS)
        yield f"| {name} | {' | '.join(lost)} |"
    ours = (_lost_of(cells, dialect) for dialect in DIALECTS)
    yield f"| this broker | {' | '.join(ours)} |"
    of = f"of {len(MISBEHAVIOURS)} misbehaviours"
    for name, loop in BASELINES.items():
        counts = (
            sum(loses_to(loop, fault, times, dialect) for fault, times in MISBEHAVIOURS)
            for dialect in DIALECTS
        )
        yield f"| {name} | {' | '.join(f'{count} {of}' for count in counts)} |"
    counts = (
        sum(not end.startswith("ACTIVE (") for (*_, told), end in ends.items() if told == dialect)
        for dialect in DIALECTS
    )
    yield f"| this broker | {' | '.join(f'{count} {of}' for count in counts)} |"


def _lost_of(cells: list[Cell], dialect: str) -> str:
    lost = [
        cell.verdict.startswith("lost")
        for cell in cells
        if (cell.case, cell.dialect) == ("refresh by schedule", dialect)
    ]
    return f"{sum(lost)} of {len(lost)} cuts"


if __name__ == "__main__":
    sys.exit(main())
