"""A Lambda function that reads accounts each night; its layer holds akoya-token-broker-client.

Its role needs the stack's BearerPolicyArn; its environment, BROKER_URL (the stack's API) and
DATA_URL (Akoya's, as https://products.ddp.akoya.com). The event says whom to read: {"connections":
[{"id": …, "subject": …, "connector": …, "last_seen": "2026-11-24T16:25:00+00:00"}]}
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from akoya_token_broker_client import Broker, ReauthorizationRequired, Unavailable

broker = Broker(os.environ["BROKER_URL"], patience=20)


def lambda_handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return the accounts, which connections need a new consent, and which to try again."""
    accounts: dict[str, Any] = {}
    renew: list[str] = []
    later: list[str] = []
    for one in event["connections"]:
        last_seen = datetime.fromisoformat(one["last_seen"])
        auth = broker.auth(
            one["id"],
            subject=one["subject"],
            interaction_type="BATCH",
            last_access=last_seen,
            next_use=datetime.now(UTC) + timedelta(days=1),  # so that no refresh is waited for then
        )
        url = f"{os.environ['DATA_URL']}/accounts-info/v3/{one['connector']}"
        try:
            answer = requests.get(url, auth=auth, timeout=30)
            answer.raise_for_status()
            accounts[one["id"]] = answer.json()["accounts"]
        except ReauthorizationRequired:
            renew.append(one["id"])
        except (Unavailable, requests.RequestException):
            later.append(one["id"])
    return {"accounts": accounts, "renew": renew, "later": later}
