"""What wakes somebody is counted by the code, reaches them, and says what to do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.template.deployed import ROOT, Deployed, deployed
from token_broker.runtime.observability import ALARMS, GAUGES, counted_as

WATCHED = {
    "bearers_expired_share",
    "connections_refused",
    "due_over_capacity",
    "run_accounted_for",
}
TOPIC = "arn:aws:sns:us-east-1:123456789012:on-call"
BY_EVENT = {  # what each alarm stands for; two things a person must do are two alarms
    "OursToCorrectAlarm": {"broker_misconfigured", "table_foreign", "unexpected_error"},
    "AtOddsWithAkoyaAlarm": {
        "breaker_opened",
        "request_refused",
        "subject_changed",
        "id_token_rejected",
    },
    "TokensAtRiskAlarm": {
        "escrow_used",
        "escrow_stranded",
        "token_persist_failed",
        "rotation_lost",
        "row_unreadable",
    },
    "MoreDueThanCarriedAlarm": {"due_over_capacity"},
    "MassRefusalsAlarm": {"connections_refused"},
    "BearersExpiredAlarm": {"bearers_expired_share"},
    "NoGoodRunAlarm": {"run_accounted_for"},
    "ApiFailedAlarm": {"api_failed"},
}
EVENTS = set().union(*BY_EVENT.values())
SYMPTOMS = {
    "NoGoodRunAlarm",
    "MoreDueThanCarriedAlarm",
    "BearersExpiredAlarm",
    "ApiFailedAlarm",
}


@pytest.fixture(scope="module")
def alarms() -> dict[str, dict[str, Any]]:
    return deployed(AlarmTopicArn=TOPIC).of_type("AWS::CloudWatch::Alarm")


def test_each_event_reaches_the_one_alarm_that_says_what_to_do(
    alarms: dict[str, dict[str, Any]],
) -> None:
    assert ALARMS.keys() | WATCHED | {"api_failed"} == EVENTS
    for event in ALARMS.keys() | WATCHED:
        reached = {
            name for name, alarm in alarms.items() if alarm["MetricName"] in counted_as(event)
        }
        assert reached == {name for name, events in BY_EVENT.items() if event in events}, event
    assert WATCHED - {"run_accounted_for"} <= GAUGES.keys()


def test_there_is_one_alarm_a_metric_and_no_other_alarm(
    stack: Deployed, alarms: dict[str, dict[str, Any]]
) -> None:
    assert alarms.keys() == BY_EVENT.keys()
    assert len({alarm["MetricName"] for alarm in alarms.values()}) == len(alarms) <= 8
    assert not stack.of_type("AWS::CloudWatch::CompositeAlarm")


@pytest.mark.parametrize("event", ["table_foreign", "row_unreadable", "token_refreshed"])
def test_an_event_counts_once_under_each_name(event: str) -> None:
    assert counted_as(event)[0] == event
    assert len(counted_as(event)) == len(set(counted_as(event)))


def test_an_alarm_looks_where_the_functions_count(
    stack: Deployed, alarms: dict[str, dict[str, Any]]
) -> None:
    for function in stack.of_type("AWS::Lambda::Function").values():
        variables = function["Environment"]["Variables"]
        for alarm in alarms.values():
            assert alarm["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"]
            assert alarm["Dimensions"] == [
                {"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}
            ]


def test_an_alarm_reaches_the_topic_and_says_what_to_do(alarms: dict[str, dict[str, Any]]) -> None:
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == [TOPIC], name
        assert len(alarm["AlarmDescription"]) > 60, name
        assert alarm["AlarmDescription"].endswith((".", "?")), name
        if len(BY_EVENT[name]) > 1:
            assert not [one for one in BY_EVENT[name] if one not in alarm["AlarmDescription"]]


def test_an_incident_that_is_counted_again_and_again_is_one_alarm(
    alarms: dict[str, dict[str, Any]],
) -> None:
    """Longer than a held connection waits, and than the schedule needs to catch up."""
    for name in alarms.keys() - SYMPTOMS:
        alarm = alarms[name]
        above = 5 if name == "MassRefusalsAlarm" else 0  # refusals are normal one by one
        assert (alarm["Period"], alarm["EvaluationPeriods"]) == (60, 60)
        assert int(alarm["Threshold"]) == above, name
        assert alarm["DatapointsToAlarm"] == 1, name


def test_without_a_topic_alarms_only_change_their_state(stack: Deployed) -> None:
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        assert "AlarmActions" not in alarm


def test_five_minutes_without_a_good_run_are_an_alarm_and_a_dead_schedule_counts_none(
    alarms: dict[str, dict[str, Any]],
) -> None:
    runs = alarms["NoGoodRunAlarm"]
    assert (runs["Statistic"], runs["ComparisonOperator"]) == ("Sum", "LessThanThreshold")
    assert (runs["Threshold"], runs["Period"], runs["EvaluationPeriods"]) == (1, 60, 5)
    assert runs["DatapointsToAlarm"] == 5
    missing = {name: alarm["TreatMissingData"] for name, alarm in alarms.items()}
    assert missing.pop("NoGoodRunAlarm") == "breaching"
    assert set(missing.values()) == {"notBreaching"}


def test_a_schedule_that_is_disabled_on_purpose_pages_nobody() -> None:
    stack = deployed(AlarmTopicArn=TOPIC, ScheduleState="DISABLED")
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["TreatMissingData"] == "notBreaching", name


def test_bearers_expired_in_use_for_five_minutes_are_an_alarm(
    alarms: dict[str, dict[str, Any]],
) -> None:
    expired = alarms["BearersExpiredAlarm"]
    assert (expired["Statistic"], expired["ComparisonOperator"]) == (
        "Maximum",
        "GreaterThanThreshold",
    )
    assert (expired["Threshold"], expired["Period"]) == (10, 60)
    assert (expired["EvaluationPeriods"], expired["DatapointsToAlarm"]) == (10, 5)


def test_ten_minutes_in_which_the_busiest_lane_is_nearly_full_name_the_parameter_to_raise(
    alarms: dict[str, dict[str, Any]],
) -> None:
    full = alarms["MoreDueThanCarriedAlarm"]
    assert (full["Statistic"], full["ComparisonOperator"]) == ("Maximum", "GreaterThanThreshold")
    assert (full["Threshold"], full["Period"]) == (80, 60)
    assert (full["EvaluationPeriods"], full["DatapointsToAlarm"]) == (10, 10)
    assert {"RateLimitPerSecond", "Lanes"} <= set(re.findall(r"\w+", full["AlarmDescription"]))


# ── answers of API Gateway's own ─────────────────────────────────────────────────────────────────


def is_counted(stack: Deployed, status: int, gateway_response: str) -> bool:
    """Say what the metric filter makes of a request with this status.

    `gateway_response`: "-" in the access log where the function itself has answered.
    """
    (found,) = stack.of_type("AWS::Logs::MetricFilter").values()
    line = {"status": str(status), "gatewayResponse": gateway_response}
    terms = found["FilterPattern"].strip("{} ").split(" && ")
    parsed = [term for text in terms for term in re.findall(r'^\$\.(\w+) (!?=) "(.+)"$', text)]
    assert len(parsed) == len(terms), found["FilterPattern"]
    return all(
        bool(re.fullmatch(value.replace("*", ".*"), line[name])) == (operator == "=")
        for name, operator, value in parsed
    )


@pytest.mark.parametrize(
    ("status", "gateway_response", "counted"),
    [
        (500, "API_CONFIGURATION_ERROR", True),
        (500, "DEFAULT_5XX", True),
        (502, "INTEGRATION_FAILURE", True),  # a function crashed, or did not start
        (504, "INTEGRATION_FAILURE", True),
        (504, "INTEGRATION_TIMEOUT", False),  # the function runs on
        (500, "-", False),  # broker_misconfigured and the like are counted as such
        (503, "-", False),
        (429, "THROTTLED", False),
        (403, "MISSING_AUTHENTICATION_TOKEN", False),
        (200, "-", False),
    ],
)
def test_what_the_api_answers_in_a_functions_place_is_counted_and_nothing_else(
    stack: Deployed, status: int, gateway_response: str, *, counted: bool
) -> None:
    assert is_counted(stack, status, gateway_response) is counted


def test_failures_of_the_api_are_counted_from_the_access_log_under_the_stacks_name(
    stack: Deployed, alarms: dict[str, dict[str, Any]]
) -> None:
    (found,) = stack.of_type("AWS::Logs::MetricFilter").values()
    (counted,) = found["MetricTransformations"]
    alarm = alarms["ApiFailedAlarm"]
    assert found["LogGroupName"] == "ApiAccessLogGroup"
    assert (counted["MetricNamespace"], counted["MetricName"]) == (
        alarm["Namespace"],
        alarm["MetricName"],
    )
    assert counted["Dimensions"] == [{"Key": "service", "Value": "$.service"}]
    line = json.loads(stack.properties("Apiv1Stage")["AccessLogSetting"]["Format"])
    assert [{"Name": "service", "Value": line["service"]}] == alarm["Dimensions"]
    assert line["gatewayResponse"] == "$context.error.responseType"
    assert line["status"] == "$context.status"


def test_failures_of_the_api_page_where_they_go_on_for_a_quarter_of_an_hour(
    alarms: dict[str, dict[str, Any]],
) -> None:
    alarm = alarms["ApiFailedAlarm"]
    assert (alarm["Statistic"], alarm["Threshold"], alarm["Period"]) == ("Sum", 0, 300)
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (3, 3)


# ── the page for whoever is woken ────────────────────────────────────────────────────────────────


def test_the_operators_page_says_of_each_alarm_what_counts_and_what_to_do_first() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(\w+Alarm)` \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert {
        name: set(re.findall(r"`(\w+)`", means)) & EVENTS for name, means, _ in rows
    } == BY_EVENT
    headings = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^## (.+)$", page, re.MULTILINE)
    }
    for name, _, first in rows:
        assert set(re.findall(r"\(#([\w-]+)\)", first)) <= headings, name
