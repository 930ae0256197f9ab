"""Import: bring in the connections a backend already holds, from one JSON object a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from operations import transfer
from operations.many import Entry, for_each
from token_broker.domain.errors import (
    RequestRejected,
    StaleGeneration,
    UpstreamUnavailable,
)
from token_broker.domain.secret_text import SecretText
from token_broker.use_cases.broker import Broker

MEMBERS = ("subject", "connector", "refresh_token", "id_token")
LONGEST_LINE = 65_536


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file: a connection, or why it is none."""

    number: int
    leased: transfer.Held | None = None
    refusal: str | None = None
    login: str = ""
    iat: int = 0


def read(broker: Broker, text: Iterable[str]) -> list[Line]:
    """Read all lines first; of two with one bank login only the later consent's lives at Akoya."""
    lines = [_line(broker, number, one) for number, one in enumerate(text, 1) if one.strip()]
    latest = {line.login: line.number for line in sorted(lines, key=lambda line: line.iat)}
    return [
        line
        if line.leased is None or latest[line.login] == line.number
        else Line(line.number, refusal="another line has a later consent to the same bank login")
        for line in lines
    ]


def _line(broker: Broker, number: int, text: str) -> Line:
    try:
        content = json.loads(text) if len(text) <= LONGEST_LINE else None
    except (ValueError, RecursionError):
        content = None
    given = content if isinstance(content, dict) else {}
    if not all(isinstance(given.get(name), str) and given[name] for name in MEMBERS):
        refusal = f"a line is a JSON object with the texts {', '.join(MEMBERS)}"
        return Line(number, refusal=refusal)
    leased = transfer.Held(
        subject=given["subject"],
        connector=given["connector"],
        refresh_token=SecretText(given["refresh_token"]),
        id_token=SecretText(given["id_token"]),
    )
    try:
        login, iat = transfer.login_in(broker, leased)
    except RequestRejected as exc:
        return Line(number, refusal=exc.description)
    return Line(number, leased, login=login, iat=iat)


def bring_in(
    broker: Broker, lines: list[Line], *, dry_run: bool, report: Callable[[Entry], None]
) -> Counter[str]:
    """Bring in what is not here yet; running it again goes on where it stopped."""

    def act(line: Line) -> Entry:
        if line.leased is None:
            return {"line": line.number, "outcome": "refused", "reason": line.refusal}
        entry: Entry = {
            "line": line.number,
            "subject": line.leased.subject,
            "connector": line.leased.connector,
        }
        try:
            arrival = transfer.bring_in(broker, line.leased, dry_run=dry_run)
        except RequestRejected as exc:
            return entry | {"outcome": "refused", "reason": exc.description}
        except (StaleGeneration, UpstreamUnavailable) as exc:
            reason = f"{exc.detail or exc.error}: run the command again"
            return entry | {"outcome": "failed", "reason": reason}
        outcome = "imported" if arrival.is_new else "present"
        if dry_run and arrival.is_new:
            outcome = "would_be_imported"
        return entry | {"outcome": outcome, "connection_id": arrival.connection_id}

    return for_each(lines, act, report=report, total=len(lines))
