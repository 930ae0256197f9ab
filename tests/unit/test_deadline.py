"""One deadline for the whole exchange, against a real server that never comes to an end.

The test is the timer: it lets the deadline come once the server has sent what it should have.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from tests.clock import NoTimer
from token_broker.adapters.akoya import AkoyaTokenEndpoint
from token_broker.adapters.deadline import DeadlineAdapter, StartTimer
from token_broker.domain.outcome import Answer, Outcome
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.refresh_policy import CONNECT_TIMEOUT
from token_broker.domain.secret_text import SecretText

PATIENCE = 6  # seconds after which a test that hangs fails
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ROTATED = b'{"refresh_token":"rt-2","id_token":"'


class Server:
    """Answers one request byte by byte, then closes, or calls `over` and waits for its client."""

    def __init__(self, answer: bytes, over: Callable[[], None] | None, *, until: bytes) -> None:
        self.hung_up = threading.Event()
        self.received = b""
        self._answer, self._over, self._until = answer, over, until
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._listener.getsockname())

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, suppress(ConnectionError):
            connection.settimeout(PATIENCE)
            while self._until not in self.received:
                if not (read := connection.recv(65_536)):
                    return
                self.received += read
            for at in range(len(self._answer)):
                connection.sendall(self._answer[at : at + 1])
            if self._over is None:
                return
            self._over()
            with suppress(ConnectionError):
                while connection.recv(65_536):
                    pass
            self.hung_up.set()

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()


class Timers:
    """Timers that end when the test says so."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._expire: Callable[[], None] = lambda: None

    def __call__(self, seconds: float, expire: Callable[[], None]) -> threading.Timer:
        self.seconds.append(seconds)
        self._expire = expire
        return NoTimer(seconds, expire)

    def end(self) -> None:
        self._expire()


@contextmanager
def serving(
    answer: bytes, over: Callable[[], None] | None, *, until: bytes = b"client_secret=s"
) -> Iterator[Server]:
    server = Server(answer, over, until=until)
    try:
        yield server
    finally:
        server.close()


def refreshed(address: str, timer: StartTimer) -> Answer:
    session = requests.Session()
    session.mount("http://", DeadlineAdapter())
    session.mount("https://", DeadlineAdapter())
    return AkoyaTokenEndpoint(session, address, timer=timer).refresh(
        SecretText("rt-1"),
        credentials=ClientCredentials(client_id="c", client_secret=SecretText("s")),
        read_timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.",
        HEAD,
        HEAD + b"X-Filler: " + b"x" * 100,
        HEAD + b"Content-Length: 999\r\n\r\n",
        HEAD + b'Content-Length: 999\r\n\r\n{"id_tok',
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"id_\r\nff\r\ntok',
        HEAD + b'\r\n{"id_tok',
    ],
    ids=["nothing", "status", "headers", "header", "length", "body", "chunk", "chunks", "endless"],
)
def test_at_the_deadline_the_connection_is_shut_wherever_the_answer_is(sent: bytes) -> None:
    timers = Timers()
    with serving(sent, timers.end) as server:
        answer = refreshed(f"http://{server.address}", timers)

        assert answer.outcome is Outcome.TIMEOUT
        assert server.hung_up.wait(PATIENCE)
    assert timers.seconds == [CONNECT_TIMEOUT + PATIENCE]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 999\r\n\r\n" + ROTATED,
        b"Transfer-Encoding: chunked\r\n\r\n12\r\n" + ROTATED[:18] + b"\r\nff\r\n" + ROTATED[18:],
        b"\r\n" + ROTATED,
    ],
    ids=["length", "chunked", "endless"],
)
def test_a_refresh_token_that_came_before_the_deadline_is_kept(framing: bytes) -> None:
    timers = Timers()
    with serving(HEAD + framing, timers.end) as server:
        answer = refreshed(f"http://{server.address}", timers)

    assert answer.outcome is Outcome.SUCCESS
    assert answer.refresh_token == SecretText("rt-2")
    assert answer.id_token is None


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(ROTATED),
    ],
    ids=["length", "chunked"],
)
def test_a_refresh_token_that_came_before_the_connection_was_cut_is_kept(framing: bytes) -> None:
    with serving(HEAD + framing + ROTATED, None) as server:
        answer = refreshed(f"http://{server.address}", Timers())

    assert answer.refresh_token == SecretText("rt-2")


def test_a_handshake_that_never_ends_is_shut_at_the_deadline_as_well() -> None:
    timers = Timers()
    with serving(b"\x16\x03\x03", timers.end, until=b"\x16\x03") as server:
        answer = refreshed(f"https://{server.address}", timers)

        assert answer.outcome is Outcome.TIMEOUT
        assert server.hung_up.wait(PATIENCE)


def test_nothing_is_sent_on_a_connection_that_stands_only_after_the_deadline() -> None:
    timers = Timers()

    def over_at_once(seconds: float, expire: Callable[[], None]) -> threading.Timer:
        timer = timers(seconds, expire)
        timers.end()
        return timer

    with serving(b"", None) as server:
        answer = refreshed(f"http://{server.address}", over_at_once)

    assert answer.outcome is Outcome.UNREACHABLE
    assert server.received == b""


def test_the_deadline_is_kept_by_a_timer_that_ends_with_the_exchange() -> None:
    whole = HEAD + b"Content-Length: 22\r\n\r\n" + b'{"refresh_token":"rt"}'
    before = threading.active_count()
    with serving(whole, None) as server:
        answer = refreshed(f"http://{server.address}", threading.Timer)

    assert answer.outcome is Outcome.SUCCESS
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(PATIENCE)
    assert threading.active_count() == before
