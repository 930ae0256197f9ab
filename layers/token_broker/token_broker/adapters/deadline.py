"""One deadline for a whole HTTP exchange: connection, headers and body alike.

A socket's own timeout starts anew with every byte that comes, so that a server which sends one a
second would be read for hours. Here a timer shuts the connection down, and the thread that reads
from it meets its end: it has read its last before anything can be sent again.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from requests import adapters
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

StartTimer = Callable[[float, Callable[[], None]], threading.Timer]
"""Make a timer that, once started, calls a function after so many seconds."""

_begun = threading.local()  # the deadline of the exchange this thread is in


class Deadline:
    """Shuts down what this thread connects to under it, once its seconds are over."""

    def __init__(self, seconds: float, *, timer: StartTimer = threading.Timer) -> None:
        self.expired = False
        self._mutex = threading.Lock()
        self._handle: socket.socket | None = None
        self._outer: Deadline | None = None
        self._timer = timer(seconds, self.expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._outer = getattr(_begun, "deadline", None)
        _begun.deadline = self
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        _begun.deadline = self._outer
        with self._mutex:
            if self._handle:
                self._handle.close()
                self._handle = None

    def watch(self, connected: socket.socket) -> None:
        """Shut this connection down at the deadline; raises TimeoutError if that is over.

        Through a descriptor of our own: TLS takes the socket's away, and one that another thread
        has closed may be a stranger's by now.
        """
        with self._mutex:
            if self.expired:
                raise TimeoutError
            self._handle = connected.dup()

    def expire(self) -> None:
        """End the exchange: its thread reads what has come, then the end, and closes.

        Shut for reading only: to shut both ways may throw away what has come but is not read yet.
        """
        with self._mutex:
            self.expired = True
            if self._handle:
                with suppress(OSError):  # the other side was faster
                    self._handle.shutdown(socket.SHUT_RD)


class DeadlineAdapter(HTTPAdapter):
    """Sends as `requests` does, under the deadline its thread has begun, if any.

    The trust store is loaded once, where `requests` loads it for each connection: that took two
    thirds of the CPU of a refresh.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make pools whose connections tell the deadline of their socket, and share their trust."""
        trust = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        trust.load_verify_locations(adapters.DEFAULT_CA_BUNDLE_PATH)
        super().init_poolmanager(*args, **kwargs, ssl_context=trust)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002
        """Require a certificate that the shared trust store vouches for; there is no other way."""
        if verify is not True or cert is not None:
            raise ValueError("every certificate is verified, against the one trust store")
        conn.cert_reqs = "CERT_REQUIRED"


class _Watched(HTTPConnection):
    """Tells the deadline of a socket as soon as it is connected, before TLS and the request."""

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        deadline: Deadline | None = getattr(_begun, "deadline", None)
        try:
            if deadline:
                deadline.watch(connected)
        except TimeoutError as exc:
            connected.close()
            raise ConnectTimeoutError(self, "connected after the deadline") from exc
        return connected


class _WatchedTls(_Watched, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTls
