"""What wakes somebody is counted by the code, reaches them, and says what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.template.deployed import Deployed, deployed
from token_broker.runtime.observability import ALARMING, GAUGES, WATCHED

TOPIC = "arn:aws:sns:us-east-1:123456789012:on-call"
SUMMARY = "UnexplainedAlarm"


@pytest.fixture(scope="module")
def alarms() -> dict[str, dict[str, Any]]:
    return deployed(AlarmTopicArn=TOPIC).of_type("AWS::CloudWatch::Alarm")


def ours(alarms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the alarms on our own metrics, by metric."""
    return {
        alarm["MetricName"]: alarm
        for alarm in alarms.values()
        if alarm["Namespace"] == "AkoyaTokenBroker"
    }


def summary() -> dict[str, Any]:
    """Return the alarm on alarms."""
    found = deployed(AlarmTopicArn=TOPIC).of_type("AWS::CloudWatch::CompositeAlarm")
    assert found.keys() == {SUMMARY}
    return found[SUMMARY]


def rule() -> tuple[set[str], set[str]]:
    """Return the alarms of which one must be on for it, and those of which none may be."""
    wanted, _, unwanted = summary()["AlarmRule"].partition(" AND NOT ")
    return set(re.findall(r"ALARM\((\w+)\)", wanted)), set(re.findall(r"ALARM\((\w+)\)", unwanted))


def test_whatever_the_code_calls_alarming_has_an_alarm(alarms: dict[str, dict[str, Any]]) -> None:
    assert set(ours(alarms)) == ALARMING | WATCHED
    assert WATCHED - {"run_completed"} <= GAUGES.keys()


def test_an_alarm_looks_where_the_functions_count(
    stack: Deployed, alarms: dict[str, dict[str, Any]]
) -> None:
    for function in stack.of_type("AWS::Lambda::Function").values():
        variables = function["Environment"]["Variables"]
        for alarm in ours(alarms).values():
            assert alarm["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"]
            assert alarm["Dimensions"] == [
                {"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}
            ]


def test_an_alarm_reaches_the_topic_and_says_what_to_do(alarms: dict[str, dict[str, Any]]) -> None:
    shown, _ = rule()
    for name, alarm in (alarms | {SUMMARY: summary()}).items():
        assert name in shown or alarm["AlarmActions"] == [TOPIC], name
        assert len(alarm["AlarmDescription"]) > 60, name
        assert alarm["AlarmDescription"].endswith((".", "?")), name


def test_a_symptom_speaks_through_the_one_alarm_that_is_silent_where_a_cause_is_named(
    alarms: dict[str, dict[str, Any]],
) -> None:
    shown, named = rule()
    assert shown == {name for name, alarm in alarms.items() if "AlarmActions" not in alarm}
    assert {alarms[name]["MetricName"] for name in named} == {
        "breaker_opened",
        "broker_misconfigured",
        "connections_refused",
        "nothing_answered",
        "table_foreign",
        "unexpected_error",
    }


def test_an_incident_that_is_counted_again_and_again_is_one_alarm(
    alarms: dict[str, dict[str, Any]],
) -> None:
    """Longer than a held connection waits, and than the schedule needs to catch up."""
    shown, _ = rule()
    for name in alarms.keys() - shown:
        alarm = alarms[name]
        above = 5 if name == "MassRefusalsAlarm" else 0  # refusals are normal one by one
        assert (alarm["Period"], alarm["EvaluationPeriods"]) == (60, 60)
        assert int(alarm["Threshold"]) == above, name
        assert alarm["DatapointsToAlarm"] == (3 if name == "NothingAnsweredAlarm" else 1), name


def test_5xx_count_as_a_symptom_only_after_their_cause_has_had_time_to_be_named(
    alarms: dict[str, dict[str, Any]],
) -> None:
    errors = alarms["ApiErrorsAlarm"]
    assert errors["Period"] * errors["EvaluationPeriods"] == 900
    assert errors["DatapointsToAlarm"] == errors["EvaluationPeriods"]


def test_without_a_topic_alarms_only_change_their_state(stack: Deployed) -> None:
    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
        for alarm in stack.of_type(kind).values():
            assert "AlarmActions" not in alarm


def test_five_minutes_without_a_good_run_are_an_alarm_and_a_dead_schedule_counts_none(
    alarms: dict[str, dict[str, Any]],
) -> None:
    runs = ours(alarms)["run_completed"]
    assert (runs["Statistic"], runs["ComparisonOperator"]) == ("Sum", "LessThanThreshold")
    assert (runs["Threshold"], runs["Period"], runs["EvaluationPeriods"]) == (1, 60, 5)
    assert runs["DatapointsToAlarm"] == 5
    missing = {name: alarm["TreatMissingData"] for name, alarm in alarms.items()}
    assert missing.pop("RunsMissingAlarm") == "breaching"
    assert set(missing.values()) == {"notBreaching"}


def test_a_schedule_that_is_disabled_on_purpose_pages_nobody() -> None:
    stack = deployed(AlarmTopicArn=TOPIC, ScheduleState="DISABLED")
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["TreatMissingData"] == "notBreaching", name


def test_bearers_expired_in_use_for_five_minutes_are_an_alarm(
    alarms: dict[str, dict[str, Any]],
) -> None:
    expired = ours(alarms)["bearers_expired_share"]
    assert (expired["Statistic"], expired["ComparisonOperator"]) == (
        "Maximum",
        "GreaterThanThreshold",
    )
    assert (expired["Threshold"], expired["Period"]) == (10, 60)
    assert (expired["EvaluationPeriods"], expired["DatapointsToAlarm"]) == (5, 5)


def test_a_quarter_of_an_hour_of_lag_three_times_in_a_row_is_an_alarm(
    alarms: dict[str, dict[str, Any]],
) -> None:
    lag = ours(alarms)["oldest_due_seconds"]
    assert (lag["Statistic"], lag["Threshold"]) == ("Maximum", 900)
    assert (lag["Period"], lag["EvaluationPeriods"]) == (60, 3)
    assert lag["DatapointsToAlarm"] == 3


def test_of_what_others_count_5xx_are_an_alarm(
    stack: Deployed, alarms: dict[str, dict[str, Any]]
) -> None:
    watched = {
        (alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"][0]["Value"])
        for alarm in alarms.values()
        if alarm["Namespace"] != "AkoyaTokenBroker"
    }
    assert watched == {
        # CloudWatch knows a REST API by its name, which is the title of its definition.
        ("AWS/ApiGateway", "5XXError", stack.properties("Api")["Body"]["info"]["title"]),
    }
