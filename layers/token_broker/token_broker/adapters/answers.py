"""What an AWS answer must carry: one that was cut on the way is no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from token_broker.domain.errors import UpstreamUnavailable


def member(answer: Mapping[str, Any], name: str, *, of: str) -> Any:
    """Return a member; raise UpstreamUnavailable if the answer of that service lacks it."""
    if answer.get(name) is None:
        raise UpstreamUnavailable(detail=f"{of}: an answer without {name}", retry_after=5)
    return answer[name]
