"""`python -m local.demo --stack local/.run/up/stack.json --port 8700`: serve the demo."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from local.demo.app import create_app


class Quiet(WSGIRequestHandler):
    """Keeps no log: addresses carry confirmations."""

    def log(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.demo")
    parser.add_argument("--stack", type=Path, required=True, help="the running stack's stack.json")
    parser.add_argument("--port", type=int, default=8700, help="loopback port (%(default)s)")
    options = parser.parse_args()
    app = create_app(json.loads(options.stack.read_text()))
    server = make_server("127.0.0.1", options.port, app, threaded=True, request_handler=Quiet)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
