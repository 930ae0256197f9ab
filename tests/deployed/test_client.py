"""The client, and the examples, on the deployed stack: SigV4, IAM and time as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from akoya_token_broker_client import Broker, Unavailable
from local.journey import Journey
from tests.deployed.scene import Scene
from tests.from_npm import folder_of, need, npm

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
EXPIRED = 86_400  # seconds later, every bearer held has expired
AWS4 = "aws4@1.13.2"


def test_the_client_reads_accounts_through_an_expiry_a_602_and_an_outage(
    stack: dict[str, Any], scene: Scene
) -> None:
    later = 0
    waited: list[float] = []

    def outage_ends(seconds: float) -> None:
        """Wait; what passes meanwhile is the bank's outage and the connection's back-off."""
        waited.append(seconds)
        scene.journey.behave()
        scene.journey.make_due(scene.id)

    broker = Broker.local(stack, patience=120, clock=lambda: time.time() + later, sleep=outage_ends)

    def accounts() -> requests.Response:
        auth = broker.auth(scene.id, subject=scene.subject, interaction_type="USER")
        connector = stack["identity_provider"]["connector"]
        return requests.get(
            f"{scene.journey.bank}/accounts-info/v3/{connector}", auth=auth, timeout=30
        )

    def generation() -> int:
        return broker.show(scene.id, subject=scene.subject).generation

    scene.connects("gen1")  # its bearer has expired since
    first = accounts()
    assert (first.status_code, first.history) == (200, [])
    assert first.json()["accounts"]
    assert generation() == 2

    later = EXPIRED
    scene.journey.make_due(scene.id, stale=True)
    expired = accounts()
    assert (expired.status_code, expired.history) == (200, [])
    assert generation() == 3

    later = 0
    end_bearers(scene)
    refused = accounts()
    assert (refused.status_code, [one.status_code for one in refused.history]) == (200, [401])
    assert generation() == 4

    end_bearers(scene)
    scene.journey.misbehave(fault="error_before_commit", status=503)
    with pytest.raises(Unavailable) as away:
        Broker.local(stack, patience=0).hand_out(scene.id, rejected=4)
    assert away.value.retry_after
    back = accounts()
    assert (back.status_code, [one.status_code for one in back.history]) == (200, [401])
    assert len(waited) == 1
    assert generation() == 5


def end_bearers(scene: Scene) -> None:
    """Let the bank refuse every bearer that was issued so far."""
    requests.post(
        f"{scene.journey.bank}/admin/expire", json={"what": "id_tokens"}, timeout=10
    ).raise_for_status()


# ── examples ─────────────────────────────────────────────────────────────────────────────────────


def run(stack: dict[str, Any], *command: str, cwd: Path = ROOT) -> Any:
    """Run an example as its user does, and return the JSON it prints."""
    key = json.loads(Path(stack["backend_credentials_file"]).read_text())
    done = subprocess.run(
        command,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": "clients/python/src:examples",
            "BROKER_URL": stack["api_url"],
            "DATA_URL": stack["identity_provider"]["url"],
            "AWS_REGION": stack["region"],
            "AWS_DEFAULT_REGION": stack["region"],
            "AWS_ACCESS_KEY_ID": key["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["aws_secret_access_key"],
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_nightly_function_reads_whom_it_can_and_says_whom_to_ask(
    stack: dict[str, Any], journey: Journey
) -> None:
    read, ended = journey.connects("nora", "mikomo_51"), journey.connects("nils", "mikomo_52")
    journey.connects("nina", "mikomo_52")  # the same login: what nils had is superseded
    seen = {"connector": "mikomo", "last_seen": "2026-11-24T16:25:00+00:00"}
    event = {
        "connections": [
            {"id": read, "subject": "nora", **seen},
            {"id": ended, "subject": "nils", **seen},
        ]
    }

    told = run(
        stack,
        sys.executable,
        "-c",
        "import json, sys, nightly_lambda as nightly;"
        "print(json.dumps(nightly.lambda_handler(json.loads(sys.argv[1]), None)))",
        json.dumps(event),
    )

    assert told["accounts"][read]
    assert (told["renew"], told["later"]) == ([ended], [])


def test_the_shells_example_reads_accounts(stack: dict[str, Any], journey: Journey) -> None:
    need("bash", "curl", "jq")
    connection_id = journey.connects("cara", "mikomo_53")

    assert run(stack, str(EXAMPLES / "accounts.sh"), connection_id, "cara")["accounts"]


@pytest.mark.optional
def test_nodes_example_reads_accounts_and_has_a_refused_bearer_exchanged(
    stack: dict[str, Any], journey: Journey
) -> None:
    need("node", "npm")
    folder = folder_of("example-node")
    install = ("install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund")
    npm(*install, "--prefix", str(folder), AWS4, folder=folder)
    example = folder / "accounts.mjs"  # beside its package, where node looks for it
    example.write_text((EXAMPLES / "accounts.mjs").read_text())
    connection_id = journey.connects("nell", "mikomo_54")

    assert run(stack, "node", str(example), connection_id, "nell", cwd=folder)["accounts"]
    requests.post(f"{journey.bank}/admin/expire", json={"what": "id_tokens"}, timeout=10)
    assert run(stack, "node", str(example), connection_id, "nell", cwd=folder)["accounts"]
    assert journey.broker.show(connection_id).generation == 2
