"""Who asked for which bearer: one line a request, refused ones too, and no subject in it."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest

from tests.handlers.deployed import EVENTS, Deployed
from tests.handlers.test_events import BEFORE, nothing
from token_broker.runtime import observability
from token_broker.runtime.audit import Act, Audit

CALLER = "arn:aws:sts::123456789012:assumed-role/backend/session"
ADA, EVE = (hashlib.sha256(name.encode()).hexdigest() for name in ("ada", "eve"))


@pytest.fixture
def log(broker: Deployed, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the functions log from now on."""
    del broker  # its logger is there only once the functions are loaded
    stream = io.StringIO()
    for handler in observability.logger.handlers:
        monkeypatch.setattr(handler, "stream", stream)
    return stream


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def audit_of(broker: Deployed, log: io.StringIO, name: str) -> dict[str, Any]:
    """Handle one event; return its audit line, which is the only one."""
    BEFORE.get(name, nothing)(broker)
    log.seek(0)
    log.truncate()
    broker.handle(name)
    (found,) = (line for line in lines(log) if line.get("audit"))
    return found


AUDITED = {
    "authorize.begin": ("begin", "ok", ADA),
    "authorize.begin-return-to-unlisted": ("begin", "invalid_request", ADA),
    "authorize.begin-body-malformed": ("begin", "invalid_request", None),
    "authorize.begin-renewal-unknown": ("begin", "connection_not_found", ADA),
    "connections.confirm": ("confirm", "ok", ADA),
    "connections.confirm-subject-other": ("confirm", "invalid_confirmation", EVE),
    "connections.confirm-confirmation-wrong": ("confirm", "invalid_confirmation", ADA),
    "connections.disconnect": ("disconnect", "ok", ADA),
    "connections.disconnect-subject-other": ("disconnect", "connection_not_found", EVE),
    "token.hand-out": ("hand_out", "ok", ADA),
    "token.subject": ("hand_out", "ok", ADA),
    "token.subject-other": ("hand_out", "connection_not_found", EVE),
    "token.unknown": ("hand_out", "connection_not_found", None),
    "token.min-validity-negative": ("hand_out", "invalid_request", None),
}


@pytest.mark.parametrize(("name", "expected"), AUDITED.items())
def test_every_request_of_a_backend_leaves_one_audit_line_refused_or_not(
    broker: Deployed, log: io.StringIO, name: str, expected: tuple[str, str, str | None]
) -> None:
    line = audit_of(broker, log, name)

    event = json.loads((EVENTS / f"{name}.json").read_text())
    assert (line["act"], line["outcome"], line.get("subject_hash")) == expected
    assert line["event"] == "audit"
    assert line["caller"] == CALLER
    assert line["request_id"] == event["requestContext"]["requestId"]
    assert "ada" not in line.values()
    if "id" in (event["pathParameters"] or {}) and not name.endswith("unknown"):
        assert line["connection_id"] == broker.values["connection_id"]


@pytest.mark.parametrize(("name", "generation"), [("token.hand-out", 1), ("token.rejected", 2)])
def test_the_line_says_which_bearer_went_out(
    broker: Deployed, log: io.StringIO, name: str, generation: int
) -> None:
    assert audit_of(broker, log, name)["generation"] == generation


def test_the_line_says_which_connection_was_begun(broker: Deployed, log: io.StringIO) -> None:
    assert audit_of(broker, log, "authorize.begin")["connection_id"]


@pytest.mark.parametrize("name", ["connections.show", "connections.list", "authorize.start"])
def test_what_only_looks_leaves_no_audit_line(
    broker: Deployed, log: io.StringIO, name: str
) -> None:
    BEFORE.get(name, nothing)(broker)
    log.seek(0)
    log.truncate()
    broker.handle(name)
    assert not any(line.get("audit") for line in lines(log))


def test_a_fault_of_ours_is_audited_too(
    broker: Deployed, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.connect()

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("unexpected")

    monkeypatch.setattr(broker.functions["token"].broker.connections, "get", fail)
    monkeypatch.setitem(BEFORE, "token.hand-out", nothing)

    line = audit_of(broker, log, "token.hand-out")

    assert (line["outcome"], line["connection_id"]) == (
        "server_error",
        broker.values["connection_id"],
    )


def test_nothing_is_handed_out_without_its_audit_line(
    broker: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.connect()

    def away(self: Audit, outcome: str) -> None:
        raise OSError(outcome)

    monkeypatch.setattr(Audit, "write", away)
    with pytest.raises(OSError, match="ok"):
        broker.handle("token.hand-out")


def test_every_line_of_a_request_names_the_request_the_access_log_names(
    broker: Deployed, log: io.StringIO
) -> None:
    audit_of(broker, log, "token.rejected")
    assert {line["request_id"] for line in lines(log) if "event" in line} == {
        "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
    }


def test_an_impossible_id_is_not_copied_into_the_line(broker: Deployed, log: io.StringIO) -> None:
    event = json.loads((EVENTS / "token.hand-out.json").read_text())
    event["pathParameters"]["id"] = "login#a-forged-line"

    broker.functions["token"].lambda_handler(event, None)

    (line,) = (line for line in lines(log) if line.get("audit"))
    assert "connection_id" not in line
    assert "forged" not in log.getvalue()


def test_a_subject_that_is_no_text_does_not_cost_the_line() -> None:
    audit = Audit(act=Act.HAND_OUT, caller=None, request_id=None, subject="\ud800")
    assert len(str(audit.entry("invalid_request")["subject_hash"])) == 64
