"""What an endpoint answers, before any web framework sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `lost` means the connection is cut instead of sending it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    lost: bool = False

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
