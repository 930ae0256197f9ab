"""The sandbox over HTTP: routes and pages only; every decision is the provider's."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from .admin import add_admin
from .answer import Answer
from .authorization import SentBack, ShownAsPage
from .dialects import DIALECTS
from .grants import PendingAuthorization
from .people import DATA_ERROR_NUMBERS
from .person_way import AccountMissingError
from .provider import AkoyaProvider
from .requests_met import HasHungUp

LOOPBACK = "127.0.0.1"
LARGEST_BODY = 64 * 1024

# No script anywhere; form-action is left open because consent answers with a redirect to the app.
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def create_app(provider: AkoyaProvider) -> Flask:
    """Return the WSGI application of one provider."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    # A page of another site must not reach the admin routes by a name that resolves to loopback.
    hosts = {"localhost", LOOPBACK, urlsplit(provider.issuer).hostname or "localhost"}
    app.config["TRUSTED_HOSTS"] = sorted(hosts)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    _add_sign_in(app, provider)
    _add_protocol(app, provider)
    add_admin(app, provider)
    return app


def serve(provider: AkoyaProvider, listener: socket.socket) -> BaseWSGIServer:
    """Return a threaded server on a listening loopback socket; the caller runs and closes it."""
    host, port = listener.getsockname()[:2]
    return make_server(
        host,
        port,
        create_app(provider),
        threaded=True,
        request_handler=_QuietHandler,
        fd=listener.fileno(),
    )


def listen(port: int = 0) -> socket.socket:
    """Return a loopback socket that listens on `port`, or on a free one."""
    return socket.create_server((LOOPBACK, port))


