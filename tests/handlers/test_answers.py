"""Every answer that openapi.yaml declares is given by a function.

The hook in `deployed` holds each against it, here and in every other test of the handlers. A table
of cases, not a record of what a run happened to see: it says the same of one file, of one worker
and of the whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from tests import described
from tests.handlers.deployed import EVENTS, Context, Deployed
from tests.handlers.test_events import BAD, GOOD, nothing

Case = tuple[str, str, str]
PREPARED_BY_EVENT = {
    "authorize.begin": nothing,
    "authorize.start": Deployed.begin,
    "callback.success": Deployed.consent,
    "connections.confirm": Deployed.come_back,
    "connections.list": Deployed.connect,
    "connections.show": Deployed.connect,
    "connections.disconnect": Deployed.connect,
    "token.hand-out": Deployed.connect,
}


def asked(name: str, values: dict[str, str], **changes: Any) -> dict[str, Any]:
    """Return an event file's event, its placeholders filled, some of it changed."""
    text = (EVENTS / f"{name}.json").read_text()
    for placeholder, value in values.items():
        text = text.replace(f"{{{{{placeholder}}}}}", value)
    event: dict[str, Any] = json.loads(text)
    return event | changes


def answered(broker: Deployed, name: str, **changes: Any) -> Case:
    event = asked(name, broker.values, **changes)
    answer = broker.functions[name.partition(".")[0]].lambda_handler(event, Context())
    return described.of_event(event, answer).case


def route(name: str) -> str:
    event = asked(name, {})
    return f"{event['httpMethod']} {event['resource']}"


def having(table: str, **attributes: Any) -> Callable[[Deployed], object]:
    """Return what puts attributes into the table's one connection or attempt; None removes one."""

    def put(broker: Deployed) -> None:
        for row in broker.rows()[table == "authorizations"]:
            if "connector" in row:
                _change(broker, f"{broker.prefix}-{table}", row["id"], attributes)

    return put


def _change(broker: Deployed, table: str, row_id: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        found = {
            "TableName": table,
            "Key": {"id": row_id},
            "ExpressionAttributeNames": {"#n": name},
        }
        if value is None:
            broker.aws.dynamodb.update_item(**found, UpdateExpression="REMOVE #n")
        else:
            broker.aws.dynamodb.update_item(
                **found,
                UpdateExpression="SET #n = :v",
                ExpressionAttributeValues={":v": _typed(value)},
            )


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"M": {name: _typed(one) for name, one in value.items()}}
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def connected(**attributes: Any) -> Callable[[Deployed], object]:
    def prepare(broker: Deployed) -> None:
        broker.connect()
        having("connections", **attributes)(broker)

    return prepare


def came_back(**attributes: Any) -> Callable[[Deployed], object]:
    def prepare(broker: Deployed) -> None:
        broker.come_back()
        having("connections", **attributes)(broker)

    return prepare


def linked_again(broker: Deployed) -> None:
    broker.connect()
    broker.consent()
    broker.handle("callback.success")
    broker.values["connection_id"] = broker.values["begun_id"]


def beside_a_refresh(broker: Deployed) -> None:
    """Another subject's connection of the login is being refreshed."""
    broker.connect()
    having("connections", subject="eve", **LEASED)(broker)
    broker.come_back()


def exchanging(broker: Deployed) -> None:
    broker.consent()
    having(
        "authorizations",
        progress="EXCHANGING",
        attempt_id="another",
        attempt_until=int(time.time()) + 60,
    )(broker)


def too_many(broker: Deployed) -> None:
    for _ in range(10):
        broker.handle("authorize.begin")


NOW = int(time.time())
LEASED = {"lease_id": "another", "lease_until": NOW + 600, "lease_since": NOW - 600}
EXPIRED = {"issued_at": NOW - 900, "expires_at": NOW - 60}
SUSPECT = {"generation": 1, "reason": "grant_dead", "since": NOW, "streak_since": NOW, "looks": 1}

