"""Each event in events/ and what its function answers; bad input changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.handlers.deployed import BASE_URL, EVENTS, Deployed
from token_broker.domain.errors import BrokerMisconfigured, UpstreamUnavailable
from token_broker.runtime.observability import ALARMS
from token_broker.use_cases.home import home_of

Prepare = Callable[[Deployed], object]


def nothing(_: Deployed) -> None:
    """Happen before nothing."""


# What must have happened before, by event; nothing where nothing is named.
BEFORE: dict[str, Prepare] = {
    "authorize.start": Deployed.begin,
    **dict.fromkeys(
        [
            "callback.success",
            "callback.declined",
            "callback.cookie-missing",
            "callback.cookie-foreign",
            "callback.state-missing",
            "callback.state-wrong",
            "callback.state-repeated",
            "callback.code-missing",
            "callback.code-oversized",
            "callback.parameters-too-many",
        ],
        Deployed.consent,
    ),
    **dict.fromkeys(
        [
            "connections.confirm",
            "connections.confirm-subject-other",
            "connections.confirm-confirmation-wrong",
        ],
        Deployed.come_back,
    ),
    **dict.fromkeys(
        [
            "connections.list",
            "connections.list-cursor-bad",
            "connections.list-limit-bad",
            "connections.list-page",
            "connections.show",
            "connections.show-subject",
            "connections.show-subject-other",
            "connections.disconnect",
            "connections.disconnect-subject",
            "connections.disconnect-subject-other",
            "token.hand-out",
            "token.subject",
            "token.subject-other",
            "token.subject-not-a-string",
            "token.rejected",
            "token.min-validity",
            "token.min-validity-not-a-number",
            "token.min-validity-negative",
            "token.rejected-never-was",
            "token.next-use",
            "token.next-use-over",
            "token.next-use-not-a-number",
        ],
        Deployed.connect,
    ),
}
GOOD = {
    "authorize.begin": 201,
    "authorize.start": 302,
    "callback.success": 303,
    "callback.declined": 303,
    "connections.list": 200,
    "connections.list-page": 200,
    "connections.show": 200,
    "connections.confirm": 200,
    "connections.show-subject": 200,
    "connections.disconnect": 202,
    "connections.disconnect-subject": 202,
    "token.hand-out": 200,
    "token.subject": 200,
    "token.rejected": 200,
    "token.min-validity": 200,
    "token.next-use": 200,
}
BAD = {
    "authorize.begin-return-to-unlisted": (400, "invalid_request"),
    "authorize.begin-connector-bad": (400, "invalid_request"),
    "authorize.begin-body-malformed": (400, "invalid_request"),
    "authorize.begin-body-not-an-object": (400, "invalid_request"),
    "authorize.begin-body-oversized": (400, "invalid_request"),
    "authorize.begin-member-missing": (400, "invalid_request"),
    "authorize.begin-member-unknown": (400, "invalid_request"),
    "authorize.begin-renewal-unknown": (404, "connection_not_found"),
    "authorize.start-ticket-unknown": (404, "invalid_ticket"),
    "authorize.start-ticket-malformed": (404, "invalid_ticket"),
    "callback.error-state-empty": (400, "access_denied"),
    "callback.cookie-missing": (400, "invalid_state"),
    "callback.cookie-foreign": (400, "invalid_state"),
    "callback.state-missing": (400, "invalid_state"),
    "callback.state-wrong": (400, "invalid_state"),
    "callback.state-repeated": (400, "invalid_request"),
    "callback.code-missing": (400, "invalid_request"),
    "callback.code-oversized": (400, "invalid_request"),
    "callback.parameters-too-many": (400, "invalid_request"),
    "connections.list-subject-missing": (400, "invalid_request"),
    "connections.list-cursor-bad": (400, "invalid_request"),
    "connections.list-limit-bad": (400, "invalid_request"),
    "connections.show-unknown": (404, "connection_not_found"),
    "connections.show-inner-row": (404, "connection_not_found"),
    "connections.confirm-subject-other": (403, "invalid_confirmation"),
    "connections.confirm-confirmation-wrong": (403, "invalid_confirmation"),
    "connections.show-subject-other": (404, "connection_not_found"),
    "connections.disconnect-subject-other": (404, "connection_not_found"),
    "token.subject-other": (404, "connection_not_found"),
    "token.subject-not-a-string": (400, "invalid_request"),
    "token.min-validity-not-a-number": (400, "invalid_request"),
    "token.min-validity-negative": (400, "invalid_request"),
    "token.rejected-never-was": (400, "invalid_request"),
    "token.next-use-over": (400, "invalid_request"),
    "token.next-use-not-a-number": (400, "invalid_request"),
    "token.unknown": (404, "connection_not_found"),
}
PAGES = ("authorize.start", "callback.")


def test_every_event_is_used_and_every_case_has_its_event() -> None:
    files = {path.stem for path in EVENTS.glob("*.json")}
    assert files == GOOD.keys() | BAD.keys() | {"refresh.schedule", "refresh.lane"}
    assert not GOOD.keys() & BAD.keys()


@pytest.mark.parametrize(("name", "status"), GOOD.items())
def test_a_good_request_is_answered_and_never_cached(
    broker: Deployed, name: str, status: int
) -> None:
    BEFORE.get(name, nothing)(broker)

    answer = broker.handle(name)

    assert answer["statusCode"] == status
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert answer["headers"]["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(("name", "expected"), BAD.items())
def test_bad_input_gets_a_clear_error_and_changes_nothing(
    broker: Deployed, name: str, expected: tuple[int, str]
) -> None:
    BEFORE.get(name, nothing)(broker)
    before, sent = broker.rows(), len(broker.http.sent)

    answer = broker.handle(name)

    status, error = expected
    assert answer["statusCode"] == status
    assert broker.rows() == before
    assert len(broker.http.sent) == sent
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert "<script>" not in answer["body"]
    if name.startswith(PAGES):
        assert answer["headers"]["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in answer["headers"]["Content-Security-Policy"]
        assert error in answer["body"]
    else:
        body = json.loads(answer["body"])
        assert body["error"] == error
        assert body["error_description"]


def test_after_bad_input_the_good_one_still_succeeds(broker: Deployed) -> None:
    broker.consent()
    for name in BAD:
        if name.startswith("callback."):
            broker.handle(name)

    assert "status=pending_confirmation" in broker.handle("callback.success")["headers"]["Location"]


def test_a_start_link_leads_to_akoya_and_binds_the_browser(broker: Deployed) -> None:
    begun = broker.begin()
    assert begun["start_url"].startswith(f"{BASE_URL}/start/")

    started = broker.handle("authorize.start")

    (cookie,) = started["multiValueHeaders"]["Set-Cookie"]
    assert cookie.startswith("__Host-link-")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert started["headers"]["Location"].startswith("http://localhost:8702/auth?connector=mikomo")


def test_the_browsers_cookie_is_cleared_with_the_outcome(broker: Deployed) -> None:
    broker.consent()
    name = broker.values["cookie"].partition("=")[0]

    told = broker.handle("callback.success")

    (cookie,) = told["multiValueHeaders"]["Set-Cookie"]
    assert cookie.startswith(f"{name}=; Max-Age=0; ")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))


def test_a_page_that_ends_an_attempt_offers_the_way_back(broker: Deployed) -> None:
    broker.consent()

    page = broker.handle("callback.cookie-missing")["body"]

    (link,) = re.findall(r'<a href="([^"]*)">Go back to the app</a>', page)
    assert link.startswith("https://app.example/return?connection_id=")
    assert link.endswith("&amp;status=failed&amp;error=invalid_state")
    for value in ("state", "code", "cookie", "ticket"):
        assert broker.values[value] not in page


def test_a_redirect_delivered_again_after_its_outcome_offers_it_once_more(broker: Deployed) -> None:
    broker.come_back()

    again = broker.handle("callback.cookie-missing")

    assert again["statusCode"] == 400
    assert "Nothing is left to do here" in again["body"]
    assert "status=pending_confirmation" in again["body"]
    assert "confirmation=" not in again["body"].replace("pending_confirmation", "")


def test_nobody_is_sent_out_before_the_client_secret_is_set(broker: Deployed) -> None:
    name = f"{broker.prefix}-client-secret"
    broker.aws.secretsmanager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    broker.aws.secretsmanager.create_secret(Name=name)

    answer = broker.handle("authorize.begin")

    assert answer["statusCode"] == 500
    body = json.loads(answer["body"])
    assert body["error"] == "server_error"
    assert "puts the secret into Secrets Manager" in body["error_description"]


def test_a_subject_with_too_many_open_attempts_is_told_when_to_come_again(
    broker: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses = [broker.handle("authorize.begin")["statusCode"] for _ in range(10)]
    assert statuses == [201] * 10

    answer = broker.handle("authorize.begin")

    assert answer["statusCode"] == 429
    assert json.loads(answer["body"])["error"] == "too_many_attempts"
    assert 0 < int(answer["headers"]["Retry-After"]) <= 900
    assert not [name for name in ALARMS if f'"{name}"' in capsys.readouterr().out]


def test_a_bearer_is_handed_out_with_what_its_user_needs(broker: Deployed) -> None:
    broker.connect()

    body = json.loads(broker.handle("token.hand-out")["body"])

    assert body.keys() == {"token_type", "id_token", "expires_at", "generation", "connector"}
    assert (body["token_type"], body["generation"], body["connector"]) == ("Bearer", 1, "mikomo")
    assert json.loads(broker.handle("token.rejected")["body"])["generation"] == 2


def test_a_view_shows_no_token_and_no_hash(broker: Deployed) -> None:
    broker.connect()

    for name in ("connections.show", "connections.list"):
        body = json.loads(broker.handle(name)["body"])
        shown: dict[str, Any] = body if name.endswith("show") else body["connections"][0]
        assert not shown.keys() & {"token_set", "sealed", "login", "confirmation_hash", "lease_id"}
        assert shown["status"] == "ACTIVE"


def test_the_schedule_tends_what_is_due(broker: Deployed) -> None:
    connection_id = broker.connect()
    broker.aws.dynamodb.update_item(
        TableName=f"{broker.prefix}-connections",
        Key={"id": {"S": connection_id}},
        UpdateExpression="SET due_at = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )

    assert broker.handle("refresh.schedule") == {"tended": 1, "failed": 0, "ended": 0}
    assert json.loads(broker.handle("token.hand-out")["body"])["generation"] == 2


@pytest.mark.parametrize(("shard", "tended"), [("0", 0), ("1", 1)])
def test_a_lane_tends_what_is_its_own(broker: Deployed, shard: str, tended: int) -> None:
    """By hand, without a lane, a run tends all there is."""
    connection_id = broker.connect()
    broker.aws.dynamodb.update_item(
        TableName=f"{broker.prefix}-connections",
        Key={"id": {"S": connection_id}},
        UpdateExpression="SET due_at = :past, #shard = :shard",
        ExpressionAttributeNames={"#shard": "shard"},
        ExpressionAttributeValues={":past": {"N": "1"}, ":shard": {"N": shard}},
    )

    assert broker.handle("refresh.lane")["tended"] == tended
    assert broker.handle("refresh.schedule")["tended"] == 1 - tended


def test_a_run_whose_alarm_has_spoken_leaves_no_failure_for_a_human_to_clear(
    broker: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    on = broker.functions["refresh"].broker
    anothers = replace(home_of(on), environment="another")
    on.connections.adopt(anothers)

    assert broker.handle("refresh.schedule") == {"tended": 0, "failed": 0, "ended": 0}

    printed = capsys.readouterr().out
    assert '"table_foreign"' in printed
    assert '"broker_misconfigured"' not in printed
    assert counted(printed, "ours_to_correct") == counted(printed, "run_accounted_for") == 1


def test_a_good_run_is_counted(broker: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    broker.handle("refresh.schedule")

    assert counted(capsys.readouterr().out, "run_accounted_for") == 1


def counted(printed: str, metric: str) -> int:
    """Return how often a metric was counted in CloudWatch's embedded format."""
    lines = [json.loads(line) for line in printed.splitlines()]
    return sum(len(line.get(metric, [])) for line in lines if "_aws" in line)


