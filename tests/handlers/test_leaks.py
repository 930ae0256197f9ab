"""No secret, code, state or token of a whole life appears anywhere but where it belongs."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest

from local.akoya_sandbox.answer import Answer
from tests.handlers.deployed import EVENTS, Deployed
from tests.wiring import CLIENT_SECRET
from token_broker.runtime import observability

# Where a value is meant to be: in these parts of these answers, and nowhere else.
MEANT = {
    "authorize.begin": ("body",),  # the start link
    "authorize.start": ("headers", "multiValueHeaders"),  # to Akoya, with the browser's cookie
    "token.hand-out": ("body",),  # the bearer
    "token.rejected": ("body",),
    "token.min-validity": ("body",),
}


class Watch:
    """Collects what was issued and what came out."""

    def __init__(self, broker: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
        self.secrets: set[str] = {CLIENT_SECRET}
        self.out: list[str] = []
        self.log = io.StringIO()
        for handler in observability.logger.handlers:  # it took stdout when it was made
            monkeypatch.setattr(handler, "stream", self.log)
        self._broker = broker
        handle = broker.handle

        def watched(name: str) -> dict[str, Any]:
            answer = handle(name)
            meant = MEANT.get(name, ())
            said = json.dumps({k: v for k, v in answer.items() if k not in meant})
            if name.startswith("callback."):  # the finishing browser is told its confirmation
                said = re.sub(r"confirmation=[\w-]{43}", "", said, count=1)
            self.out.append(said)
            return answer

        monkeypatch.setattr(broker, "handle", watched)
        issue = broker.provider.token

        def issued(**request: Any) -> Answer:
            answer = issue(**request)
            with contextlib.suppress(ValueError, AttributeError):
                self.secrets |= {
                    value
                    for name, value in answer.json().items()
                    if name in {"id_token", "refresh_token"}
                }
            return answer

        monkeypatch.setattr(broker.provider, "token", issued)

    def finish(self, printed: str) -> tuple[set[str], str]:
        """Return every secret there was and everything that came out."""
        for request in self._broker.http.sent:
            form = dict(parse_qsl(str(request.body or "")))
            self.secrets |= {
                value
                for name, value in form.items()
                if name in {"code", "refresh_token", "token", "client_secret", "code_verifier"}
            }
            if basic := request.headers.get("Authorization"):
                self.secrets.add(str(basic))
        values = self._broker.values
        self.secrets |= {
            values[name] for name in ("ticket", "state", "code", "confirmation") if name in values
        }
        self.secrets.add(values["cookie"].partition("=")[2])
        return self.secrets, "\n".join([*self.out, self.log.getvalue(), printed])


@pytest.fixture
def watch(broker: Deployed, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(broker, monkeypatch)


def refused(_: Any) -> None:
    raise ValueError("an unexpected text with rt-should-not-be-seen in it")


TROUBLES: dict[str, Callable[[Deployed], object]] = {
    "nothing": lambda _: None,
    "dead grant": lambda b: b.provider.expire("refresh_token"),
    "secret changed": lambda b: b.provider.change_client_secret("another-secret-value"),
    "garbled": lambda b: b.provider.arm({"fault": "empty", "times": 9}),
    "lost answers": lambda b: b.provider.arm({"fault": "lost_after_commit", "times": 9}),
    "unexpected": lambda b: setattr(b.http, "before", refused),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_nothing_secret_comes_out_of_a_whole_life(
    broker: Deployed, watch: Watch, trouble: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.connect()
    bearer = json.loads(broker.handle("token.hand-out")["body"])["id_token"]
    for name in sorted(path.stem for path in EVENTS.glob("*.json")):
        if name.startswith(("callback.", "connections.confirm", "connections.show")):
            broker.handle(name)
    TROUBLES[trouble](broker)
    for name in ("token.rejected", "token.hand-out", "token.rejected-never-was"):
        broker.handle(name)
    broker.handle("connections.disconnect")
    broker.handle("refresh.schedule")
    broker.handle("connections.list")

    printed = capsys.readouterr()
    secrets, out = watch.finish(printed.out + printed.err)

    assert bearer.count(".") == 2
    assert len(secrets) >= 9
    assert [len(secret) for secret in secrets | {bearer} if secret in out] == []
    assert "rt-should-not-be-seen" not in out
    assert '"message":"token_handed_out"' in out  # the log was captured at all
    assert "CloudWatchMetrics" in out
