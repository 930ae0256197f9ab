"""What AWS answers: its failures as the domain's errors, and no answer for one that was cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.domain.errors import TokenBrokerError, UpstreamUnavailable

Known = Callable[[str, Mapping[str, Any]], TokenBrokerError | None]
"""What a failure means, by its code and all that AWS says of it; None: try again later."""


@contextmanager
def translated(service: str, known: Known = lambda *_: None) -> Iterator[None]:
    """Raise what is known of a failure of that service, else UpstreamUnavailable."""
    try:
        yield
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        raise known(code, exc.response) or _unavailable(service, code) from None
    except BotoCoreError as exc:
        raise _unavailable(service, type(exc).__name__) from None


def member(answer: Mapping[str, Any], name: str, *, of: str) -> Any:
    """Return a member; raise UpstreamUnavailable if the answer of that service lacks it."""
    if answer.get(name) is None:
        raise _unavailable(of, f"an answer without {name}")
    return answer[name]


def _unavailable(service: str, what: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(detail=f"{service}: {what}", retry_after=5)
