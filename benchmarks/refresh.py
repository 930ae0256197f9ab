"""A whole refresh for a caller: ours with all its calls to AWS, and two loops without a broker."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from typing import Any

import boto3
import requests
from requests_oauthlib import OAuth2Session

from benchmarks.acts import CONNECTIONS, Act, function, rotation
from benchmarks.ratios import Ratios
from benchmarks.stack import measured, stack


def ours() -> Act:
    """Ask the function for a bearer that is over, at the connection's turn."""
    ask, connection_id = function()
    table = boto3.resource("dynamodb").Table(CONNECTIONS)

    def let_it_end() -> None:
        now = int(time.time())
        table.update_item(
            Key={"id": connection_id},
            UpdateExpression="SET expires_at = :now, issued_at = :now, due_at = :now",
            ExpressionAttributeValues={":now": now},
        )

    return Act(ask, let_it_end)


def bare() -> Act:
    """POST, and keep nothing."""
    return Act(rotation)


def library() -> Act:
    """Refresh with requests-oauthlib, its session kept, then put what came."""
    session = OAuth2Session(os.environ["CLIENT_ID"], token={"refresh_token": "r"})
    session.verify = os.environ["TRUST_STORE"]
    session.register_compliance_hook("refresh_token_response", _with_access_token)
    table = boto3.resource("dynamodb").Table(CONNECTIONS)
    token_url = f"{os.environ['IDENTITY_PROVIDER_URL']}/token"
    secret = {"client_id": os.environ["CLIENT_ID"], "client_secret": "s"}

    def refresh() -> None:
        came = session.refresh_token(token_url, refresh_token="r", timeout=30, **secret)
        kept = {name: came[name] for name in ("refresh_token", "id_token")}
        table.put_item(Item={"id": "library", **kept})

    return Act(refresh)


def _with_access_token(response: requests.Response) -> requests.Response:
    """Give the library what it insists on; Akoya issues none."""
    content: dict[str, Any] = response.json()
    named = json.dumps(content | {"access_token": "-"}).encode()
    response._content = named  # noqa: SLF001 - its documents do the same
    return response


SIDES = {"ours": ours, "bare": bare, "library": library}


def ratios(turns: int) -> Ratios:
    """Return the CPU of a whole refresh against the two loops'."""
    found: Ratios = defaultdict(list)
    what = "a whole refresh by a caller, CPU"
    with stack() as environment:
        for _ in range(turns):
            cpu = {side: measured(__name__, side, environment) for side in SIDES}
            found[what, "`requests.post`"].append(cpu["ours"] / cpu["bare"])
            found[what, "`requests-oauthlib`, `put_item`"].append(cpu["ours"] / cpu["library"])
    return found
