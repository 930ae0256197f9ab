"""Run the sandbox: `akoya-sandbox`, once installed; `--help` lists the options."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
from collections.abc import Sequence

from .dialects import DIALECTS
from .provider import AkoyaProvider
from .registration import Registration
from .requests_met import CONNECTORS
from .server import listen, serve
from .settings import InvalidSettingError, Settings

SECRET_VARIABLE = "AKOYA_CLIENT_SECRET"
DEFAULT_CLIENT_ID = "5c1f0a4e-8f5e-4e0b-9a57-6a1f7e2b9c30"
DEFAULT_CLIENT_SECRET = "sandbox-secret-not-a-secret"
DEFAULT_REDIRECT_URI = "http://localhost:8701/callback"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    options = _options(arguments)
    listener = listen(options.port)
    issuer = options.issuer or f"http://localhost:{listener.getsockname()[1]}/"
    provider = AkoyaProvider(
        issuer=issuer,
        registration=Registration(
            client_id=options.client_id,
            client_secret=os.environ.get(SECRET_VARIABLE) or DEFAULT_CLIENT_SECRET,
            redirect_uris=tuple(options.redirect_uri or [DEFAULT_REDIRECT_URI]),
            app_name=options.app_name,
        ),
        connectors=dict(options.connector or CONNECTORS),
        settings=options.settings,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), listener, serve(provider, listener) as server:
        _introduce(provider)
        server.serve_forever()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="akoya-sandbox",
        description="A sandbox of Akoya's endpoints on this machine. Not affiliated with Akoya.",
        epilog=f"The client secret comes from the environment: {SECRET_VARIABLE}.",
    )
    parser.add_argument("--port", type=int, default=8702, help="loopback port (%(default)s)")
    parser.add_argument(
        "--issuer", help="issuer URL with its trailing slash (http://localhost:PORT/)"
    )
    parser.add_argument("--client-id", default=DEFAULT_CLIENT_ID, help="(%(default)s)")
    parser.add_argument(
        "--app-name", default="", metavar="NAME", help="as the pages call the app (its host)"
    )
    parser.add_argument(
        "--redirect-uri",
        action="append",
        metavar="URI",
        help=f"exact redirect URI; may be repeated ({DEFAULT_REDIRECT_URI})",
    )
    parser.add_argument(
        "--connector",
        action="append",
        type=_connector,
        metavar="ID=NAME",
        help="a bank; may be repeated (mikomo=Mikomo bank)",
    )
    parser.add_argument("--dialect", choices=tuple(DIALECTS), default="gen1", help="(%(default)s)")
    parser.add_argument(
        "--id-token-lifetime", type=int, default=900, metavar="SECONDS", help="(%(default)s)"
    )
    parser.add_argument("--refresh-token-lifetime", type=int, metavar="SECONDS", help="(perpetual)")
    parser.add_argument(
        "--requests-per-second", type=int, metavar="N", help="more get 429 (no limit)"
    )
    options = parser.parse_args(arguments)
    try:
        options.settings = Settings(
            dialect=options.dialect,
            id_token_lifetime=options.id_token_lifetime,
            refresh_token_lifetime=options.refresh_token_lifetime,
            requests_per_second=options.requests_per_second,
        )
    except InvalidSettingError as error:
        parser.error(str(error))
    return options


def _connector(text: str) -> tuple[str, str]:
    connector, equals, name = text.partition("=")
    if not connector or not equals or not name:
        raise argparse.ArgumentTypeError("a connector is written ID=NAME")
    return connector, name


def _introduce(provider: AkoyaProvider) -> None:
    registration = provider.registration
    is_default = secrets.compare_digest(registration.client_secret, DEFAULT_CLIENT_SECRET)
    secret = DEFAULT_CLIENT_SECRET if is_default else f"(from {SECRET_VARIABLE})"
    lines = [
        "Akoya sandbox (not affiliated with Akoya)",
        f"  issuer         {provider.issuer}",
        f"  client_id      {registration.client_id}",
        f"  client_secret  {secret}",
        *(f"  redirect_uri   {uri}" for uri in registration.redirect_uris),
        *(f"  connector      {id_} ({name})" for id_, name in provider.connectors.items()),
        "  users          <connector>_1 and up, password = user name",
    ]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
