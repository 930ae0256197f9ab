"""The guards of what a person learns: alarms, figures and audit lines."""

from __future__ import annotations

from tests.mutants.guard import Guard

ALARMS = {  # the events that count under the name of an alarm
    "ours_to_correct": ("broker_misconfigured", "table_foreign", "unexpected_error"),
    "at_odds_with_akoya": (
        "breaker_opened",
        "request_refused",
        "subject_changed",
        "id_token_rejected",
    ),
    "tokens_at_risk": (
        "escrow_used",
        "escrow_stranded",
        "token_persist_failed",
        "rotation_lost",
        "row_unreadable",
    ),
}

GUARDS = (
    Guard(
        "consent: a change of what it covers is told",
        "use_cases/landing.py::land",
        "target.terms and landing.terms not in (None, target.terms)",
        "False",
    ),
    Guard(
        "consent: what tells its terms ends no connection where it does not read",
        "store/connection_row.py::connection_of",
        "name not in INFORMATIVE",
        "True",
    ),
    Guard(
        "audit: a refused request leaves its line, too",
        "runtime/http_api.py::audited",
        "audit.write(outcome)",
        "if outcome == 'ok':\n    audit.write(outcome)",
    ),
    Guard(
        "audit: nothing leaves before the line",
        "runtime/http_api.py::audited",
        "audit.write(outcome)",
        "try:\n    audit.write(outcome)\nexcept Exception:\n    pass",
    ),
    Guard(
        "audit: an operator's command does nothing without its line",
        "operations/__main__.py::run",
        "trail.write(plan.act, plan.about)",
        "try:\n    trail.write(plan.act, plan.about)\nexcept Exception:\n    pass",
    ),
    Guard(
        "alarm: a run in vain is missed",
        "use_cases/measure.py::account_for",
        "lane.is_first and may_lag and not after.is_in_vain(now)",
        "lane.is_first and may_lag",
    ),
    Guard(
        "alarm: idle runs between those in vain are missed, too",
        "use_cases/measure.py::account_for",
        "[before.in_vain_since, begins if in_vain else None]",
        "[begins if in_vain else None]",
    ),
    Guard(
        "alarm: a run that lags is missed",
        "use_cases/measure.py::account_for",
        "lag <= LAG_ALLOWED",
        "lag >= 0",
    ),
    Guard(
        "alarm: one that names a cause speaks for the lag it leaves behind",
        "use_cases/measure.py::account_for",
        "now + SPOKEN_FOR",
        "now",
    ),
    Guard(
        "alarm: one that names a cause speaks for expired bearers",
        "use_cases/measure.py::_is_explained",
        "trouble.is_in_vain(now) or trouble.explained_until > now",
        "trouble.is_in_vain(now)",
    ),
    Guard(
        "alarm: an outage is no alarm on bearers as well",
        "use_cases/measure.py::_is_explained",
        "trouble.is_in_vain(now) or trouble.explained_until > now",
        "trouble.explained_until > now",
    ),
    Guard(
        "alarm: a run that failed for a named cause is not missed",
        "functions/refresh/app.py::lambda_handler",
        "account_for_failure(broker, lane)",
        "pass",
    ),
    Guard(
        "measure: bearers that expired in use are counted",
        "use_cases/measure.py::measure_expired",
        "expires_at <= now",
        "expires_at < 0",
    ),
    Guard(
        "measure: one bearer alone is no share",
        "use_cases/measure.py::measure_expired",
        "expired > 1",
        "expired > 0",
    ),
    Guard(
        "measure: each run measures",
        "use_cases/schedule.py::tend_due",
        "measure_expired(broker)",
        "broker.clock()",
    ),
    Guard(
        "measure: what cannot be measured is tended all the same",
        "use_cases/measure.py::measure_expired",
        "UpstreamUnavailable",
        "ZeroDivisionError",
    ),
    Guard(
        "measure: the failed share of a run",
        "use_cases/measure.py::measure_failed",
        "100 * len(set(failed))",
        "0 * len(set(failed))",
    ),
    *(
        Guard(
            f"alarm: {event} reaches somebody",
            "runtime/observability.py::ALARMS",
            f'"{event}": "{alarm}"',
            f'"not {event}": "{alarm}"',
        )
        for alarm, events in ALARMS.items()
        for event in events
    ),
)
