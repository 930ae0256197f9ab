"""The deployed stack: who is let in, and what the operator's commands do to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from akoya_token_broker_client import Broker, NotAllowed, ReauthorizationRequired
from local.embedded_aws import client
from local.journey import Journey
from local.operate import operate

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/connections"),
        ("GET", "/connections?subject=ada"),
        ("GET", f"/connections/{'0' * 32}"),
        ("DELETE", f"/connections/{'0' * 32}"),
        ("POST", f"/connections/{'0' * 32}/confirm"),
        ("POST", f"/connections/{'0' * 32}/token"),
    ],
)
def test_a_backend_route_refuses_who_does_not_sign(
    stack: dict[str, Any], method: str, path: str
) -> None:
    plain = requests.request(method, stack["api_url"] + path, timeout=30)
    bearer = requests.request(
        method, stack["api_url"] + path, headers={"Authorization": "Bearer x"}, timeout=30
    )

    assert (plain.status_code, bearer.status_code) == (403, 403)


def test_a_backend_with_another_key_is_refused(stack: dict[str, Any]) -> None:
    key = json.loads(Path(stack["backend_credentials_file"]).read_text())
    wrong = Credentials(key["aws_access_key_id"], "not the secret key")

    with pytest.raises(NotAllowed):
        Broker.local(stack, credentials=wrong).connections_of("ada")


def test_the_callers_policy_opens_the_api_and_nothing_behind_it(stack: dict[str, Any]) -> None:
    key = json.loads(Path(stack["backend_credentials_file"]).read_text())
    mine = {"endpoint_url": stack["aws_endpoint_url"], "region_name": stack["region"], **key}

    Broker.local(stack).connections_of("ada")
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.client("dynamodb", **mine).get_item(
            TableName=stack["tables"]["connections"], Key={"id": {"S": "identity"}}
        )
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.client("secretsmanager", **mine).get_secret_value(SecretId=stack["client_secret_id"])


def test_what_is_over_goes_by_the_tables_own_time_to_live(stack: dict[str, Any]) -> None:
    dynamodb = client("dynamodb", urlsplit(stack["aws_endpoint_url"]).port or 0)

    found = dynamodb.describe_time_to_live(TableName=stack["tables"]["connections"])

    assert found["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "ENABLED",
        "AttributeName": "gone_at",
    }


def test_the_operator_takes_a_connection_out_and_brings_it_in_with_the_operators_policy(
    stack: dict[str, Any], journey: Journey, tmp_path: Path
) -> None:
    connection_id = journey.connects("olga", "mikomo_41")
    file = tmp_path / "tokens.jsonl"

    out = operate(stack, "export", str(file), "--subject", "olga")
    assert (out.returncode, json.loads(out.stdout)["outcome"]) == (0, "exported")
    with pytest.raises(ReauthorizationRequired):
        journey.broker.hand_out(connection_id)
    tried = operate(stack, "import", "--dry-run", str(file))
    assert json.loads(tried.stdout)["outcome"] == "would_be_imported"
    into = operate(stack, "import", "-", text=file.read_text())
    assert (into.returncode, into.stderr) == (0, "1 of 1: 1 imported\n")
    new = json.loads(into.stdout)["connection_id"]

    assert journey.broker.hand_out(new, rejected=1).generation == 2
    for said in (out, tried, into):
        for token in ("refresh_token", "id_token"):
            assert json.loads(file.read_text())[token] not in said.stdout + said.stderr


def test_the_operators_words_are_heard_and_mistakes_are_told(
    stack: dict[str, Any], journey: Journey, tmp_path: Path
) -> None:
    connection_id = journey.connects("olga", "mikomo_42")

    assert operate(stack, "adopt").returncode == 0
    living = operate(stack, "reinstate", connection_id)
    assert living.returncode == 0
    assert json.loads(living.stdout) == {"connection_id": connection_id, "outcome": "active"}
    assert operate(stack, "reinstate", connection_id, "0" * 32).returncode == 1
    missing = operate(stack, "import", str(tmp_path / "missing.jsonl"))
    assert missing.returncode == 2
    assert "missing.jsonl" in missing.stderr
    unknown = operate({**stack, "stack_name": "another"}, "adopt")
    assert unknown.returncode == 1
    assert "check --stack-name" in unknown.stderr
    assert "Traceback" not in missing.stderr + unknown.stderr + living.stderr