# What happened before, by event and answer.
SCENES: dict[tuple[str, str, str], Callable[[Deployed], object]] = {
    ("authorize.begin", "429", "too_many_attempts"): too_many,
    ("callback.cookie-missing", "400", "already_told"): Deployed.come_back,
    ("callback.success", "503", "exchange_in_progress"): exchanging,
    ("connections.confirm", "409", "reauthorization_required"): came_back(failures="x"),
    ("connections.confirm", "409", "already_connected"): came_back(
        status="SUPERSEDED", superseded_by="1" * 32
    ),
    ("connections.confirm", "410", "gone"): came_back(status="REVOKED"),
    ("connections.confirm", "503", "refresh_in_progress"): beside_a_refresh,
    ("connections.disconnect", "409", "already_connected"): linked_again,
    ("token.hand-out", "409", "already_connected"): linked_again,
    ("token.hand-out", "409", "not_confirmed"): Deployed.come_back,
    ("token.hand-out", "409", "reauthorization_required"): connected(status="REAUTH_REQUIRED"),
    ("token.hand-out", "410", "gone"): connected(status="REVOKED"),
    ("token.hand-out", "503", "refresh_in_progress"): connected(**EXPIRED, **LEASED),
    ("token.hand-out", "503", "consent_suspect"): connected(**EXPIRED, suspect=SUSPECT),
    ("token.rejected", "503", "data_access_refused"): connected(refused=1, proved_at=NOW),
    **{
        (name, "500", "record_unreadable"): connected(subject=7)
        for name in ("connections.show", "connections.disconnect", "token.hand-out")
    },
    ("connections.confirm", "500", "record_unreadable"): came_back(subject=7),
    ("connections.confirm", "404", "connection_not_found"): lambda broker: broker.values.update(
        connection_id="0" * 32, confirmation="c" * 43
    ),
}
RENEWALS: dict[tuple[str, str], Callable[[Deployed], object]] = {
    ("409", "already_connected"): linked_again,
    ("500", "record_unreadable"): connected(subject=7),
}
FAULTS = {
    ("500", "server_error"): RuntimeError("of AWS's own client"),
    ("503", "temporarily_unavailable"): ClientError(
        {"Error": {"Code": "ThrottlingException"}}, "x"
    ),
}
OTHERS = {
    ("GET /callback", "400", "invalid_issuer"),
    (route("connections.confirm"), "400", "invalid_request"),
    *(
        (route(name), "400", "invalid_request")
        for name in ("connections.show", "connections.disconnect")
    ),
}


def test_every_answer_that_is_declared_is_a_case_here_and_no_other() -> None:
    shown = {(route(name), str(status), "") for name, status in GOOD.items()}
    shown |= {(route(name), str(status), code) for name, (status, code) in BAD.items()}
    shown |= {(route(name), status, code) for name, status, code in SCENES}
    shown |= {(route("authorize.begin"), status, code) for status, code in RENEWALS}
    shown |= {(route(name), status, code) for name in PREPARED_BY_EVENT for status, code in FAULTS}
    shown |= OTHERS
    assert described.cases() == shown


@pytest.mark.parametrize("case", SCENES, ids=" ".join)
def test_a_scene_is_answered_as_declared(broker: Deployed, case: tuple[str, str, str]) -> None:
    name, *expected = case
    SCENES[case](broker)
    assert answered(broker, name) == (route(name), *expected)


@pytest.mark.parametrize("case", RENEWALS)
def test_a_renewal_of_what_cannot_be_renewed_is_answered_as_declared(
    broker: Deployed, case: tuple[str, str]
) -> None:
    RENEWALS[case](broker)
    body = json.loads(asked("authorize.begin", {})["body"])
    body["connection_id"] = broker.values["connection_id"]
    assert answered(broker, "authorize.begin", body=json.dumps(body))[1:] == case


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", PREPARED_BY_EVENT)
def test_a_fault_of_aws_is_answered_as_declared(
    broker: Deployed, monkeypatch: pytest.MonkeyPatch, name: str, fault: tuple[str, str]
) -> None:
    PREPARED_BY_EVENT[name](broker)

    def fail(*_: Any, **__: Any) -> None:
        raise FAULTS[fault]

    monkeypatch.setattr(BaseClient, "_make_api_call", fail)
    assert answered(broker, name) == (route(name), *fault)


def test_a_redirect_of_another_provider_is_answered_as_declared(broker: Deployed) -> None:
    broker.consent()
    query = asked("callback.success", broker.values)["multiValueQueryStringParameters"]
    query["iss"] = ["https://other.example"]
    told = answered(broker, "callback.success", multiValueQueryStringParameters=query)
    assert told in OTHERS


@pytest.mark.parametrize("name", ["connections.show", "connections.disconnect"])
def test_a_subject_given_twice_is_answered_as_declared(broker: Deployed, name: str) -> None:
    broker.connect()
    twice = {"subject": ["ada", "ada"]}
    assert answered(broker, name, multiValueQueryStringParameters=twice) in OTHERS


def test_a_body_that_is_no_object_is_answered_as_declared(broker: Deployed) -> None:
    assert answered(broker, "connections.confirm", body="[]") in OTHERS


def test_every_member_that_is_declared_is_shown(broker: Deployed) -> None:
    """Of a connection linked again, as it lives, degraded and ended."""
    shown: set[str] = set()
    linked_again(broker)
    shown |= json.loads(broker.handle("connections.show")["body"]).keys()
    (active,) = [row for row in broker.rows()[0] if row.get("status") == {"S": "ACTIVE"}]
    broker.values["connection_id"] = active["id"]["S"]
    held = int(active["generation"]["N"])
    for attributes in (
        {"suspect": SUSPECT | {"generation": held}},
        {"status": "REAUTH_REQUIRED", "reason": "grant_dead"},
    ):
        _change(broker, f"{broker.prefix}-connections", active["id"], attributes)
        shown |= json.loads(broker.handle("connections.show")["body"]).keys()
    schemas = described.DESCRIPTION["components"]["schemas"]
    assert shown == schemas["Connection"]["properties"].keys()
