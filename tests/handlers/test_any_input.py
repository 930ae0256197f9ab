"""Whatever a caller or a browser sends is a clear 4xx: never our fault, never a reason to wake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.handlers.deployed import EVENTS, Context, Deployed, deployed
from tests.tables import Aws
from token_broker.runtime import observability
from token_broker.runtime.observability import ALARMS


@pytest.fixture(scope="module")
def functions(aws: Aws) -> Iterator[Deployed]:
    """One stack for all examples: what is refused leaves nothing behind."""
    with (
        pytest.MonkeyPatch.context() as patch,
        deployed(aws, "anyinput", patch) as made,
    ):
        made.connect()
        yield made


@pytest.fixture(scope="module")
def alarms() -> Iterator[list[str]]:
    """What was counted that wakes somebody."""
    heard: list[str] = []

    def add_metric(name: str, **_: Any) -> None:
        if name in ALARMS:
            heard.append(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observability.metrics, "add_metric", add_metric)
        yield heard


def ask(broker: Deployed, name: str, **changes: Any) -> int:
    """Send an event with some of it changed; return the status it is answered with."""
    text = (EVENTS / f"{name}.json").read_text()
    for placeholder, value in broker.values.items():
        text = text.replace(f"{{{{{placeholder}}}}}", value)
    event = json.loads(text) | changes
    answer = broker.functions[name.partition(".")[0]].lambda_handler(event, Context())
    json.dumps(answer)
    status: int = answer["statusCode"]
    return status


ODD_TEXTS = (
    "",
    "identity",
    "login#" + "0" * 64,
    "x" * 3_000,
    "\u00e9" * 2_000,
    "\ud800",
    "a\x00b",
    "0" * 31,
    "0" * 33,
    "\uff11" * 32,
)
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(st.characters(), max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.just(10**400) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
GOOD = {
    "authorize.begin": {
        "subject": "ada",
        "connector": "mikomo",
        "return_to": "https://app.example/return",
    },
    "connections.confirm": {"subject": "ada", "confirmation": "c" * 43},
    "token.hand-out": {},
}
MEMBERS = (
    "subject",
    "connector",
    "return_to",
    "connection_id",
    "confirmation",
    "min_validity",
    "rejected",
    "next_use",
)
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_an_impossible_connection_to_renew_is_not_found_or_refused(
    functions: Deployed, alarms: list[str], text: str
) -> None:
    body = GOOD["authorize.begin"] | {"connection_id": text}
    assert ask(functions, "authorize.begin", body=json.dumps(body)) in {400, 404}
    assert alarms == []


@pytest.mark.parametrize(
    "body",
    [
        '{"subject": "ada", "subject": "eve", "confirmation": "c"}',
        '{"subject": "ada", "confirmation": NaN}',
        '{"subject": "ada", "confirmation": "\\ud800"}',
        '{"subject": "ada", "confirmation": 1e999}',
        "[" * 8_000,
        '{"subject":' * 700 + "1" + "}" * 700,
        "\ud800",
        "nul",
        '"text"',
    ],
)
def test_a_body_that_is_no_object_of_plain_members_is_refused(
    functions: Deployed, alarms: list[str], body: str
) -> None:
    for name in GOOD:
        assert ask(functions, name, body=body) == 400
    assert alarms == []


@pytest.mark.parametrize("number", [10**12 + 1, 10**38, 10**400, -(10**400)])
@pytest.mark.parametrize("member", ["min_validity", "rejected", "next_use"])
def test_a_number_beyond_any_use_is_refused(
    functions: Deployed, alarms: list[str], member: str, number: int
) -> None:
    assert ask(functions, "token.hand-out", body=f'{{"{member}": {number}}}') == 400
    assert alarms == []


@FEW
@given(
    name=st.sampled_from(sorted(GOOD)),
    changes=st.dictionaries(st.sampled_from(MEMBERS) | TEXTS, VALUES, max_size=3),
)
def test_any_body_is_answered_without_an_alarm(
    functions: Deployed, alarms: list[str], name: str, changes: dict[str, Any]
) -> None:
    status = ask(functions, name, body=json.dumps(GOOD[name] | changes))

    assert status < 500
    assert alarms == []


@FEW
@given(name=st.sampled_from(sorted(GOOD)), body=TEXTS)
def test_any_text_for_a_body_is_answered_without_an_alarm(
    functions: Deployed, alarms: list[str], name: str, body: str
) -> None:
    assert ask(functions, name, body=body) < 500
    assert alarms == []


@FEW
@given(
    name=st.sampled_from(["connections.show", "connections.disconnect", "token.hand-out"]),
    text=TEXTS,
)
def test_any_id_in_the_path_is_not_found(
    functions: Deployed, alarms: list[str], name: str, text: str
) -> None:
    assert ask(functions, name, pathParameters={"id": text}) == 404
    assert alarms == []


@FEW
@given(text=TEXTS)
def test_any_ticket_is_answered_without_an_alarm(
    functions: Deployed, alarms: list[str], text: str
) -> None:
    assert ask(functions, "authorize.start", pathParameters={"ticket": text}) == 404
    assert alarms == []


@FEW
@given(text=TEXTS)
def test_any_subject_is_listed_or_refused(
    functions: Deployed, alarms: list[str], text: str
) -> None:
    query = {"subject": [text]}
    assert ask(functions, "connections.list", multiValueQueryStringParameters=query) in {200, 400}
    assert alarms == []


@FEW
@given(
    query=st.dictionaries(
        st.sampled_from(["state", "code", "error", "iss", "scope"]) | TEXTS,
        st.lists(TEXTS, min_size=1, max_size=2),
        max_size=4,
    ),
    cookies=st.lists(TEXTS, max_size=3),
)
def test_any_redirect_is_answered_without_an_alarm(
    functions: Deployed, alarms: list[str], query: dict[str, list[str]], cookies: list[str]
) -> None:
    status = ask(
        functions,
        "callback.success",
        multiValueQueryStringParameters=query,
        multiValueHeaders={"Cookie": cookies},
    )
    assert status == 400
    assert alarms == []


@FEW
@given(code=TEXTS, cookie=TEXTS, has_cookie=st.booleans())
def test_any_code_and_cookie_that_come_with_a_true_state_are_answered_without_an_alarm(
    functions: Deployed, alarms: list[str], code: str, cookie: str, *, has_cookie: bool
) -> None:
    functions.aws.dynamodb.delete_item(
        TableName=f"{functions.prefix}-authorizations", Key=_attempts_of_ada()
    )
    functions.begin()
    functions.open()
    true = functions.values["cookie"]
    name, _, _ = true.partition("=")
    status = ask(
        functions,
        "callback.success",
        multiValueQueryStringParameters={"state": [functions.values["state"]], "code": [code]},
        multiValueHeaders={"Cookie": [true if has_cookie else f"{name}={cookie}"]},
    )
    assert status in {303, 400}
    assert alarms == []


def _attempts_of_ada() -> dict[str, Any]:
    from token_broker.domain.authorization import subject_hash  # noqa: PLC0415

    return {"id": {"S": f"subject#{subject_hash('ada')}"}}
