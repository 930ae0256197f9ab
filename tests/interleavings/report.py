"""What `make faults` has found, as docs/faults.md and the data files beside it."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.interleavings.cuts import Fault
from tests.interleavings.endings import DIALECTS, Cell, Verdict

TEXT = Path(__file__).with_name("faults_page.md")
OURS, PLAIN = "this broker", "a plain loop"
Misbehaviour = tuple[str, int | None]  # the sandbox's fault; how often, None: for an hour
Ends = Mapping[tuple[str, int | None, str], str]  # a misbehaviour, a dialect: how it ended
SIGNS = {
    Verdict.KEPT: "k",
    Verdict.BY_RETRY: "r",
    Verdict.BY_ESCROW: "e",
    Verdict.NEVER_ARRIVED: "A",
    Verdict.ONLY_COPY: "P",
    Verdict.NEVER_TWICE: "C",
    Verdict.RECOVERABLE: "LOST",
}


@dataclass(frozen=True)
class Losses:
    """What one way to refresh loses in one dialect."""

    cuts: int
    of_cuts: int
    misbehaviours: int

    @property
    def total(self) -> int:
        return self.cuts + self.misbehaviours


@dataclass(frozen=True)
class Found:
    """Everything that was measured."""

    cells: list[Cell]
    pairs: list[Cell]
    ends: Ends
    losses: Mapping[str, list[Losses]]  # by way, dialect by dialect
    better: Mapping[str, list[str]]  # what the plain loop keeps and the broker loses: its dialects

    @property
    def wrong(self) -> list[Cell]:
        """What was lost though recoverable, or broke a rule on the way."""
        return [cell for cell in (*self.cells, *self.pairs) if cell.is_wrong]

    @property
    def worse(self) -> list[str]:
        """The dialects in which the broker loses more in all than the plain loop."""
        both = zip(DIALECTS, self.losses[OURS], self.losses[PLAIN], strict=True)
        return [dialect for dialect, ours, plain in both if ours.total > plain.total]


def page(found: Found) -> str:
    """Return docs/faults.md."""
    better = (f"- {what} ({', '.join(dialects)})" for what, dialects in found.better.items())
    return TEXT.read_text().format(
        figures="\n".join(_figures(found)),
        lost="\n".join(_lost(found.cells)),
        pairs="\n".join(_pairs(found)),
        misbehaviours="\n".join(_misbehaviours(found.ends)),
        compared="\n".join(_compared(found)),
        better="\n".join(better) or "- none",
        verdict=f"lost though recoverable: {len(found.wrong)}",
    )


def grid(cells: Iterable[Cell]) -> str:
    """Return docs/faults.csv: a row a call and fault, and each dialect's sign."""
    signs: dict[tuple[str, int, str, Fault], dict[str, str]] = defaultdict(dict)
    for cell in cells:
        of = (cell.case, cell.cut.place, cell.cut.step, cell.cut.fault)
        signs[of][cell.dialect] = SIGNS[cell.verdict]
    return _csv(
        ("flow", "place", "call", "fault", *DIALECTS),
        ((*of, *(by.get(dialect, "") for dialect in DIALECTS)) for of, by in signs.items()),
    )


def misbehaviours(ends: Ends) -> str:
    """Return docs/misbehaviours.csv: a row a misbehaviour, and how each dialect's ended."""
    return _csv(
        ("misbehaviour", *DIALECTS),
        ((_named(what), *_of_all(ends, what)) for what in _misbehaviours_in(ends)),
    )


def is_kept(end: str) -> bool:
    """Return whether a connection that met a misbehaviour is ACTIVE with a token that lives."""
    return end.startswith("ACTIVE (")


