"""The broker's public address on one machine: /start/… and /callback, passed on to the API.

Browsers keep `__Host-` cookies for http://localhost, and the address stays the same on every
start, which the embedded API's own does not. As API Gateway, it gives up after 29 seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

API_GATEWAY_TIMEOUT = 29
PASSED_ON = ("cookie", "accept", "accept-language", "user-agent")
TIMED_OUT = (
    b'{"error": "temporarily_unavailable", "error_description": "The bank takes long to answer. '
    b'Nothing is lost. Repeat the request, or reload this page, in a few seconds."}'
)


class PublicAddress(BaseHTTPRequestHandler):
    """Passes the public routes on, and nothing else."""

    api: str
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Pass a browser's request on to the API."""
        path = self.path.partition("?")[0]
        if path != "/callback" and not path.startswith("/start/"):
            self._answer(404, {"Content-Type": "text/plain"}, b"Not found. Start at the demo.\n")
            return
        headers = {name: self.headers[name] for name in PASSED_ON if self.headers[name]}
        try:
            answer = requests.get(
                self.api + self.path,
                headers=headers,
                timeout=API_GATEWAY_TIMEOUT,
                allow_redirects=False,
            )
        except requests.Timeout:
            answer_headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
            self._answer(504, answer_headers, TIMED_OUT)
            return
        kept = {
            name: value
            for name, value in answer.raw.headers.items()
            if name.lower()
            not in {"connection", "content-length", "transfer-encoding", "date", "server"}
        }
        self._answer(answer.status_code, kept, answer.content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep no log: addresses carry tickets, codes and states."""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.public_address")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api", required=True, help="the API's own base URL")
    options = parser.parse_args()
    PublicAddress.api = options.api
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        ThreadingHTTPServer(("127.0.0.1", options.port), PublicAddress) as server,
    ):
        server.serve_forever()


if __name__ == "__main__":
    main()
