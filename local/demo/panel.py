"""The page that makes the sandbox misbehave; what can go wrong is the sandbox's to say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Flask, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from akoya_token_broker_client import Broker
from local.akoya_sandbox.dialects import DIALECTS
from local.demo.sandbox_client import SandboxClient, SandboxRefusedError

# The order of the list; a fault not named here comes last, so that a new one is never missing.
GROUPS = {
    "The answer is lost or late": (
        "lost_before_commit",
        "lost_after_commit",
        "slow",
        "slow_then_lost",
        "slow_after_commit",
    ),
    "The bank fails": ("error_before_commit", "error_after_commit", "too_many_requests"),
    "Something else answers": ("empty", "html", "redirect", "content_type"),
    "What is right is refused": ("wrong_secret", "grant_dead", "code_dead"),
    "A token is missing or the same": (
        "refresh_token_missing",
        "refresh_token_unchanged",
        "id_token_missing",
    ),
}
REST = "The answer is odd"
REQUESTS = {
    "refresh": "refresh",
    "exchange": "exchange of a code",
    "revoke": "revoke",
    "data": "data",
}
# Which member of an armed fault means something for it.
MEMBER = {
    "error_before_commit": "status",
    "error_after_commit": "status",
    "slow": "seconds",
    "slow_then_lost": "seconds",
    "slow_after_commit": "seconds",
    "too_many_requests": "retry_after",
}
NUMBERS = ("times", "status", "seconds", "retry_after")
FRESH_FORM = {"fault": "lost_before_commit", "times": "1"}


def add_panel(app: Flask, broker: Broker, sandbox: SandboxClient) -> None:
    """Add the panel's page and its three buttons to the demo."""

    @app.get("/sandbox")
    def panel() -> ResponseReturnValue:
        return page(FRESH_FORM, [])

    @app.post("/sandbox/dialect")
    def choose_dialect() -> ResponseReturnValue:
        sandbox.choose_dialect(request.form.get("dialect", ""))
        flash("The bank answers so from now on.", "good")
        return redirect(url_for("panel"), 303)

    @app.post("/sandbox/faults")
    def arm() -> ResponseReturnValue:
        sandbox.arm(read_fault(request.form, request.form.getlist("on")))
        flash("Armed. The next request that fits meets it.", "good")
        return redirect(url_for("panel"), 303)

    @app.post("/sandbox/faults/off")
    def disarm() -> ResponseReturnValue:
        sandbox.disarm()
        flash("Every fault is switched off.", "good")
        return redirect(url_for("panel"), 303)

    @app.errorhandler(SandboxRefusedError)
    def refused(error: SandboxRefusedError) -> ResponseReturnValue:
        """Show what the sandbox says above the form as it was filled in."""
        return page(request.form, request.form.getlist("on"), str(error)), 400

    def page(filled: Mapping[str, str], ticked: list[str], problem: str | None = None) -> str:
        known = sandbox.faults()
        return render_template(
            "panel.html",
            dialect=sandbox.settings()["dialect"],
            dialects=DIALECTS.values(),
            groups=grouped(known["faults"]),
            requests=REQUESTS,
            armed=known["armed"],
            member=MEMBER,
            logins=logins(),
            filled=filled,
            ticked=ticked,
            problem=problem,
        )

    def logins() -> dict[str, str]:
        """Return the bank logins of the signed-in person, as far as a bearer has told them."""
        told = session.get("logins", {})
        ids = [one.connection_id for one in broker.connections_of(session["person"])]
        return {
            connection_id: told[connection_id] for connection_id in ids if connection_id in told
        }


def grouped(faults: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the sandbox's faults under the headings they are chosen by."""
    heading = {name: title for title, names in GROUPS.items() for name in names}
    groups: dict[str, list[dict[str, Any]]] = {title: [] for title in (*GROUPS, REST)}
    for fault in faults:
        groups[heading.get(fault["fault"], REST)].append(fault)
    return groups


def read_fault(form: Mapping[str, str], on: list[str]) -> dict[str, Any]:
    """Return what to arm; a field left empty is left out, as the sandbox has a default for it."""
    fault: dict[str, Any] = {"fault": form.get("fault", "")}
    fault |= {name: number(form[name]) for name in NUMBERS if form.get(name)}
    if login := form.get("login"):
        fault["login"] = login
    if on:
        fault["on"] = on
    return fault


def number(text: str) -> float | str:
    """Return the number a field holds; anything else as it is, for the sandbox to refuse."""
    if re.fullmatch(r"-?\d{1,9}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d{1,9}\.\d{1,9}", text) else text
