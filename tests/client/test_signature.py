"""Calls are signed for execute-api with the credentials of the default chain."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.credentials import Credentials

from akoya_token_broker_client import Broker, NotAllowed, RequestInvalid
from akoya_token_broker_client.calls import Signature
from tests.client.conftest import ID, BrokerServer
from tests.client.server import Answer


def scope(api: BrokerServer) -> str:
    """Return key, day, region and service that a call was signed for."""
    header = api.asked[-1].headers["Authorization"]
    return header.partition("Credential=")[2].partition(",")[0]


def test_a_call_is_signed_with_what_the_environment_holds(
    broker: Broker, api: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-a-role")
    broker.hand_out(ID)

    assert scope(api).startswith("testing/")
    assert scope(api).endswith("/us-east-1/execute-api/aws4_request")
    assert api.asked[0].headers["X-Amz-Security-Token"] == "of-a-role"


def test_a_netrc_takes_no_signature_away(
    broker: Broker, api: BrokerServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password open\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    broker.hand_out(ID)

    assert api.asked[0].headers["Authorization"].startswith("AWS4-HMAC-SHA256")


@pytest.mark.parametrize(
    ("url", "named", "region"),
    [
        ("https://abc123.execute-api.eu-west-1.amazonaws.com/v1", None, "eu-west-1"),
        ("https://broker.example/v1", "eu-central-1", "eu-central-1"),
        ("https://broker.example/v1", None, "us-east-1"),  # AWS_DEFAULT_REGION
    ],
)
def test_the_region_is_the_named_one_else_the_addresses_else_the_configured_one(
    url: str, named: str | None, region: str
) -> None:
    assert Signature(url, named, None)._found()[1] == region


def test_who_has_no_credentials_or_region_is_told_so(
    api: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")

    with pytest.raises(NotAllowed, match="no AWS credentials"):
        Broker(api.url, region="us-east-1").hand_out(ID)
    with pytest.raises(RequestInvalid, match="region="):
        Broker(api.url, credentials=Credentials("key", "secret")).hand_out(ID)
    monkeypatch.setenv("AWS_PROFILE", "unknown")
    with pytest.raises(NotAllowed, match="unknown"):
        Broker(api.url, region="us-east-1").hand_out(ID)
    assert api.asked == []


def test_a_subject_with_a_space_is_sent_as_it_is_signed(broker: Broker, api: BrokerServer) -> None:
    api.answers(Answer(200, {"connections": []}))

    assert broker.connections_of("ada & grace") == []
    assert api.asked[0].path == "/connections?subject=ada%20%26%20grace"


def test_a_list_is_read_page_by_page(broker: Broker, api: BrokerServer) -> None:
    shown = {"subject": "ada", "connector": "mikomo", "status": "ACTIVE", "health": "ok"}
    one, other = ({**shown, "connection_id": name, "generation": 1} for name in "ab")
    pages = {"connections": [one], "next": "20-a"}, {"connections": [other]}
    api.answers(*(Answer(200, page) for page in pages))

    assert [found.connection_id for found in broker.connections_of("ada")] == ["a", "b"]
    assert [asked.path for asked in api.asked] == [
        "/connections?subject=ada",
        "/connections?subject=ada&cursor=20-a",
    ]


def test_a_broker_is_called_at_encrypted_addresses_only() -> None:
    with pytest.raises(RequestInvalid, match="https"):
        Broker("http://abc123.execute-api.eu-west-1.amazonaws.com/v1")
