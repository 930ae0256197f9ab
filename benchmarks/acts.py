"""One side of a comparison, in a process of its own: prints the CPU of one act in milliseconds.

Our side is the function `token` as Lambda calls it: its event in, its answer, audit line and
metrics out.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ACTS = 60
EVENT = Path(__file__).parents[1] / "events" / "token.hand-out.json"
CONNECTIONS = os.environ.get("CONNECTIONS_TABLE_NAME", "")


@dataclass(frozen=True)
class Act:
    """What is measured, and what has to be so before each time."""

    do: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


class Context:
    """What Lambda tells a handler of its invocation."""

    aws_request_id = "r"
    function_name = "token"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:token"

    def get_remaining_time_in_millis(self) -> int:
        """Return what a start leaves."""
        return 105_000


def rotation() -> dict[str, Any]:
    """Refresh once, without a library; return the answer."""
    answer: dict[str, Any] = requests.post(
        f"{os.environ['IDENTITY_PROVIDER_URL']}/token",
        data={"grant_type": "refresh_token", "refresh_token": "r"}
        | {"client_id": os.environ["CLIENT_ID"], "client_secret": "s"},
        timeout=(5, 30),
        verify=os.environ["TRUST_STORE"],
    ).json()
    return answer


def function() -> tuple[Callable[[], object], str]:
    """Load the function `token`; return how to ask it for a connection's bearer, and its id."""
    requests.adapters.DEFAULT_CA_BUNDLE_PATH = os.environ["TRUST_STORE"]
    app = importlib.import_module("app")  # of functions/token
    from operations import transfer  # noqa: PLC0415
    from token_broker.domain.secret_text import SecretText  # noqa: PLC0415

    came = rotation()
    held = transfer.Held(
        subject="ada",
        connector="mikomo",
        refresh_token=SecretText(came["refresh_token"]),
        id_token=SecretText(came["id_token"]),
    )
    connection_id = transfer.bring_in(app.broker, held, dry_run=False).connection_id or ""
    event = json.loads(EVENT.read_text().replace("{{connection_id}}", connection_id))

    def ask() -> None:
        answer = app.lambda_handler(event, Context())
        if answer["statusCode"] != 200:  # noqa: PLR2004
            raise SystemExit(f"no bearer: {answer}")

    return ask, connection_id


def spent(act: Act) -> float:
    """Return the CPU of an act in milliseconds, after the first few."""
    cpu = 0.0
    for number in range(-3, ACTS):
        act.prepare()
        began = time.process_time()
        act.do()
        cpu += time.process_time() - began if number >= 0 else 0
    return cpu / ACTS * 1000


if __name__ == "__main__":
    module, side = sys.argv[1:]
    print(json.dumps({"cpu": spent(importlib.import_module(module).SIDES[side]())}))