class _QuietHandler(WSGIRequestHandler):
    """No access log: request lines carry `state`, and the ledger tells more."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def _add_sign_in(app: Flask, provider: AkoyaProvider) -> None:  # noqa: C901 - a list of routes
    """Add the pages a person sees."""

    @app.get("/")
    def home() -> ResponseReturnValue:
        return _page(
            "home.html",
            provider=provider,
            dialects=DIALECTS,
            error_numbers=DATA_ERROR_NUMBERS,
        )

    def _app_of(pending: PendingAuthorization) -> str:
        return provider.registration.app_name or urlsplit(pending.request.redirect_uri).netloc

    @app.get("/auth")
    def authorize() -> ResponseReturnValue:
        pending = provider.begin(request.query_string.decode("ascii", "replace"))
        return redirect(url_for("step", pending_id=pending.id))

    @app.get("/auth/<pending_id>")
    def step(pending_id: str, problem: str | None = None) -> ResponseReturnValue:
        pending = provider.pending(pending_id)
        return _page(
            "sign_in.html" if pending.login is None else "consent.html",
            pending=pending,
            bank=provider.connectors[pending.request.connector],
            app=_app_of(pending),
            user_name=request.form.get("user_name", ""),
            problem=problem,
        )

    @app.post("/auth/<pending_id>/sign-in")
    def sign_in(pending_id: str) -> ResponseReturnValue:
        user_name, password = request.form.get("user_name", ""), request.form.get("password", "")
        if not provider.sign_in(pending_id, user_name, password):
            return step(pending_id, "The user name or password is not right. Try again.")
        return redirect(url_for("step", pending_id=pending_id), 303)

    @app.post("/auth/<pending_id>/cancel")
    def cancel(pending_id: str) -> ResponseReturnValue:
        pending = provider.pending(pending_id)
        location = provider.decline(pending_id, "The user cancelled at the provider.")
        return _page(
            "ended.html",
            title="Connection issue",
            text=f"You cancelled signing in at {provider.connectors[pending.request.connector]}."
            " Nothing was shared.",
            location=location,
            app=_app_of(pending),
        )

    @app.post("/auth/<pending_id>/consent")
    def consent(pending_id: str) -> ResponseReturnValue:
        if request.form.get("decision") != "allow":
            return redirect(provider.decline(pending_id, "The user denied access to accounts."))
        try:
            return redirect(provider.allow(pending_id, request.form.getlist("account")))
        except AccountMissingError:
            return step(pending_id, "Choose at least one account, or deny.")

    @app.get("/auth/<pending_id>/abandoned")
    def abandoned(pending_id: str) -> ResponseReturnValue:
        provider.pending(pending_id)
        return _page(
            "ended.html",
            title="You left",
            text="As when a person closes the window: the app hears nothing. You can close this"
            " page, or go back and go on while the sign-in lasts.",
        )

    @app.errorhandler(ShownAsPage)
    def shown_as_page(answer: ShownAsPage) -> ResponseReturnValue:
        return _page("ended.html", title=answer.title, text=answer.text), answer.status

    @app.errorhandler(SentBack)
    def sent_back(answer: SentBack) -> ResponseReturnValue:
        return redirect(answer.location)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> ResponseReturnValue:
        if request.path.startswith("/admin/"):
            body = {"error": "invalid_request", "error_description": error.description}
            return jsonify(body), error.code or 500
        page = _page("ended.html", title=error.name, text=error.description)
        return page, error.code or 500


def _add_protocol(app: Flask, provider: AkoyaProvider) -> None:
    """Add the endpoints an app calls."""

    @app.post("/token")
    def token() -> ResponseReturnValue:
        return _response(
            provider.token(
                authorization=request.headers.get("Authorization"),
                body=_form_text(),
                has_hung_up=_client_watch(),
            )
        )

    @app.post("/revoke")
    def revoke() -> ResponseReturnValue:
        return _response(
            provider.revoke(
                authorization=request.headers.get("Authorization"),
                body=_form_text(),
                has_hung_up=_client_watch(),
            )
        )

    @app.get("/<product>/v3/<connector>")
    @app.get("/<product>/v3/<connector>/<about>")
    def data(product: str, connector: str, about: str | None = None) -> ResponseReturnValue:
        return _response(
            provider.data(
                product=product,
                connector=connector,
                about=about,
                query=request.args,
                authorization=request.headers.get("Authorization"),
                interaction_type=request.headers.get("x-akoya-interaction-type"),
                last_access=request.headers.get("x-akoya-last-access"),
                interaction_id=request.headers.get("x-akoya-interaction-id"),
                has_hung_up=_client_watch(),
            )
        )

    @app.get("/.well-known/openid-configuration")
    def discovery() -> ResponseReturnValue:
        return jsonify(provider.discovery())

    @app.get("/keys")
    @app.get("/.well-known/jwks.json")
    def jwks() -> ResponseReturnValue:
        return jsonify(provider.jwks())


def _page(template: str, **values: Any) -> Response:
    return Response(
        render_template(template, **values),
        content_type="text/html; charset=utf-8",
        headers=_PAGE_HEADERS,
    )


def _response(answer: Answer) -> ResponseReturnValue:
    if not answer.is_whole:
        _send_in_part(answer)
    return Response(answer.body, answer.status, dict(answer.headers))


def _send_in_part(answer: Answer) -> None:
    """Send what reaches the client, past the web framework, and close the socket under it."""
    connection: socket.socket = request.environ["werkzeug.socket"]
    with suppress(OSError):  # the client has hung up, or does so meanwhile
        if not answer.lost:
            _send(connection, answer.head, answer, drips=answer.drips == "headers")
            body = answer.body[: answer.cut_at]
            _send(connection, body, answer, drips=answer.drips == "body")
        connection.shutdown(socket.SHUT_RDWR)


def _send(connection: socket.socket, part: bytes, answer: Answer, *, drips: bool) -> None:
    for at in range(len(part)) if drips else ():
        answer.pause()
        connection.sendall(part[at : at + 1])
    if not drips:
        connection.sendall(part)


def _client_watch() -> HasHungUp:
    """Return how to ask whether the client of this request has closed its side."""
    connection: socket.socket = request.environ["werkzeug.socket"]

    def has_hung_up() -> bool:
        is_readable = bool(select.select([connection], [], [], 0)[0])
        try:
            return is_readable and not connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    return has_hung_up


def _form_text() -> str:
    """Return the form as sent; a body of another media type has no parameters."""
    if request.mimetype != "application/x-www-form-urlencoded":
        return ""
    return request.get_data().decode("utf-8", "replace")
