"""What was kept of a run under load, and of the lanes, as docs/performance.md shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
HEAD = "| a fleet in use | seen |\n|---|---|\n"
HEAD_OF_LANES = (
    "| the bank answers after | lanes | refreshes a second | least to most |\n|---|---|---|---|\n"
)


def put(shown: str) -> None:
    """Put a table in the place of the one with its head."""
    head = next(one for one in (HEAD, HEAD_OF_LANES) if shown.startswith(one))
    PAGE.write_text(re.sub(re.escape(head) + r"(\|.*\n)*", shown, PAGE.read_text()))


def table(found: dict[str, Any]) -> str:
    """Return what became of a fleet, a line each."""
    asked, seen = found["asked"], found["verdict"]
    whole = found["while_all_were_there"]
    late, left = seen["seconds_rotated_after_due"], seen["seconds_left_at_hand_out"]
    answer, cpu = seen["seconds_to_answer"], whole["cpu_ms_a_rotation"]
    rows = {
        "connections in use": f"{asked['connections']:,}",
        "more that are idle": asked["idle_beside"],
        "a bearer lives": f"{asked['life']} s",
        "minutes, after the last connection came": f"{asked['minutes']:g}",
        "`Lanes`; `RateLimitPerSecond`": f"{asked['lanes']}; {asked['rate']}",
        "hand-outs; refreshes": f"{seen['hand_outs']:,}; {seen['rotations']:,}",
        "handed out expired": seen["handed_out_expired"],
        "callers that were given no bearer": sum(seen["refused"].values()),
        "bearers that expired in use before their successor came": seen["bearers_expired_in_use"],
        "refreshes of an idle bearer": seen["rotations_of_idle_bearers"],
        "refreshes before the policy had them due": seen["rotations_before_due"],
        "refreshes that the bank refused": seen["refused_by_the_bank"],
        "refreshes that a caller waited for": seen["rotations_by_callers"],
        "a refresh came after it was due: median; most": (
            f"{late['median']:.0f} s; {late['most']:.0f} s"
        ),
        "a bearer still lived when its successor came: least": (
            f"{seen['seconds_left_when_rotated']['least']:.0f} s"
        ),
        "a bearer still lived at its hand-out: least": f"{left['least']:.0f} s",
        "a hand-out took: median; 99 of 100 less than": (
            f"{1000 * answer['median']:.0f} ms; {1000 * answer['of_100_the_99th']:.0f} ms"
        ),
        "refreshes; hand-outs a second": (
            f"{whole['rotations_a_second']:.1f}; {whole['hand_outs_a_second']:.1f}"
        ),
        "CPU a refresh, with the hand-outs that fall to it": ", ".join(
            f"{name} {spent:.0f} ms" for name, spent in cpu.items()
        ),
        f"share of {whole['cores']} cores that was busy": (
            f"{100 * whole['share_of_the_machine_busy']:.0f} %"
        ),
    }
    return HEAD + "".join(f"| {what} | {value} |\n" for what, value in rows.items())


def table_of_lanes(found: dict[str, Any]) -> str:
    """Return how fast the lanes were, a line each."""
    return HEAD_OF_LANES + "".join(
        f"| {_after(one['bank_answers_after'])} | {one['lanes']} | {rate['median']:.1f} "
        f"| {rate['least']:.1f} to {rate['most']:.1f} |\n"
        for one in found["measured"]
        for rate in [one["refreshes_a_second"]]
    )


def _after(seconds: float) -> str:
    return f"{seconds:g} s" if seconds else "at once"