def _csv(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    columns = [*head]
    yield f"| {' | '.join(map(str, columns))} |"
    yield "|---" * len(columns) + "|"
    yield from (f"| {' | '.join(map(str, row))} |" for row in rows)


def _figures(found: Found) -> Iterator[str]:
    counts = Counter(cell.verdict for cell in found.cells)
    yield from _table(
        ("figure", ""),
        (
            ("calls cut, in four dialects", len(found.cells)),
            *((verdict, counts[verdict]) for verdict in Verdict if counts[verdict]),
            ("pairs of faults", len(found.pairs)),
            ("lost to a pair of faults", sum(pair.is_lost for pair in found.pairs)),
            ("misbehaviours of the provider, in four dialects", len(found.ends)),
            ("lost to them", sum(not is_kept(end) for end in found.ends.values())),
            ("dialects in which a plain loop loses less", ", ".join(found.worse) or "none"),
            ("lost though recoverable, to any of these", len(found.wrong)),
        ),
    )


def _lost(cells: list[Cell]) -> Iterator[str]:
    """List what is lost: flows in which the same faults of a call lose it share a row."""
    dialects: dict[tuple[str, int, str, Verdict, Fault], list[str]] = defaultdict(list)
    for cell in cells:
        if cell.is_lost:
            of = (cell.case, cell.cut.place, cell.cut.step, cell.verdict, cell.cut.fault)
            dialects[of].append(cell.dialect)
    faults: dict[tuple[str, int, str, Verdict, tuple[str, ...]], list[Fault]] = defaultdict(list)
    for (case, place, step, verdict, fault), of_them in dialects.items():
        faults[case, place, step, verdict, tuple(of_them)].append(fault)
    flows: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for (case, _, step, verdict, where), cut in faults.items():
        flows[step, "; ".join(cut), _dialects(where), SIGNS[verdict]].append(case)
    yield from _table(
        ("call", "cut", "dialects", "why", "flows"),
        ((f"`{step}`", *row, "; ".join(cases)) for (step, *row), cases in flows.items()),
    )


def _dialects(some: tuple[str, ...]) -> str:
    return (
        "all" if set(some) == set(DIALECTS) else ", ".join(one for one in DIALECTS if one in some)
    )


def _pairs(found: Found) -> Iterator[str]:
    """Say for each flow what became of it, and how often only the two faults together lose it."""
    alone = {(one.case, one.dialect, one.cut): one.is_lost for one in found.cells}
    by_case: dict[str, Counter[Verdict]] = defaultdict(Counter)
    together: Counter[str] = Counter()
    for pair in found.pairs:
        by_case[pair.case][pair.verdict] += 1
        first = alone.get((pair.case, pair.dialect, pair.cut))
        together[pair.case] += pair.is_lost and not first
    verdicts = [one for one in Verdict if any(counts[one] for counts in by_case.values())]
    yield from _table(
        ("flow", "pairs", *verdicts, "lost, where the first alone loses nothing"),
        (
            (case, counts.total(), *(counts[one] for one in verdicts), together[case])
            for case, counts in by_case.items()
        ),
    )


def _misbehaviours(ends: Ends) -> Iterator[str]:
    """List the misbehaviours that end a connection in some dialect."""
    what_ends = [
        what for what in _misbehaviours_in(ends) if not all(map(is_kept, _of_all(ends, what)))
    ]
    yield from _table(
        ("the sandbox", *DIALECTS), ((_named(what), *_of_all(ends, what)) for what in what_ends)
    )


def _misbehaviours_in(ends: Ends) -> list[Misbehaviour]:
    return [*dict.fromkeys((fault, times) for fault, times, _ in ends)]


def _of_all(ends: Ends, what: Misbehaviour) -> list[str]:
    return [ends[*what, dialect] for dialect in DIALECTS]


def _named(what: Misbehaviour) -> str:
    fault, times = what
    return f"{fault} {'once' if times else 'for an hour'}"


def _compared(found: Found) -> Iterator[str]:
    of = f"of {len(_misbehaviours_in(found.ends))} misbehaviours"
    ways = found.losses.items()
    yield from _table(
        ("", *DIALECTS),
        (
            *((way, *(f"{one.cuts} of {one.of_cuts} cuts" for one in lost)) for way, lost in ways),
            *((way, *(f"{one.misbehaviours} {of}" for one in lost)) for way, lost in ways),
            *((way, *(f"{one.total} in all" for one in lost)) for way, lost in ways),
        ),
    )
