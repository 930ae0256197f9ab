"""A sandbox with a clock of its own, in process and over loopback HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from local.akoya_sandbox.id_tokens import shared_signing_key
from local.akoya_sandbox.provider import AkoyaProvider
from local.akoya_sandbox.registration import Registration
from local.akoya_sandbox.server import listen, serve
from tests.akoya_sandbox.app import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, App


class Clock:
    """Time that moves only when told to; waiting moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_provider(clock: Clock) -> MakeProvider:
    return MakeProvider(clock)


class MakeProvider:
    """Makes providers of the test's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(
        self,
        *,
        issuer: str = "http://localhost/",
        algorithm: str = "ES256",
        wait: Callable[[float], object] | None = None,
        app_name: str = "",
    ) -> AkoyaProvider:
        return AkoyaProvider(
            issuer=issuer,
            registration=Registration(CLIENT_ID, CLIENT_SECRET, (REDIRECT_URI,), app_name),
            signing_key=shared_signing_key(algorithm),
            clock=self._clock,
            wait=wait or self._clock.advance,
        )


@pytest.fixture
def provider(make_provider: MakeProvider) -> AkoyaProvider:
    return make_provider()


@pytest.fixture
def app(make_provider: MakeProvider) -> Iterator[App]:
    with serving(make_provider) as app:
        yield app


@contextmanager
def serving(
    make_provider: MakeProvider,
    wait: Callable[[float], object] | None = None,
    app_name: str = "",
) -> Iterator[App]:
    """Serve a sandbox over loopback HTTP, with an app that drives it."""
    listener = listen()
    issuer = f"http://localhost:{listener.getsockname()[1]}/"
    provider = make_provider(issuer=issuer, algorithm="RS256", wait=wait, app_name=app_name)
    with listener, serve(provider, listener) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        app = App(issuer)
        try:
            yield app
        finally:
            app.session.close()
            server.shutdown()
            thread.join()
