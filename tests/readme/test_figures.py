"""The figures of README and docs are those of the code and the template."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.readme.test_readme import TEMPLATE
from token_broker.domain import refresh_policy as policy
from token_broker.domain import suspicion
from token_broker.use_cases.persist import TABLE_TRY

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


def workers() -> int:
    source = (ROOT / "functions" / "refresh" / "app.py").read_text()
    (found,) = re.findall(r"^WORKERS = (\d+)$", source, re.MULTILINE)
    return int(found)


ATTEMPT = policy.CONNECT_TIMEOUT + policy.READ_TIMEOUT
REPEAT = policy.CONNECT_TIMEOUT + policy.REPEAT_READ_TIMEOUT
CALLERS, RUNS = timeout("Token"), timeout("Refresh")
FIRST, SECOND, THIRD = (after // 60 for after in suspicion.LOOKS_AFTER)
A_RUN = default("RateLimitPerSecond") * policy.SENDING_WINDOW

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
    "workers": (OPERATIONS, f"{workers()} at most under way at once"),
    "slow banks": (
        OPERATIONS,
        (
            f"at 4 s an answer a run makes {workers() // 4} sends a second, whatever the rate; "
            f"at 40 s, {workers() / 40}"
        ),
    ),
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
    assert (policy.ESCROW_PATIENCE, policy.ESCROW_SWEPT_EVERY) == (3_600, 900)
    assert timeout("Token") == timeout("Callback")
