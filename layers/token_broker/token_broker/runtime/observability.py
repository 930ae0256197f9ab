"""Logs and metrics: every event of the use cases is one log line and one count.

Only ids, codes and numbers reach this module. An unexpected exception is logged by its type and
the places it passed through, never by its text, which may quote what it choked on.
"""

from __future__ import annotations

import threading
import traceback

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from token_broker.domain.errors import TokenBrokerError

# What a person has to look at; everything else is information.
ALARMING = frozenset(
    {
        "breaker_opened",
        "broker_misconfigured",
        "escrow_stranded",
        "escrow_used",
        "id_token_rejected",
        "nothing_answered",
        "request_refused",
        "rotation_lost",
        "row_unreadable",
        "subject_changed",
        "table_foreign",
        "token_persist_failed",
        "unexpected_error",
    }
)
GAUGES = {  # what each run measures, and in which unit
    "oldest_due_seconds": MetricUnit.Seconds,
    "bearers_expired": MetricUnit.Count,
    "bearers_expired_share": MetricUnit.Percent,
    "failed_share": MetricUnit.Percent,
    "connections_refused": MetricUnit.Count,
}
WATCHED = frozenset(  # what has an alarm though its log line is no error
    {"oldest_due_seconds", "bearers_expired_share", "connections_refused", "run_completed"}
)

logger = Logger()
metrics = Metrics()
_mutex = threading.Lock()  # a run of the schedule counts from many threads


def record(event: str, *, value: int = 1, **fields: str | int | None) -> None:
    """Log an event and count it under its name."""
    known = {name: field for name, field in fields.items() if field is not None}
    level = logger.error if event in ALARMING else logger.info
    level(event, extra={"event": event, "value": value, **known})
    with _mutex:
        metrics.add_metric(name=event, unit=GAUGES.get(event, MetricUnit.Count), value=value)


def of_request(request_id: str | None) -> None:
    """Let the lines that follow name the request they belong to, as the API's access log does."""
    logger.append_keys(request_id=request_id)


def publish_metrics() -> None:
    """Print what was counted in this invocation, in CloudWatch's embedded metric format."""
    if metrics.metric_set:
        metrics.flush_metrics()


def record_failure(exc: Exception, *, connection_id: str | None = None) -> None:
    """Log what ended a request or a run, and count what needs a human."""
    kind = type(exc).__name__
    if isinstance(exc, TokenBrokerError):
        about = connection_id or exc.about
        record(exc.event, connection_id=about, error=exc.error, detail=exc.detail, kind=kind)
    else:
        record("unexpected_error", connection_id=connection_id, kind=kind, detail=places(exc))


def places(exc: BaseException) -> str:
    """Return the way an exception took, innermost last: file, line and function, no text."""
    frames = traceback.extract_tb(exc.__traceback__)
    return " > ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}:{frame.name}" for frame in frames[-8:]
    )
