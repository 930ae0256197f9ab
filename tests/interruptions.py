"""What comes in between: a death, a failure or an act of others, at a port or while a send is out.

A world's ports are its own, so what is put in their place need not be taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests

from tests.acts import FUNCTION_TIMEOUT
from tests.interleavings.cuts import KilledError
from tests.world import World
from token_broker.domain.errors import TokenBrokerError, UpstreamUnavailable


@contextmanager
def cut_at(port: object, method: str, by: type[BaseException] = KilledError) -> Iterator[None]:
    """Cut what is inside short at its call of a port: its process dies, or cannot go on."""

    def cut(*_: Any, **__: Any) -> None:
        raise by

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(port, method, cut)
        with pytest.raises(by):
            yield


@contextmanager
def table_away(world: World, *, bucket_too: bool = False) -> Iterator[None]:
    """Let the table take nothing of what an attempt came to until the function's time is up."""

    def refuse(*_: Any, **__: Any) -> None:
        world.time_left -= 30
        raise UpstreamUnavailable(detail="away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.broker.connections, "land", refuse)
        patch.setattr(world.broker.connections, "settle", refuse)
        if bucket_too:
            patch.setattr(world.broker.escrow, "put", refuse)
        yield
    world.time_left = FUNCTION_TIMEOUT


def before(port: object, method: str, act: Callable[[], object]) -> None:
    """Let something happen once, just before the next call of a port."""
    call, happens = getattr(port, method), _once(act)

    def raced(*args: Any, **how: Any) -> Any:
        happens()
        return call(*args, **how)

    object.__setattr__(port, method, raced)


def before_akoya_acts(world: World, request: str, act: Callable[[], object]) -> None:
    """Let something happen once while a request of this grant type or path is on its way."""
    happens = _once(act)

    def on_request(sent: requests.PreparedRequest) -> None:
        if _fits(sent, request):
            happens()

    world.http.before = on_request


def before_akoya_is_heard(world: World, request: str, act: Callable[[], object]) -> None:
    """Let something happen once while the answer to such a request is on its way."""
    happens = _once(act)

    def on_answer(response: requests.Response) -> requests.Response:
        if _fits(response.request, request):
            happens()
        return response

    world.http.after = on_answer


def attempted(act: Callable[..., object], *args: Any) -> Callable[[], None]:
    """Return an act that the broker may refuse."""

    def attempt() -> None:
        with suppress(TokenBrokerError):
            act(*args)

    return attempt


def _once(act: Callable[[], object]) -> Callable[[], None]:
    left = [act]

    def happens() -> None:
        if left:
            left.pop()()

    return happens


def _fits(sent: requests.PreparedRequest, request: str) -> bool:
    return f"grant_type={request}" in str(sent.body) or str(sent.url).endswith(request)
