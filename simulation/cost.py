"""What a stack costs a month, from what the simulation counted and AWS's prices in us-east-1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from simulation.stack import QUICK, Parameters

MONTH = 730 * 3_600  # seconds, as AWS counts
MILLION = 1_000_000
GIGABYTE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for one unit; from so many units a month on another one."""

    steps: Sequence[tuple[float, float]]  # from how many units on, dollars for each
    what: str
    source: str
    since: str  # in force since then, or read then where AWS names no day

    def of(self, units: float) -> float:
        """Return what so many units a month cost."""
        ends = [*(start for start, _ in self.steps[1:]), float("inf")]
        return sum(
            max(0.0, min(units, end) - start) * each
            for (start, each), end in zip(self.steps, ends, strict=True)
        )


def price(each: float, what: str, source: str, since: str) -> Price:
    """Return a price that is the same for all units."""
    return Price(((0, each),), what, source, since)


AWS = "aws.amazon.com"
PAPERS = "docs.aws.amazon.com/whitepapers/latest"
READ = "read in 2026-12, in a stored copy"
PRICES = {
    "lambda time": price(
        0.0000133334, "Lambda, arm64, a GB-second", f"{AWS}/lambda/pricing", "2022-08"
    ),
    "lambda requests": price(
        0.20 / MILLION, "Lambda, a request", f"{PAPERS}/how-aws-pricing-works", READ
    ),
    "writes": price(
        0.625 / MILLION,
        "DynamoDB on demand, a write unit",
        f"{AWS}/dynamodb/pricing/on-demand",
        "2024-11",
    ),
    "reads": price(
        0.125 / MILLION,
        "DynamoDB on demand, a read unit",
        f"{AWS}/dynamodb/pricing/on-demand",
        "2024-11",
    ),
    "stored": price(
        0.25 + 0.20,
        "DynamoDB, a GB stored with point-in-time recovery",
        f"{AWS}/dynamodb/pricing; of the backup's 0.20 no page was read",
        READ,
    ),
    "kms": price(0.03 / 10_000, "KMS, a request", "cloudburn.io/blog/aws-kms-pricing", "2026-03"),
    "api": Price(
        (
            (0, 3.50 / MILLION),
            (333 * MILLION, 2.80 / MILLION),
            (1_000 * MILLION, 2.38 / MILLION),
            (20_000 * MILLION, 1.51 / MILLION),
        ),
        "API Gateway, REST, a request",
        f"{PAPERS}/best-practices-api-gateway-private-apis-integration",
        READ,
    ),
    "logs": Price(
        ((0, 0.50), (10_000, 0.25), (30_000, 0.10), (50_000, 0.05)),
        "CloudWatch, a GB of logs of Lambda",
        f"{AWS}/cloudwatch/pricing",
        "2025-05",
    ),
    "metrics": price(0.30, "CloudWatch, a metric", f"{AWS}/cloudwatch/pricing", "2026-02"),
}
# Key, secret, eight alarms, and the look into escrow of each run of the first lane (README).
FIXED = 1.00 + 0.40 + 8 * 0.10 + 0.22

# Assumed sizes.
ROW_UNITS = 2  # write units of a row: 1.6 KB with the sandbox's bearer
INDEX_ROW = 120  # bytes of a row of the due index; read eventually consistent
STORED_ROW = 2_500  # bytes, indexes included
LINE = 400  # bytes of one event's log line
INVOCATION = 1_400  # bytes of Lambda's own lines and the metrics of one invocation
ACCESS = 450  # bytes of a line of the API's access log
TOKEN_MEMORY = 512  # MB


@dataclass(frozen=True, slots=True, kw_only=True)
class PerRefresh:
    """What one refresh takes, as it was counted, with its share of the runs."""

    busy: float  # seconds of the schedule's function
    writes: float
    due_writes: float
    subject_writes: float
    reads: float
    index_rows: float
    lines: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Dollars a month: for keeping connections, and for handing out their bearers."""

    kept: float
    handed_out: float
    parts: Mapping[str, float]  # by price

    @property
    def whole(self) -> float:
        """Return both."""
        return self.kept + self.handed_out


def bill(
    of: Parameters,
    each: PerRefresh,
    *,
    connections: int,
    refreshes: float,
    asks: float,
    metrics: int,
) -> Bill:
    """Return what so many refreshes and asks a second, in the mean, cost a month."""
    refreshed, asked = refreshes * MONTH, asks * MONTH
    runs = of.lanes * MONTH / 60
    kept = {
        "lambda time": max(refreshed * each.busy, runs * 0.2) * of.memory / 1_024,
        "lambda requests": runs,
        "writes": refreshed * (each.writes * ROW_UNITS + each.due_writes + each.subject_writes),
        "reads": refreshed * (each.reads + each.index_rows * INDEX_ROW / 4_096 / 2),
        "stored": connections * STORED_ROW / GIGABYTE,
        "kms": refreshed * 2,
        "logs": (refreshed * each.lines * LINE + runs * (INVOCATION + 6 * LINE)) / GIGABYTE,
        "metrics": metrics,
    }
    handed_out = {
        "lambda time": asked * QUICK * TOKEN_MEMORY / 1_024,
        "lambda requests": asked,
        "reads": asked,
        "kms": asked,
        "api": asked,
        "logs": asked * (LINE + INVOCATION + ACCESS) / GIGABYTE,
    }
    both = {name: kept.get(name, 0) + handed_out.get(name, 0) for name in PRICES}
    parts = {name: PRICES[name].of(units) for name, units in both.items()}
    for_keeping = sum(PRICES[name].of(units) for name, units in kept.items())
    return Bill(
        kept=FIXED + for_keeping,
        handed_out=sum(parts.values()) - for_keeping,
        parts={**parts, "fixed": FIXED},
    )


def stated() -> list[dict[str, object]]:
    """Return every price with its source and date."""
    return [{"price": name, **asdict(one)} for name, one in PRICES.items()]
