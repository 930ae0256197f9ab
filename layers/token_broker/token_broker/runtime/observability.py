"""Logs and metrics: every event of the use cases is one log line and one count.

Only ids, codes and numbers reach this module. An unexpected exception is logged by its type and
the places it passed through, never by its text, which may quote what it choked on.
"""

from __future__ import annotations

import threading
import traceback

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from token_broker.domain.errors import Reported, TokenBrokerError

# By what a person has to do: an event that is an alarm's business, and the metric that alarm is on.
# Four more alarms are on how much is counted (connections_refused, bearers_expired_share,
# due_over_capacity), or that nothing is (run_accounted_for): one of those alone is no error.
ALARMS = {
    "broker_misconfigured": "ours_to_correct",
    "table_foreign": "ours_to_correct",
    "unexpected_error": "ours_to_correct",
    "breaker_opened": "at_odds_with_akoya",
    "request_refused": "at_odds_with_akoya",
    "subject_changed": "at_odds_with_akoya",
    "id_token_rejected": "at_odds_with_akoya",
    "escrow_used": "tokens_at_risk",
    "escrow_stranded": "tokens_at_risk",
    "token_persist_failed": "tokens_at_risk",
    "rotation_lost": "tokens_at_risk",
    "row_unreadable": "tokens_at_risk",
}
GAUGES = {  # what each run measures, and in which unit
    "oldest_due_seconds": MetricUnit.Seconds,
    "bearers_expired": MetricUnit.Count,
    "bearers_expired_share": MetricUnit.Percent,
    "due_over_capacity": MetricUnit.Percent,
    "failed_share": MetricUnit.Percent,
    "connections_refused": MetricUnit.Count,
}

logger = Logger()
metrics = Metrics()
_mutex = threading.Lock()  # a run of the schedule counts from many threads


def record(event: str, *, value: int = 1, **fields: str | int | None) -> None:
    """Log an event and count it under its name, and under that of its alarm."""
    known = {name: field for name, field in fields.items() if field is not None}
    level = logger.error if event in ALARMS else logger.info
    level(event, extra={"event": event, "value": value, **known})
    with _mutex:
        for metric in counted_as(event):
            metrics.add_metric(name=metric, unit=GAUGES.get(event, MetricUnit.Count), value=value)


def counted_as(event: str) -> list[str]:
    """Return the metrics an event counts under: its own, then its alarm's if that is another."""
    return list(dict.fromkeys([event, ALARMS.get(event, event)]))


def of_request(request_id: str | None) -> None:
    """Let the lines that follow name the request they belong to, as the API's access log does."""
    logger.append_keys(request_id=request_id)


def publish_metrics() -> None:
    """Print what was counted in this invocation, in CloudWatch's embedded metric format."""
    if metrics.metric_set:
        metrics.flush_metrics()


def record_failure(exc: Exception, *, connection_id: str | None = None) -> bool:
    """Log and count what ended a request or a run; return whether it is an alarm's business."""
    kind = type(exc).__name__
    about = connection_id or getattr(exc, "about", None)
    if isinstance(exc, TokenBrokerError):
        record(exc.event, connection_id=about, error=exc.error, detail=exc.detail, kind=kind)
        return exc.event in ALARMS or isinstance(exc, Reported)
    record("unexpected_error", connection_id=about, kind=kind, detail=places(exc))
    return True


def places(exc: BaseException) -> str:
    """Return the way an exception took, innermost last: file, line and function, no text."""
    frames = traceback.extract_tb(exc.__traceback__)
    return " > ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}:{frame.name}" for frame in frames[-8:]
    )
