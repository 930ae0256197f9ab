"""What an endpoint answers, before any web framework sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and what becomes of it on its way.

    `lost`: the connection is cut instead of sending it. `cut_at`: it is cut after so many bytes of
    the body. `drips`: that part comes byte by byte, each after a `pause`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    lost: bool = False
    cut_at: int | None = None
    drips: Literal["headers", "body"] | None = None
    pause: Callable[[], None] = lambda: None

    @property
    def is_whole(self) -> bool:
        """Whether the answer reaches its client at once and as it is."""
        return not self.lost and self.cut_at is None and self.drips is None

    @property
    def head(self) -> bytes:
        """Status line and headers as on the wire (RFC 9112)."""
        fields = {**self.headers, "Content-Length": len(self.body), "Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n{lines}\r\n".encode()

    def json(self) -> Any:
        """Return the parsed body; raises ValueError if it is not JSON."""
        return json.loads(self.body)


def json_answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """Return `body` as a JSON answer that no cache may keep (RFC 6749 section 5.1)."""
    return Answer(
        status,
        {
            "Content-Type": "application/json",
            "Cache-Control": "no-store",
            "Pragma": "no-cache",
            **headers,
        },
        json.dumps(body, separators=(",", ":")).encode(),
    )


def error_of(answer: Answer) -> str | None:
    """Return the `error` or `code` of an error answer, or None if there is none to read."""
    try:
        body = answer.json() if answer.status >= HTTPStatus.BAD_REQUEST else {}
    except ValueError:
        return None
    error = body.get("error") or body.get("code")
    return None if error is None else str(error)
