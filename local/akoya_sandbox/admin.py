"""The routes a test or a demo drives the sandbox by; Akoya has nothing like them."""

from __future__ import annotations

from typing import Any

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from .faults import FAULTS
from .provider import EXPIRIES, AkoyaProvider
from .settings import InvalidSettingError


class BadAdminRequestError(ValueError):
    """An admin request that cannot be followed; the message says what it must be."""


def add_admin(app: Flask, provider: AkoyaProvider) -> None:  # noqa: C901 - a list of routes
    """Add the admin routes to the application."""

    @app.get("/admin/ledger")
    def ledger() -> ResponseReturnValue:
        return jsonify(provider.ledger(request.args.get("login")))

    @app.get("/admin/grants")
    def grants() -> ResponseReturnValue:
        return jsonify(grants=provider.grants(request.args.get("login")))

    @app.get("/admin/settings")
    def settings() -> ResponseReturnValue:
        return jsonify(provider.settings.view())

    @app.put("/admin/settings")
    def change_settings() -> ResponseReturnValue:
        return jsonify(provider.change_settings(_json_object()).view())

    @app.put("/admin/client-secret")
    def change_client_secret() -> ResponseReturnValue:
        secret = _json_object().get("client_secret")
        if not isinstance(secret, str) or not secret:
            raise BadAdminRequestError("client_secret must be a non-empty string")
        provider.change_client_secret(secret)
        return "", 204

    @app.post("/admin/signing-key")
    def change_signing_key() -> ResponseReturnValue:
        provider.change_signing_key()
        return "", 204

    @app.post("/admin/expire")
    def expire() -> ResponseReturnValue:
        body = _json_object()
        what, login = body.get("what"), body.get("login")
        if what not in EXPIRIES:
            raise BadAdminRequestError(f"what must be one of: {', '.join(EXPIRIES)}")
        if login is not None and not isinstance(login, str):
            raise BadAdminRequestError("login must be <connector>/<user name>, or left out for all")
        return jsonify(consents=provider.expire(what, login))

    @app.get("/admin/faults")
    def faults() -> ResponseReturnValue:
        return jsonify(
            armed=provider.armed(),
            faults=[
                {"fault": fault.name, "meaning": fault.meaning, "on": list(fault.on)}
                for fault in FAULTS.values()
            ],
        )

    @app.post("/admin/faults")
    def arm() -> ResponseReturnValue:
        provider.arm(_json_object())
        return faults()

    @app.put("/admin/faults")
    def arm_instead() -> ResponseReturnValue:
        wanted = _json_object().get("faults")
        if not isinstance(wanted, list) or not all(isinstance(fault, dict) for fault in wanted):
            raise BadAdminRequestError("faults must be a list of objects")
        provider.arm(*wanted, instead=True)
        return faults()

    @app.delete("/admin/faults")
    def disarm() -> ResponseReturnValue:
        provider.disarm(request.args.get("login"))
        return faults()

    @app.post("/admin/reset")
    def reset() -> ResponseReturnValue:
        provider.reset()
        return "", 204

    @app.errorhandler(InvalidSettingError)
    @app.errorhandler(BadAdminRequestError)
    def bad_request(error: ValueError) -> ResponseReturnValue:
        return jsonify(error="invalid_request", error_description=str(error)), 400


def _json_object() -> dict[str, Any]:
    body = request.get_json()
    if not isinstance(body, dict):
        raise BadAdminRequestError("the body must be a JSON object")
    return body
