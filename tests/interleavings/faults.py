"""`make faults`: every cut and every misbehaviour, by the sandbox's ledger, as docs/faults.md."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

from local.akoya_sandbox.faults import FAULTS
from tests.interleavings.baselines import BASELINES, loses_to, loses_when_sent, losses
from tests.interleavings.cuts import Fault
from tests.interleavings.endings import DIALECTS, Cell, Verdict, cells_of
from tests.interleavings.flows import CASES, Case
from tests.interleavings.pairs import PAIRED, pairs_of
from tests.world import World
from token_broker.domain.connection import Status
from token_broker.domain.errors import TokenBrokerError

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
TEXT = Path(__file__).with_name("faults_page.md")
OURS = "this broker"
SEND = "token_endpoint.refresh"
Of = Callable[[Case, str], list[Cell]]
Ends = Mapping[tuple[str, int | None, str], str]  # fault, times, dialect: how it ended
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
    """Print and write the page.

    Returns 1 if anything was lost that could be kept, or if in all a plain loop loses less.
    """
    with ProcessPoolExecutor() as workers:
        twice = _all_of(workers, _pairs_of, PAIRED)
        once = _all_of(workers, _cells_of, CASES)
        cells, pairs = [*chain(*once)], [*chain(*twice)]
    wrong = [cell for cell in (*cells, *pairs) if cell.is_wrong]
    ends = {
        (fault, times, dialect): _misbehaved(fault, times, dialect)
        for fault, times in MISBEHAVIOURS
        for dialect in DIALECTS
    }
    found = _losses(cells, ends)
    worse = _worse_in(found)
    totals = [
        *_totals(cells),
        f"pairs of faults: {len(pairs)}",
        f"lost to them: {sum(pair.is_lost for pair in pairs)}",
        f"dialects in which a plain loop loses less: {', '.join(worse) or 'none'}",
        f"lost though recoverable: {len(wrong)}",
    ]
    page = TEXT.read_text().format(
        dialects=", ".join(DIALECTS),
        flows="\n".join(_flows(cells)),
        pairs="\n".join(_pairs(pairs, cells)),
        misbehaviours="\n".join(_misbehaviours(ends)),
        compared="\n".join(_compared(found)),
        better="\n".join(_plain_does_better(cells, ends)) or "- none",
        totals="\n\n".join(totals),
    )
    PAGE.write_text(page)
    for cell in wrong:
        print(cell)
    print(page.rstrip())
    return bool(wrong or worse)


def _all_of(workers: Executor, of: Of, cases: Iterable[Case]) -> Iterator[list[Cell]]:
    return workers.map(of, *zip(*product(cases, DIALECTS), strict=True))


def _cells_of(case: Case, dialect: str) -> list[Cell]:
    return [*cells_of(case, dialect)]


def _pairs_of(case: Case, dialect: str) -> list[Cell]:
    return [*pairs_of(case, dialect)]


def _pairs(pairs: list[Cell], cells: list[Cell]) -> Iterator[str]:
    """Say for each flow what became of it, and how often only the two faults together lose it."""
    alone = {(one.case, one.dialect, one.cut): one.is_lost for one in cells}
    found: dict[str, Counter[Verdict]] = defaultdict(Counter)
    together: Counter[str] = Counter()
    for pair in pairs:
        found[pair.case][pair.verdict] += 1
        first = alone.get((pair.case, pair.dialect, pair.cut))
        together[pair.case] += pair.is_lost and not first
    verdicts = [one for one in Verdict if any(counts[one] for counts in found.values())]
    columns = [*verdicts, "lost, where the first alone loses nothing"]
    yield f"| | pairs | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 2) + "|"
    for case, counts in found.items():
        row = [counts.total(), *(counts[one] for one in verdicts), together[case]]
        yield f"| {case} | {' | '.join(map(str, row))} |"


def _totals(cells: list[Cell]) -> Iterator[str]:
    found = Counter(cell.verdict for cell in cells)
    yield f"cuts: {len(cells)}"
    yield from (f"{verdict}: {found[verdict]}" for verdict in Verdict if found[verdict])


def _flows(cells: list[Cell]) -> Iterator[str]:
    by_row: dict[str, dict[tuple[int, str], dict[Fault, dict[str, str]]]] = {}
    for cell in cells:
        rows = by_row.setdefault(cell.case, defaultdict(lambda: defaultdict(dict)))
        rows[cell.cut.place, cell.cut.step][cell.cut.fault][cell.dialect] = SIGNS[cell.verdict]
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


def _misbehaviours(ends: Ends) -> Iterator[str]:
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
    if row.status is Status.ACTIVE and not world.is_alive(row):
        stands = f"lost, and {row.degraded or 'not noticed yet'}"
    return f"{stands} ({len(sent)}, {refused})"


def _an_hour(world: World) -> None:
    for _ in range(60):
        world.clock.advance(60)
        with suppress(TokenBrokerError):
            world.run_schedule()


@dataclass(frozen=True)
class Losses:
    """What one way to refresh loses in one dialect."""

    cuts: int
    of_cuts: int
    misbehaviours: int

    @property
    def total(self) -> int:
        return self.cuts + self.misbehaviours


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
    ended = [not _is_kept(end) for (*_, told), end in ends.items() if told == dialect]
    return Losses(sum(lost), len(lost), sum(ended))


def _is_kept(end: str) -> bool:
    return end.startswith("ACTIVE (")


def _compared(found: dict[str, list[Losses]]) -> Iterator[str]:
    yield f"| | {' | '.join(DIALECTS)} |"
    yield "|---" * (len(DIALECTS) + 1) + "|"
    for name, lost in found.items():
        yield f"| {name} | {' | '.join(f'{one.cuts} of {one.of_cuts} cuts' for one in lost)} |"
    of = f"of {len(MISBEHAVIOURS)} misbehaviours"
    for name, lost in found.items():
        yield f"| {name} | {' | '.join(f'{one.misbehaviours} {of}' for one in lost)} |"
    for name, lost in found.items():
        yield f"| {name} | {' | '.join(f'{one.total} in all' for one in lost)} |"


def _worse_in(found: dict[str, list[Losses]]) -> list[str]:
    """Return the dialects in which the broker loses more in all than the plain loop."""
    pairs = zip(DIALECTS, found[OURS], found["a plain loop"], strict=True)
    return [dialect for dialect, ours, plain in pairs if ours.total > plain.total]


def _plain_does_better(cells: list[Cell], ends: Ends) -> Iterator[str]:
    """List what the plain loop keeps and the broker loses, each with its dialects."""
    plain = BASELINES["a plain loop"]
    better: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        where = (cell.case, cell.cut.step)
        if where != ("refresh by schedule", SEND) or not cell.is_lost:
            continue
        if not loses_when_sent(plain, cell.cut.fault, cell.dialect):
            better[f"the request to Akoya, {cell.cut.fault}"].append(cell.dialect)
    for (fault, times, dialect), end in ends.items():
        if not _is_kept(end) and not loses_to(plain, fault, times, dialect):
            better[f"{fault} {'once' if times else 'for an hour'}"].append(dialect)
    for what, dialects in better.items():
        yield f"- {what} ({', '.join(dialects)})"


if __name__ == "__main__":
    sys.exit(main())
