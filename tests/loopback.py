"""HTTP to the sandbox's own logic without a socket, and answers made by hand."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from local.akoya_sandbox.answer import Answer
from local.akoya_sandbox.provider import AkoyaProvider


class Loopback(requests.adapters.BaseAdapter):
    """HTTP to the sandbox's logic without a socket; `before` may answer or fail in its place.

    Who has waited for longer than its read timeout has hung up, and hears nothing of what happens
    then. With a connect timeout beside it, both together are the deadline of the whole answer.
    """

    def __init__(
        self, provider: AkoyaProvider, *, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        super().__init__()
        self.provider = provider
        self._clock = clock
        self.before: Callable[[requests.PreparedRequest], requests.Response | None] | None = None
        self.after: Callable[[requests.Response], requests.Response] | None = None
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **how: Any) -> requests.Response:
        self.sent.append(request)
        if self.before and (answered := self.before(request)) is not None:
            return answered
        timeout = how.get("timeout") or math.inf
        patience = timeout[1] if isinstance(timeout, tuple) else timeout
        hangs_up_at = self._clock() + patience
        deadline = self._clock() + sum(timeout) if isinstance(timeout, tuple) else math.inf
        answer = self._answer(request, lambda: self._clock() > hangs_up_at)
        if self._clock() > hangs_up_at:
            raise requests.ReadTimeout("no answer in time")
        response = self._received(answer, deadline)
        response.request, response.url = request, str(request.url)
        return self.after(response) if self.after else response

    def _answer(self, request: requests.PreparedRequest, has_hung_up: Callable[[], bool]) -> Answer:
        path = urlsplit(str(request.url)).path
        if path == "/.well-known/openid-configuration":
            return Answer(200, {}, as_json(self.provider.discovery()))
        if request.method == "GET":
            return Answer(200, {}, as_json(self.provider.jwks()))
        return {"/token": self.provider.token, "/revoke": self.provider.revoke}[path](
            authorization=request.headers.get("Authorization"),
            body=str(request.body),
            has_hung_up=has_hung_up,
        )

    def _received(self, answer: Answer, deadline: float) -> requests.Response:
        """Return what comes of an answer until its reader gives up."""
        if answer.lost:
            raise requests.ConnectionError("connection cut")
        if answer.drips == "headers":
            head = self._dripped(answer, answer.head, deadline)
            if isinstance(head, Silenced):
                raise requests.ReadTimeout("no headers in time")
        body = io.BytesIO(answer.body[: answer.cut_at])
        if answer.drips == "body":
            body = self._dripped(answer, answer.body, deadline)
        return http_response(answer.status, body, dict(answer.headers), length=len(answer.body))

    def _dripped(self, answer: Answer, part: bytes, deadline: float) -> io.BytesIO:
        """Let a part come byte by byte; return what has come of it by the deadline."""
        for came in range(len(part)):
            answer.pause()
            if self._clock() > deadline:
                return Silenced(part[:came])
        return io.BytesIO(part)

    def close(self) -> None:
        pass


def as_json(content: Any) -> bytes:
    """Return content as a JSON body."""
    return json.dumps(content).encode()


class Silenced(io.BytesIO):
    """A body of which no more comes than this."""

    def read1(self, size: int | None = -1, /) -> bytes:
        if read := super().read1(size):
            return read
        raise TimeoutError


def http_response(
    status: int,
    body: bytes | io.BytesIO = b"",
    headers: dict[str, str] | None = None,
    *,
    length: int | None = None,
) -> requests.Response:
    """Return an HTTP answer as `requests` would; `length` is what its headers promise."""
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    response.raw = urllib3.HTTPResponse(
        body=io.BytesIO(body) if isinstance(body, bytes) else body,
        headers={} if length is None else {"Content-Length": str(length)},
        status=status,
        preload_content=False,
    )
    return response
