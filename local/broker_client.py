"""How a fintech's backend calls the broker: plain HTTP, each request signed for execute-api."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TIMEOUT = 35  # the API itself gives up after 29 s


@dataclass(frozen=True, slots=True)
class Answer:
    """What the broker answered: the status, the JSON, and after how many seconds to ask again."""

    status: int
    content: dict[str, Any]
    retry_after: int | None = None


class BrokerClient:
    """The broker's API as one backend sees it."""

    def __init__(self, api_url: str, region: str, credentials: Credentials) -> None:
        self._api_url = api_url.rstrip("/")
        self._signer = SigV4Auth(credentials, "execute-api", region)

    @classmethod
    def of_stack(cls, stack: Mapping[str, Any]) -> BrokerClient:
        """Return the client of a local stack, with the rights of its callers' policies."""
        key = json.loads(Path(stack["backend_credentials_file"]).read_text())
        credentials = Credentials(key["aws_access_key_id"], key["aws_secret_access_key"])
        return cls(stack["api_url"], stack["region"], credentials)

    def begin(
        self, *, subject: str, connector: str, return_to: str, connection_id: str | None = None
    ) -> Answer:
        """Begin a connection; send the user's browser to the answer's `start_url`."""
        body = {"subject": subject, "connector": connector, "return_to": return_to}
        if connection_id:
            body["connection_id"] = connection_id
        return self._call("POST", "/connections", body)

    def connections_of(self, subject: str) -> Answer:
        """List a subject's connections."""
        return self._call("GET", f"/connections?{urlencode({'subject': subject})}")

    def show(self, connection_id: str, *, subject: str | None = None) -> Answer:
        """Show one connection; 404 if it is not `subject`'s."""
        return self._call("GET", _path(connection_id, subject))

    def confirm(self, connection_id: str, *, subject: str, confirmation: str) -> Answer:
        """Say that the person who came back is the subject who left."""
        body = {"subject": subject, "confirmation": confirmation}
        return self._call("POST", f"{_path(connection_id)}/confirm", body)

    def token(
        self,
        connection_id: str,
        *,
        subject: str | None = None,
        min_validity: int | None = None,
        rejected: int | None = None,
    ) -> Answer:
        """Ask for the bearer; `rejected` is the generation the data API has refused.

        Name the subject you act for: another's connection is answered 404.
        """
        wishes = {"subject": subject, "min_validity": min_validity, "rejected": rejected}
        body = {name: value for name, value in wishes.items() if value is not None}
        return self._call("POST", f"{_path(connection_id)}/token", body)

    def disconnect(self, connection_id: str, *, subject: str | None = None) -> Answer:
        """End a connection; it is revoked at Akoya by the next run of the schedule."""
        return self._call("DELETE", _path(connection_id, subject))

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        request = AWSRequest(
            method=method,
            url=self._api_url + path,
            data=json.dumps(body) if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        self._signer.add_auth(request)
        response = requests.request(
            method,
            str(request.url),
            data=request.data,
            headers=dict(request.headers.items()),
            timeout=TIMEOUT,
        )
        content = response.json() if response.content else {}
        wait = response.headers.get("Retry-After")
        return Answer(response.status_code, content, int(wait) if wait else None)


def _path(connection_id: str, subject: str | None = None) -> str:
    path = f"/connections/{quote(connection_id, safe='')}"
    return path if subject is None else f"{path}?{urlencode({'subject': subject})}"
