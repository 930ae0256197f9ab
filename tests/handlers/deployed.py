"""The five functions as Lambda loads them, on in-memory AWS, the sandbox behind the network."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from local.akoya_sandbox.id_tokens import shared_signing_key
from local.akoya_sandbox.provider import AkoyaProvider
from local.akoya_sandbox.registration import Registration
from tests import described
from tests.loopback import Loopback
from tests.tables import Aws, create_storage
from tests.wiring import CLIENT_ID, CLIENT_SECRET, IDP

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events"
NEWEST = f"{10**11}-{'f' * 32}"  # a cursor behind which everything is
BASE_URL = "https://abc123.execute-api.us-east-1.amazonaws.com/v1"


class Context:
    """What Lambda tells a handler of its invocation."""

    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
    function_name = "function"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:function"

    def get_remaining_time_in_millis(self) -> int:
        return 105_000


@dataclass
class Deployed:
    """The functions, and what a test fills into their events."""

    aws: Aws
    prefix: str
    provider: AkoyaProvider
    http: Loopback
    functions: dict[str, ModuleType]
    values: dict[str, str] = field(default_factory=lambda: {"cursor": NEWEST})

    def handle(self, name: str) -> dict[str, Any]:
        """Feed an event file, its placeholders filled, to the function it is named after."""
        text = (EVENTS / f"{name}.json").read_text()
        for placeholder, value in self.values.items():
            text = text.replace(f"{{{{{placeholder}}}}}", value)
        handler = self.functions[name.partition(".")[0]].lambda_handler
        answer: dict[str, Any] = handler(json.loads(text), Context())
        return answer

    def begin(self) -> dict[str, Any]:
        begun: dict[str, Any] = json.loads(self.handle("authorize.begin")["body"])
        self.values["ticket"] = begun["start_url"].rpartition("/")[2]
        self.values["begun_id"] = begun["connection_id"]
        return begun

    def open(self) -> str:
        """Open the start link; return the address at Akoya."""
        started = self.handle("authorize.start")
        cookie = started["multiValueHeaders"]["Set-Cookie"][0]
        location: str = started["headers"]["Location"]
        self.values["cookie"] = cookie.partition(";")[0]
        self.values["state"] = parse_qs(urlsplit(location).query)["state"][0]
        return location

    def consent(self, user: str = "mikomo_1") -> None:
        """Go the person's way to the redirect back."""
        self.begin()
        pending = self.provider.begin(urlsplit(self.open()).query)
        assert self.provider.sign_in(pending.id, user, user)
        login = self.provider.pending(pending.id).login
        assert login is not None
        back = self.provider.allow(pending.id, [one.account_id for one in login.accounts])
        self.values["code"] = parse_qs(urlsplit(back).query)["code"][0]

    def come_back(self) -> dict[str, list[str]]:
        self.consent()
        went = parse_qs(urlsplit(self.handle("callback.success")["headers"]["Location"]).query)
        self.values["tomorrow"] = str(int(time.time()) + 86_400)
        self.values["connection_id"] = went["connection_id"][0]
        self.values["confirmation"] = went["confirmation"][0]
        return went

    def connect(self) -> str:
        self.come_back()
        assert self.handle("connections.confirm")["statusCode"] == 200
        return self.values["connection_id"]

    def rows(self) -> list[Any]:
        """Return everything the tables hold."""
        tables = ("connections", "authorizations", "control")
        return [
            self.aws.dynamodb.scan(TableName=f"{self.prefix}-{table}")["Items"] for table in tables
        ]


def environment(aws: Aws, prefix: str) -> dict[str, str]:
    return {
        "ENVIRONMENT": "sandbox",
        "CLIENT_ID": CLIENT_ID,
        "IDENTITY_PROVIDER_URL": IDP,
        "IDENTITY_PROVIDER_ALLOWED_HOSTS": "",
        "ID_TOKEN_VERIFICATION": "strict",
        "SEND_PKCE": "true",
        "CODE_BINDING": "nonce",
        "PUBLIC_BASE_URL": "",
        "RETURN_TO_ALLOW_LIST": "https://app.example/return",
        "SCOPES": "openid profile offline_access",
        "REQUIRE_SUBJECT": "false",
        "REFRESH_MARGIN_SECONDS": "3600",
        "KEEP_ALIVE_DAYS": "7",
        "END_AFTER_HOURS": "26",
        "QUARANTINE_DAYS": "7",
        "TOMBSTONE_DAYS": "365",
        "RATE_LIMIT_PER_SECOND": "100",
        "REFRESH_THREADS": "16",
        "AUTHORIZATIONS_TABLE_NAME": f"{prefix}-authorizations",
        "CONNECTIONS_TABLE_NAME": f"{prefix}-connections",
        "CONTROL_TABLE_NAME": f"{prefix}-control",
        "TOKEN_KEY_ARN": aws.key_arn,
        "ESCROW_BUCKET_NAME": f"{prefix}-escrow",
        "CLIENT_SECRET_ID": f"{prefix}-client-secret",
    }


@contextmanager
def deployed(aws: Aws, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """Load the functions with the environment the template gives them."""
    create_storage(aws, prefix, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    provider = AkoyaProvider(
        issuer=f"{IDP}/",
        registration=Registration(CLIENT_ID, CLIENT_SECRET, (f"{BASE_URL}/callback",)),
        signing_key=shared_signing_key("ES256"),
    )
    http = Loopback(provider)
    monkeypatch.setattr(
        requests.adapters.HTTPAdapter, "send", lambda _, request, **__: http.send(request)
    )
    describe_table = _with_table_id()
    for name, value in environment(aws, prefix).items():
        monkeypatch.setenv(name, value)
    functions = {}
    for folder in sorted((ROOT / "functions").iterdir()):
        module_name = f"deployed_{folder.name}"
        spec = importlib.util.spec_from_file_location(module_name, folder / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        describe_table(module)
        module.lambda_handler = described.checked(module.lambda_handler)  # type: ignore[attr-defined]
        functions[folder.name] = module
    yield Deployed(aws=aws, prefix=prefix, provider=provider, http=http, functions=functions)
    for name in [name for name in sys.modules if name.startswith("deployed_")]:
        del sys.modules[name]


def _with_table_id() -> Any:
    """Return how to give a function's table the id that in-memory AWS forgets."""

    def give(module: ModuleType) -> None:
        connections = getattr(getattr(module, "broker", None), "connections", None)
        if connections is not None:
            client = connections._rows._client
            client.meta.events.register(
                "after-call.dynamodb.DescribeTable",
                lambda parsed, **_: parsed["Table"].setdefault("TableId", "table-1"),
            )

    return give