@pytest.mark.parametrize(
    ("error", "alarms"),
    [
        (ValueError("rt-secret in the text"), 1),
        (BrokerMisconfigured("rt-secret in the text", detail="may not query"), 1),
        (UpstreamUnavailable("rt-secret in the text", detail="ThrottlingException"), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failed_run_says_so_to_lambda_not_why_and_counts_only_where_its_cause_has_an_alarm(
    error: Exception,
    alarms: int,
    broker: Deployed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(broker.functions["refresh"].broker.connections, "due", fail)

    with pytest.raises(Exception, match="see the log line") as failed:
        broker.handle("refresh.schedule")
    assert "secret" not in str(failed.value)
    assert failed.value.__suppress_context__
    printed = capsys.readouterr().out
    assert counted(printed, "run_accounted_for") == counted(printed, "ours_to_correct") == alarms


def test_the_line_of_a_redirect_that_failed_names_the_connection_of_its_attempt(
    broker: Deployed, caplog: pytest.LogCaptureFixture
) -> None:
    broker.consent()
    (attempt,) = [row for row in broker.rows()[1] if "return_to" in row]
    begun = attempt["connection_id"]["S"]
    broker.provider.change_client_secret("another")
    caplog.clear()

    assert broker.handle("callback.success")["statusCode"] == 503
    assert broker.handle("callback.code-missing")["statusCode"] == 400

    lines = [one.__dict__ for one in caplog.records if one.getMessage() == "request_failed"]
    assert [one.get("connection_id") for one in lines] == [begun, begun]


def test_the_line_of_a_redirect_that_nobody_expected_to_fail_names_its_connection_too(
    broker: Deployed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.consent()
    (attempt,) = [row for row in broker.rows()[1] if "return_to" in row]
    monkeypatch.setattr(broker.functions["callback"].broker.connections, "create", None)
    caplog.clear()

    assert broker.handle("callback.success")["statusCode"] == 500

    (line,) = [one.__dict__ for one in caplog.records if one.getMessage() == "unexpected_error"]
    assert line["connection_id"] == attempt["connection_id"]["S"]


def test_the_line_of_a_request_that_failed_names_the_connection_of_its_path(
    broker: Deployed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = broker.connect()
    caplog.clear()
    broker.handle("token.rejected-never-was")
    monkeypatch.setattr(broker.functions["token"].broker.connections, "get", None)
    broker.handle("token.hand-out")

    failed = {
        (one.__dict__.get("event"), one.__dict__.get("connection_id"))
        for one in caplog.records
        if one.getMessage() != "audit"
    }
    assert failed == {("request_failed", connection_id), ("unexpected_error", connection_id)}
