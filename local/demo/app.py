"""The demo's routes: every button is one call of the broker, and its answer is shown as it came."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Flask, abort, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from akoya_token_broker_client import Bearer, Broker, BrokerError, ConnectionNotFound
from akoya_token_broker_client import Connection as Shown
from local.demo.panel import add_panel
from local.demo.sandbox_client import SandboxClient, fingerprint

PEOPLE = ("ada", "grace")
# What a person is told when they come back, by the redirect's status and error.
RETURNS = {
    "declined": "You cancelled at the bank. Nothing was connected; you can try again.",
    "expired": "That took too long. Connect the bank again from the start.",
    "temporarily_unavailable": "The bank's network cannot be reached. Try again in some minutes.",
}
FAILED = "The bank was not connected. Connect it again from the start."
# What "Refresh now" asks for. Its bearers are short-lived, so that the next press needs no refusal.
SHORT_LIFE = 20
LONGEST_VALIDITY = 86_400  # the broker renews a bearer past half its life for it
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action {}"


def create_app(stack: Mapping[str, Any]) -> Flask:  # noqa: C901, PLR0915 - a list of routes
    """Create the demo for a running stack."""
    app = Flask(__name__)
    app.secret_key = secrets.token_bytes(32)
    app.config.update(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_NAME="fernhill")
    broker = Broker.local(stack, patience=0)  # what the broker says is shown, not waited for
    provider = stack["identity_provider"]
    sandbox = SandboxClient(provider["url"]) if provider["is_sandbox"] else None
    allowed = f"'self' {stack['public_base_url']} {provider['url']}"

    @app.before_request
    def check_form() -> None:
        session.setdefault("form_token", secrets.token_urlsafe(16))
        session.setdefault("person", PEOPLE[0])
        if request.method == "POST":
            given = request.form.get("form_token", "")
            if not hmac.compare_digest(given, session["form_token"]):
                abort(400, "The form is out of date. Go back, reload, and send it again.")

    @app.after_request
    def protect(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = POLICY.format(allowed)
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.context_processor
    def shared() -> dict[str, Any]:
        return {
            "people": PEOPLE,
            "person": session["person"],
            "now": int(time.time()),
            "is_sandbox": sandbox is not None,
        }

    @app.template_filter()
    def clock(moment: int) -> str:
        return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S")

    def mine(connection_id: str) -> Shown:
        """Return the signed-in person's connection, or 404 for anybody else's."""
        try:
            return broker.show(connection_id, subject=session["person"])
        except ConnectionNotFound:
            abort(404, "You have no such connection.")

    def tell(told: BrokerError) -> None:
        """Show an error of the broker as it came."""
        wait = f" (Retry-After: {told.retry_after} s)" if told.retry_after else ""
        flash(f"{told.status} {told.error}: {told.description}{wait}", "bad")

    def tell_refreshed(before: int, bearer: Bearer) -> None:
        """Say whether the bearer handed out is a new one."""
        if bearer.generation > before:
            flash(f"200: refreshed, generation {bearer.generation} was handed out.", "good")
            return
        left = bearer.expires_at - int(time.time())
        flash(
            f"200: generation {bearer.generation} once more; it lives for another {left} s. Either "
            f"it is younger than half its life (press again in {SHORT_LIFE // 2} s), or no refresh "
            "came through and the broker serves what it has: the requests below tell.",
            "",
        )

    @app.get("/")
    def home() -> ResponseReturnValue:
        listed = broker.connections_of(session["person"])
        return render_template("home.html", connections=listed, connector=provider["connector"])

    @app.post("/person")
    def choose_person() -> ResponseReturnValue:
        if request.form.get("person") in PEOPLE:
            session["person"] = request.form["person"]
        return redirect(url_for("home"), 303)

    @app.post("/connect")
    def connect() -> ResponseReturnValue:
        try:
            begun = broker.begin(
                subject=session["person"],
                connector=provider["connector"],
                return_to=url_for("come_back", _external=True),
                connection_id=request.form.get("connection_id") or None,
            )
        except BrokerError as told:
            tell(told)
            return redirect(url_for("home"), 303)
        return redirect(begun.start_url, 303)

    @app.get("/return")
    def come_back() -> ResponseReturnValue:
        """Confirm for the signed-in person, then go on to an address without the confirmation."""
        status, error = request.args.get("status"), request.args.get("error", "")
        connection_id = request.args.get("connection_id", "")
        if status == "pending_confirmation":
            try:
                broker.confirm(
                    connection_id,
                    subject=session["person"],
                    confirmation=request.args.get("confirmation", ""),
                )
            except BrokerError as told:
                tell(told)
                return redirect(url_for("home"), 303)
            if request.args.get("previous_connection_id"):
                flash("You signed in with another bank login; it is a connection of its own.", "")
        elif status != "active":
            flash(RETURNS.get(error, RETURNS.get(status or "", FAILED)), "bad")
            return redirect(url_for("home"), 303)
        learn_login(connection_id)
        flash("Your bank is connected.", "good")
        return redirect(url_for("show", connection_id=connection_id), 303)

    @app.get("/connections/<connection_id>")
    def show(connection_id: str) -> ResponseReturnValue:
        login = session.get("logins", {}).get(connection_id)
        return render_template(
            "connection.html",
            connection=mine(connection_id),
            ledger=sandbox.ledger(login) if sandbox and login else None,
            requests=sandbox.requests(login) if sandbox and login else None,
            armed=len(sandbox.faults()["armed"]) if sandbox else 0,
            token=session.pop("token", None),
            accounts=session.pop("accounts", None),
        )

    def bearer(connection_id: str, **wish: Any) -> Bearer | None:
        """Ask for the bearer and remember what may be shown of it; None if there is none."""
        if "rejected" in wish:
            session["rejected"] = session.get("rejected", {}) | {connection_id: wish["rejected"]}
        try:
            found = broker.hand_out(connection_id, subject=session["person"], **wish)
        except BrokerError as told:
            tell(told)
            return None
        remember(connection_id, found)
        return found

    def remember(connection_id: str, found: Bearer) -> None:
        session["token"] = {
            "fingerprint": fingerprint(found.id_token),
            "generation": found.generation,
            "expires_at": found.expires_at,
        }
        remember_login(connection_id, found.id_token)

    def remember_login(connection_id: str, id_token: str) -> None:
        if sandbox and (login := sandbox.login_of(id_token)):
            session["logins"] = session.get("logins", {}) | {connection_id: login}

    def learn_login(connection_id: str) -> None:
        """Find out whose requests to show, before the bank misbehaves; nothing depends on it."""
        if sandbox and connection_id not in session.get("logins", {}):
            with contextlib.suppress(BrokerError):
                found = broker.hand_out(connection_id, subject=session["person"])
                remember_login(connection_id, found.id_token)

    @app.post("/connections/<connection_id>/token")
    def token(connection_id: str) -> ResponseReturnValue:
        mine(connection_id)
        bearer(connection_id)
        return redirect(url_for("show", connection_id=connection_id), 303)

    @app.post("/connections/<connection_id>/accounts")
    def accounts(connection_id: str) -> ResponseReturnValue:
        """Read accounts; the client has a refused bearer exchanged, and tries again once."""
        mine(connection_id)
        session["accounts"] = None
        try:
            before = broker.bearer(connection_id, subject=session["person"])
            if sandbox:
                auth = broker.auth(
                    connection_id, subject=session["person"], interaction_type="USER"
                )
                found = sandbox.accounts(before.connector, auth)
                session["accounts"] = found.accounts
                if found.refused_before:
                    flash(
                        f"The data API refused generation {before.generation} (602); the broker "
                        "was asked for another.",
                        "",
                    )
            remember(connection_id, broker.bearer(connection_id, subject=session["person"]))
        except BrokerError as told:
            tell(told)
        return redirect(url_for("show", connection_id=connection_id), 303)

    @app.post("/connections/<connection_id>/expire")
    def expire(connection_id: str) -> ResponseReturnValue:
        mine(connection_id)
        if sandbox and bearer(connection_id):
            session.pop("token")
            sandbox.expire(session["logins"][connection_id])
            flash("The bank has ended the bearer. Read the accounts to see what happens.", "")
        return redirect(url_for("show", connection_id=connection_id), 303)

    @app.post("/connections/<connection_id>/refresh")
    def refresh(connection_id: str) -> ResponseReturnValue:
        """Make the broker refresh now: refuse a bearer that has long to live."""
        seen = mine(connection_id)
        if sandbox:
            learn_login(connection_id)
            with sandbox.bearers_that_live(SHORT_LIFE):
                answer = bearer(connection_id, **reason_to_refresh(seen))
            if answer:
                tell_refreshed(seen.generation, answer)
        return redirect(url_for("show", connection_id=connection_id), 303)

    def reason_to_refresh(seen: Shown) -> dict[str, int]:
        """Return a wish the broker refreshes for; two refusals in a row would end the consent."""
        refused_last = session.get("rejected", {}).get(seen.connection_id)
        ends_soon = (seen.expires_at or 0) - time.time() < SHORT_LIFE // 2
        if ends_soon or refused_last == seen.generation - 1:
            return {"min_validity": LONGEST_VALIDITY}
        return {"rejected": seen.generation}

    @app.post("/connections/<connection_id>/disconnect")
    def disconnect(connection_id: str) -> ResponseReturnValue:
        mine(connection_id)
        try:
            broker.disconnect(connection_id, subject=session["person"])
        except BrokerError as told:
            tell(told)
        else:
            flash("Disconnected. The next run of the schedule revokes it at the bank.", "good")
        return redirect(url_for("show", connection_id=connection_id), 303)

    if sandbox:
        add_panel(app, broker, sandbox)

    @app.errorhandler(400)
    @app.errorhandler(404)
    def problem(error: Any) -> ResponseReturnValue:
        return render_template("problem.html", error=error), error.code

    @app.errorhandler(BrokerError)
    def unanswered(error: BrokerError) -> ResponseReturnValue:
        """Say what the broker said where a page cannot be shown without it."""
        described = {"code": 502, "name": "The broker did not answer", "description": str(error)}
        return render_template("problem.html", error=described), 502

    return app
