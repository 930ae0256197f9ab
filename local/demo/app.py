"""The demo's routes: every button is one call of the broker, and its answer is shown as it came."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Flask, abort, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from local.broker_client import Answer, BrokerClient
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
    broker = BrokerClient.of_stack(stack)
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

    def mine(connection_id: str) -> dict[str, Any]:
        """Return the signed-in person's connection, or 404 for anybody else's."""
        shown = broker.show(connection_id, subject=session["person"])
        if shown.status != 200:  # noqa: PLR2004
            abort(404, "You have no such connection.")
        return shown.content

    def tell(answer: Answer) -> None:
        """Show an error of the broker as it came."""
        wait = f" (Retry-After: {answer.retry_after} s)" if answer.retry_after else ""
        said = answer.content
        flash(f"{answer.status} {said.get('error')}: {said.get('error_description')}{wait}", "bad")

    def tell_refreshed(before: int, answer: Answer) -> None:
        """Say whether the bearer handed out is a new one."""
        generation = answer.content["generation"]
        if generation > before:
            flash(f"200: refreshed, generation {generation} was handed out.", "good")
            return
        left = answer.content["expires_at"] - int(time.time())
        flash(
            f"200: generation {generation} once more; it lives for another {left} s. Either it is "
            f"younger than half its life (press again in {SHORT_LIFE // 2} s), or no refresh came "
            "through and the broker serves what it has: the requests below tell.",
            "",
        )

    @app.get("/")
    def home() -> ResponseReturnValue:
        listed = broker.connections_of(session["person"]).content.get("connections", [])
        return render_template("home.html", connections=listed, connector=provider["connector"])

    @app.post("/person")
    def choose_person() -> ResponseReturnValue:
        if request.form.get("person") in PEOPLE:
            session["person"] = request.form["person"]
        return redirect(url_for("home"), 303)

    @app.post("/connect")
    def connect() -> ResponseReturnValue:
        begun = broker.begin(
            subject=session["person"],
            connector=provider["connector"],
            return_to=url_for("come_back", _external=True),
            connection_id=request.form.get("connection_id") or None,
        )
        if begun.status != 201:  # noqa: PLR2004
            tell(begun)
            return redirect(url_for("home"), 303)
        return redirect(begun.content["start_url"], 303)

    @app.get("/return")
    def come_back() -> ResponseReturnValue:
        """Confirm for the signed-in person, then go on to an address without the confirmation."""
        status, error = request.args.get("status"), request.args.get("error", "")
        connection_id = request.args.get("connection_id", "")
        if status == "pending_confirmation":
            confirmed = broker.confirm(
                connection_id,
                subject=session["person"],
                confirmation=request.args.get("confirmation", ""),
            )
            if confirmed.status != 200:  # noqa: PLR2004
                tell(confirmed)
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

    def bearer(connection_id: str, **wish: int) -> Answer | None:
        """Ask for the bearer and remember what may be shown of it; None if there is none."""
        answer = broker.token(connection_id, subject=session["person"], **wish)
        if "rejected" in wish:
            session["rejected"] = session.get("rejected", {}) | {connection_id: wish["rejected"]}
        if answer.status != 200:  # noqa: PLR2004
            tell(answer)
            return None
        session["token"] = {
            "token_type": answer.content["token_type"],
            "fingerprint": fingerprint(answer.content["id_token"]),
            "generation": answer.content["generation"],
            "expires_at": answer.content["expires_at"],
        }
        remember_login(connection_id, answer.content["id_token"])
        return answer

    def remember_login(connection_id: str, id_token: str) -> None:
        if sandbox and (login := sandbox.login_of(id_token)):
            session["logins"] = session.get("logins", {}) | {connection_id: login}

    def learn_login(connection_id: str) -> None:
        """Find out whose requests to show, before the bank misbehaves; nothing depends on it."""
        if sandbox and connection_id not in session.get("logins", {}):
            answer = broker.token(connection_id, subject=session["person"])
            if answer.status == 200:  # noqa: PLR2004
                remember_login(connection_id, answer.content["id_token"])

    @app.post("/connections/<connection_id>/token")
    def token(connection_id: str) -> ResponseReturnValue:
        mine(connection_id)
        bearer(connection_id)
        return redirect(url_for("show", connection_id=connection_id), 303)

    @app.post("/connections/<connection_id>/accounts")
    def accounts(connection_id: str) -> ResponseReturnValue:
        """Read accounts; if the bearer is refused, say so to the broker once and try again."""
        mine(connection_id)
        answer = bearer(connection_id)
        found = (
            sandbox.accounts(answer.content["connector"], answer.content["id_token"])
            if (sandbox and answer)
            else None
        )
        if sandbox and answer and found and found.status == 401:  # noqa: PLR2004
            flash(
                f"The data API refused generation {answer.content['generation']} "
                f"({found.code}); the broker was asked for another.",
                "",
            )
            answer = bearer(connection_id, rejected=answer.content["generation"])
            if answer:
                found = sandbox.accounts(answer.content["connector"], answer.content["id_token"])
        session["accounts"] = found.accounts if found and answer else None
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
                tell_refreshed(seen["generation"], answer)
        return redirect(url_for("show", connection_id=connection_id), 303)

    def reason_to_refresh(seen: Mapping[str, Any]) -> dict[str, int]:
        """Return a wish the broker refreshes for; two refusals in a row would end the consent."""
        refused_last = session.get("rejected", {}).get(seen["connection_id"])
        ends_soon = seen.get("expires_at", 0) - time.time() < SHORT_LIFE // 2
        if ends_soon or refused_last == seen["generation"] - 1:
            return {"min_validity": LONGEST_VALIDITY}
        return {"rejected": seen["generation"]}

    @app.post("/connections/<connection_id>/disconnect")
    def disconnect(connection_id: str) -> ResponseReturnValue:
        mine(connection_id)
        answer = broker.disconnect(connection_id, subject=session["person"])
        if answer.status == 202:  # noqa: PLR2004
            flash("Disconnected. The next run of the schedule revokes it at the bank.", "good")
        else:
            tell(answer)
        return redirect(url_for("show", connection_id=connection_id), 303)

    if sandbox:
        add_panel(app, broker, sandbox)

    @app.errorhandler(400)
    @app.errorhandler(404)
    def problem(error: Any) -> ResponseReturnValue:
        return render_template("problem.html", error=error), error.code

    return app
