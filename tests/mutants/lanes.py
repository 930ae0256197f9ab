"""The guards of lanes: what each tends, at which rate, and what one alone does."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "load: what a run carries counts its threads",
        "use_cases/schedule.py::tend_due",
        "min(limit, int(tending.threads * SENDING_WINDOW / SECONDS_A_CONNECTION))",
        "limit",
    ),
    Guard(
        "lanes: a shard is one lane's",
        "use_cases/lane.py::Lane.shards",
        "range(self.number, SHARDS, self.of)",
        "range(SHARDS)",
    ),
    Guard(
        "lanes: each sends at its share of the rate",
        "use_cases/schedule.py::tend_due",
        "tending.rate / lane.of",
        "tending.rate",
    ),
    Guard(
        "lanes: each begins its share of a minute",
        "use_cases/schedule.py::tend_due",
        "max(1, tending.limit // lane.of)",
        "tending.limit",
    ),
    Guard(
        "lanes: all together leave some of the rate to callers",
        "runtime/bootstrap.py::tending",
        "LANES_SHARE * settings.rate_limit(environ)",
        "settings.rate_limit(environ)",
    ),
    Guard(
        "lanes: the function tends the lane of its event",
        "functions/refresh/app.py::lambda_handler",
        'Lane(event.get("lane", 0), event.get("of", 1))',
        "Lane()",
    ),
    Guard(
        "lanes: the first alone sweeps",
        "use_cases/schedule.py::tend_due",
        "lane.is_first and now % ESCROW_SWEPT_EVERY < RUN_EVERY",
        "now % ESCROW_SWEPT_EVERY < RUN_EVERY",
    ),
    Guard(
        "lanes: the first alone counts its runs",
        "use_cases/measure.py::account_for",
        "lane.is_first and may_lag and not after.is_in_vain(now)",
        "may_lag and not after.is_in_vain(now)",
    ),
    Guard(
        "lanes: a failure of another counts no run",
        "use_cases/measure.py::account_for_failure",
        "lane.is_first",
        "True",
    ),
    Guard(
        "lanes: what the others meet in vain is told",
        "use_cases/measure.py::account_for",
        "begins if in_vain else None",
        "begins if in_vain and lane.is_first else None",
    ),
    Guard(
        "lanes: what one of the others meets is no outage before its time",
        "use_cases/measure.py::account_for",
        "now if lane.is_first else now + OF_ONE_LANE",
        "now",
    ),
    Guard(
        "lanes: the first sees what the others leave",
        "use_cases/lane.py::Lane.watched",
        "[shard for shard in range(SHARDS) if shard % self.of] if self.is_first else ()",
        "()",
    ),
    Guard(
        "lanes: a breaker that was opened anew stays open",
        "store/control.py::Control.close_breaker",
        'self._set({"open_until": None}, condition=is_open_until(seen))',
        'self._set({"open_until": None})',
    ),
    Guard(
        "lanes: what one has met is not lost to what another knew",
        "store/control.py::Control.note_trouble",
        "new != known[name]",
        "name in known",
    ),
    Guard(
        "load: what is due is compared with what a lane carries",
        "use_cases/measure.py::measure_load",
        "100 * min(due, capacity) // capacity",
        "100 * 0 // capacity",
    ),
    Guard(
        "load: not while an alarm speaks for the cause",
        "use_cases/measure.py::measure_load",
        "not _is_explained(broker)",
        "broker",
    ),
)
