"""Each refusal of the broker is an error of its own, by what the caller does next."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

import akoya_token_broker_client as client
from akoya_token_broker_client import Broker, BrokerError, errors
from tests.client.conftest import ID, BrokerServer
from tests.client.server import Answer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OWN = (ROOT / "clients" / "python" / "README.md").read_text()
EXPECTED = {
    "invalid_request": client.RequestInvalid,
    "invalid_confirmation": client.ConfirmationInvalid,
    "connection_not_found": client.ConnectionNotFound,
    "not_confirmed": client.NotConfirmed,
    "already_connected": client.AlreadyConnected,
    "reauthorization_required": client.ReauthorizationRequired,
    "stale_generation": client.Unavailable,
    "gone": client.Disconnected,
    "too_many_attempts": client.TooManyAttempts,
    "too_many_requests": client.Unavailable,
    "record_unreadable": client.RecordUnreadable,
    "server_error": client.BrokerFailed,
    "consent_suspect": client.ConsentSuspect,
    "data_access_refused": client.DataAccessRefused,
    "temporarily_unavailable": client.Unavailable,
    "refresh_in_progress": client.Unavailable,
    "exchange_in_progress": client.Unavailable,
}


def table() -> list[tuple[int, str]]:
    """Return status and code of each line of README's table of errors."""
    rows = re.findall(r"^\| (\d{3}) \| (`[^|]+) \|", README, re.MULTILINE)
    return [(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)]


def kinds() -> set[type[BrokerError]]:
    return {
        one
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, BrokerError)
    }


def refused(broker: Broker) -> BrokerError:
    with pytest.raises(BrokerError) as told:
        broker.hand_out(ID)
    return told.value


@pytest.mark.parametrize(("status", "code"), table())
def test_every_error_the_broker_documents_is_one_of_the_clients(
    broker: Broker, api: BrokerServer, status: int, code: str
) -> None:
    api.answers(Answer(status, {"error": code, "error_description": "What to do."}))

    told = refused(broker)

    assert type(told) is EXPECTED[code]
    assert (told.error, told.status, told.connection_id) == (code, status, ID)
    assert told.description == "What to do."


def test_who_uses_a_connection_that_gave_way_is_told_which_one_to_use(
    broker: Broker, api: BrokerServer
) -> None:
    api.answers(Answer(409, {"error": "already_connected", "connection_id": "0" * 32}))

    assert refused(broker).connection_id == "0" * 32


def test_the_table_that_is_tested_is_the_whole_table() -> None:
    assert {code for _, code in table()} == EXPECTED.keys()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        # API Gateway's own, before the broker: IAM has refused the caller.
        (Answer(403, {"error": "invalid_request", "error_description": "…"}), client.NotAllowed),
        (Answer(403, {"message": "Missing Authentication Token"}), client.NotAllowed),
        (Answer(400, {"error": "new_code"}), client.RequestInvalid),
        (Answer(503, {"error": "new_code"}), client.Unavailable),
        (Answer(502, "<html>Bad gateway</html>"), client.Unavailable),
        (Answer(404, "<html>Not found</html>"), client.BrokerFailed),
        (Answer(500, ["?"]), client.BrokerFailed),
        (Answer(200, "<html>Sign in</html>"), client.BrokerFailed),
        (Answer(200, {"generation": 1}), client.BrokerFailed),
        (Answer(302, headers={"Location": "/elsewhere"}), client.BrokerFailed),
    ],
    ids=str,
)
def test_an_answer_nobody_reckoned_with_is_an_error_of_the_family(
    broker: Broker, api: BrokerServer, answer: Answer, kind: type[BrokerError]
) -> None:
    api.answers(answer)

    told = refused(broker)

    assert type(told) is kind
    assert len(api.asked) == 1
    assert "html" not in str(told)


def test_an_error_outlives_its_process(broker: Broker, api: BrokerServer) -> None:
    api.answers(
        Answer(
            503,
            {"error": "consent_suspect", "error_description": "Wait."},
            {"Retry-After": "60"},
        )
    )
    told = refused(broker)

    again = pickle.loads(pickle.dumps(told))  # noqa: S301 - our own

    assert (type(again), vars(again)) == (type(told), vars(told))
    assert str(again) == f"consent_suspect: Wait. Retry after 60 s. (connection {ID})"


def test_the_tree_is_drawn_whole_exported_and_explained() -> None:
    names = {one.__name__ for one in kinds()}
    assert set(re.findall(r"\b([A-Z][a-z]+[A-Za-z]*)  ", errors.__doc__ or "")) == names
    assert names <= set(client.__all__)
    assert set(re.findall(r"^\| `(\w+)`", OWN, re.MULTILINE)) == names - {"BrokerError"}
