"""The figures of README and docs are those of the code and the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.readme.test_readme import TEMPLATE
from token_broker.domain import refresh_policy as policy
from token_broker.domain import suspicion
from token_broker.store.control import HANG_EXPLAINS, HANG_STANDS
from token_broker.use_cases.bulkhead import HANG_TRIED, UNHEARD
from token_broker.use_cases.lane import LANES_SHARE
from token_broker.use_cases.persist import TABLE_TRY
from token_broker.use_cases.schedule import BEGUN_AHEAD, THREADS

ROOT = Path(__file__).parents[2]
OPERATIONS, DECISIONS, README = (
    " ".join((ROOT / page).read_text().split())
    for page in ("docs/operations.md", "docs/decisions.md", "README.md")
)


def timeout(function: str) -> int:
    return int(TEMPLATE["Resources"][f"{function}Function"]["Properties"]["Timeout"])


def default(parameter: str) -> int:
    return int(TEMPLATE["Parameters"][parameter]["Default"])


def bucket_forgets_after() -> int:
    properties: Any = TEMPLATE["Resources"]["EscrowBucket"]["Properties"]
    (rule,) = (
        one for one in properties["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in one
    )
    return int(rule["ExpirationInDays"])


ATTEMPT = policy.CONNECT_TIMEOUT + policy.READ_TIMEOUT
REPEAT = policy.CONNECT_TIMEOUT + policy.REPEAT_READ_TIMEOUT
CALLERS, RUNS = timeout("Token"), timeout("Refresh")
FIRST, SECOND, THIRD = (after // 60 for after in suspicion.LOOKS_AFTER)
HALF = THREADS // 2
A_RUN = int(LANES_SHARE * default("RateLimitPerSecond") * policy.SENDING_WINDOW)

STATED = {
    "table": (
        OPERATIONS,
        (
            f"| to connect to Akoya | {policy.CONNECT_TIMEOUT} | "
            "| to read the answer to a refresh token, or to a code (the bank may be in the path) "
            f"| {policy.READ_TIMEOUT} | "
            f"| to read the answer to a repeat, right after | {policy.REPEAT_READ_TIMEOUT} | "
            f"| to persist what came | {policy.PERSIST_BUDGET} | "
            "| a function that sends for a caller or a browser (`token`, `callback`) "
            f"| {CALLERS} | "
            f"| the schedule's function (`refresh`) | {RUNS} | "
            f"| a lease, beyond the time its function has left | {policy.CLOCK_SKEW} |"
        ),
    ),
    "deadlines": (OPERATIONS, f"({ATTEMPT} s, {REPEAT} s for a repeat)"),
    "leases": (
        OPERATIONS,
        (
            f"up to {policy.lease_end(0, CALLERS)} s (`token`, `callback`) or "
            f"{policy.lease_end(0, RUNS)} s (`refresh`) later"
        ),
    ),
    "threads": (OPERATIONS, f"`RefreshThreads` ({THREADS}) at most under way at once"),
    "slow banks": (
        OPERATIONS,
        (
            f"holds {UNHEARD} of the {THREADS} until it has answered in the run, then half of "
            f"them, {HALF}: if it takes 4 s to answer, a run makes {HALF // 4} sends a second to "
            f"it, whatever the rate; at 40 s, {HALF / 40}"
        ),
    ),
    "slowed down": (
        OPERATIONS,
        (f"for the seconds it names, {policy.SLOW_AT_MOST} at most, or {policy.SLOW_FOR} if Akoya"),
    ),
    "ramp": (OPERATIONS, f"reach the whole within {policy.RAMP_UP} seconds"),
    "decided waits": (DECISIONS, f"wait for more than {policy.WORTH_WAITING} seconds ends"),
    "hanging banks": (OPERATIONS, f"503 with `Retry-After` {HANG_TRIED}, until"),
    "window": (OPERATIONS, f"begins nothing after its {policy.SENDING_WINDOW}th second"),
    "canary": (OPERATIONS, f"hangs for {policy.CANARY_HEARD_WITHIN} seconds"),
    "a run": (OPERATIONS, f"time for {A_RUN} connections, an hour for {A_RUN * 60:,}"),
    "escrow": (OPERATIONS, "at the latest two seconds after the answer"),
    "bucket": (OPERATIONS, f"itself forgets after {bucket_forgets_after()} days"),
    "looks": (OPERATIONS, f"again after {FIRST}, {SECOND} and {THIRD} minutes, then each hour"),
    "decided times": (
        DECISIONS,
        (
            f"{policy.CONNECT_TIMEOUT} + {policy.READ_TIMEOUT} + {policy.CONNECT_TIMEOUT} + "
            f"{policy.REPEAT_READ_TIMEOUT} + {policy.PERSIST_BUDGET} s and some for what comes "
            f"before a send fit into {CALLERS} s, and into {RUNS} s from the "
            f"{policy.SENDING_WINDOW}th second of a run on"
        ),
    ),
    "decided leases": (
        DECISIONS,
        f"up to {policy.lease_end(0, CALLERS)} or {policy.lease_end(0, RUNS)} s after it",
    ),
    "silence": (README, f"once after {policy.READ_TIMEOUT} s of silence"),
}


@pytest.mark.parametrize("about", STATED)
def test_a_figure_stated_is_the_one_in_force(about: str) -> None:
    page, sentence = STATED[about]
    assert sentence in page


def test_what_is_stated_in_words_is_in_force() -> None:
    """Where a page says two seconds, twice, an hour, a quarter of an hour."""
    assert TABLE_TRY == 2
    assert policy.PROMPT_REPEATS == 2
    assert (policy.SLOWEST, policy.SLOW_AT_MOST, policy.RAMP_UP) == (1 / 4, 300, 60)
    assert BEGUN_AHEAD == 2
    assert (HANG_STANDS, HANG_EXPLAINS, UNHEARD) == (120, 3_600, 2)
    assert (THREADS - 1) // UNHEARD == 7
    assert (policy.ESCROW_PATIENCE, policy.ESCROW_SWEPT_EVERY) == (3_600, 900)
    assert timeout("Token") == timeout("Callback")
