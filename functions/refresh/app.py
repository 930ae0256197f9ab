"""Every minute, each lane: tend what is due (refresh, finish a revoke, end what is over, erase)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from token_broker.domain.errors import Reported, RunFailed
from token_broker.runtime import bootstrap
from token_broker.runtime.observability import publish_metrics, record_failure
from token_broker.use_cases import schedule
from token_broker.use_cases.lane import Lane
from token_broker.use_cases.measure import account_for_failure

broker, tending = bootstrap.tending()


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Tend one minute's worth of the event's lane, of all where it names none.

    The answer is for an operator who invokes it by hand.
    """
    lane = Lane(event.get("lane", 0), event.get("of", 1))
    try:
        run = schedule.tend_due(
            broker,
            tending,
            workers=ThreadPoolExecutor(tending.threads),
            remaining=bootstrap.remaining(context),
            lane=lane,
        )
    except Exception as exc:  # noqa: BLE001 - Lambda would log its text
        if record_failure(exc):  # it has an alarm of its own; a missing run would be a second one
            account_for_failure(broker, lane)
        if not isinstance(exc, Reported):
            raise RunFailed(detail="see the log line before this one") from None
        run = schedule.Run()
    finally:
        publish_metrics()
    return {"tended": len(run.tended), "failed": len(run.failed), "ended": len(run.ended)}
