"""The shapes of HTTP: what a request must look like, and which answer belongs to which error.

Backends get JSON in OAuth's own form; a person's browser gets a plain page that says what to do.
Nothing of a request is ever echoed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from token_broker.domain.connection import Connection, Page, Place
from token_broker.domain.errors import (
    AlreadyConnected,
    BrokerMisconfigured,
    ConfirmationInvalid,
    ConnectionGone,
    ConnectionNotFound,
    NotConfirmed,
    OutcomeTold,
    ReauthorizationRequired,
    RefreshInProgress,
    RequestRejected,
    StaleGeneration,
    TicketInvalid,
    TokenBrokerError,
    TooManyAttempts,
    UpstreamUnavailable,
)
from token_broker.domain.names import SUBJECT
from token_broker.domain.secret_text import SecretText
from token_broker.runtime.audit import DONE, Act, Audit
from token_broker.runtime.observability import of_request, publish_metrics, record_failure
from token_broker.store.reading import MOST_LISTED

Event = Mapping[str, Any]
Response = dict[str, Any]
Handler = Callable[[Event, Any], Response]

LARGEST_BODY = 8_192
LONGEST_PARAMETER = 2_048
LARGEST_NUMBER = 10**12  # seconds and generations alike; a table's numbers end somewhere, too
MOST_PARAMETERS = 20
CONNECTION_ID = re.compile(r"[0-9a-f]{32}")
CURSOR = re.compile(r"([0-9]{1,12})-([0-9a-f]{32})")
LIMIT = re.compile(r"[0-9]{1,3}")
CODE = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A.11

# The first class that fits counts.
STATUS_CODES: tuple[tuple[type[TokenBrokerError], int], ...] = (
    (ConnectionNotFound, 404),
    (TicketInvalid, 404),
    (TooManyAttempts, 429),
    (NotConfirmed, 409),
    (AlreadyConnected, 409),
    (ConfirmationInvalid, 403),
    (ConnectionGone, 410),
    (RequestRejected, 400),
    (ReauthorizationRequired, 409),
    (BrokerMisconfigured, 500),
    (UpstreamUnavailable, 503),
    (RefreshInProgress, 503),
    (StaleGeneration, 409),
)

# A code, state or ticket in the address must not travel on, and nothing here is ever cacheable.
PRIVATE = {
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=31536000",
}
PAGE_POLICY = "default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'"


def status_code(error: TokenBrokerError) -> int:
    """Return the HTTP status that belongs to an error."""
    return next((code for kind, code in STATUS_CODES if isinstance(error, kind)), 500)


# ── requests ─────────────────────────────────────────────────────────────────────────────────────


def json_body(
    event: Event, *, known: Mapping[str, type], required: frozenset[str]
) -> dict[str, Any]:
    """Return the members of a JSON object body; raise RequestRejected saying which one is wrong."""
    text = event.get("body") or "{}"
    if event.get("isBase64Encoded") or len(text) > LARGEST_BODY:
        raise RequestRejected(f"The body must be JSON text of at most {LARGEST_BODY} bytes.")
    try:
        content = json.loads(text, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        raise RequestRejected("The body is not valid JSON, or repeats a member.") from None
    if not isinstance(content, dict):
        raise RequestRejected("The body must be a JSON object.")
    if content.keys() - known.keys():
        raise RequestRejected(f"The body may have only these members: {', '.join(sorted(known))}.")
    if missing := required - content.keys():
        raise RequestRejected(f"The body lacks: {', '.join(sorted(missing))}.")
    for name, value in content.items():
        if type(value) is not known[name]:
            raise RequestRejected(f"{name} must be {NOUNS[known[name]]}.")
        if isinstance(value, str):
            _ensure_printable(name, value)
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise RequestRejected(f"{name} is beyond any use.")
    return content


NOUNS = {str: "a string", int: "a whole number"}


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; of a repeated member nobody could say which one counts (RFC 8259 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated member")
    return found


def _ensure_printable(name: str, text: str) -> None:
    """Refuse what no name or address holds: control characters, half a surrogate pair."""
    if len(text) > LONGEST_PARAMETER or not text.isprintable():
        raise RequestRejected(
            f"{name} must be printable text of at most {LONGEST_PARAMETER} characters."
        )


def id_in(body: Mapping[str, Any], name: str) -> str | None:
    """Return the connection id a body names, if any; an impossible one is simply not found."""
    found = body.get(name)
    if found is not None and not CONNECTION_ID.fullmatch(found):
        raise ConnectionNotFound
    return found


def code(query: Mapping[str, str]) -> SecretText | None:
    """Return the authorization code, if there is one; raises RequestRejected."""
    found = query.get("code")
    if found and not CODE.fullmatch(found):
        raise RequestRejected("The bank's answer carries a code that cannot be one.")
    return SecretText(found) if found else None


def subject(query: Mapping[str, str]) -> str:
    """Return whose connections are asked for; raises RequestRejected if nobody can be called so."""
    found = query.get("subject", "")
    if not SUBJECT.fullmatch(found):
        raise RequestRejected("Say whose connections: ?subject=, up to 128 printable characters.")
    return found


def paging(query: Mapping[str, str]) -> dict[str, Any]:
    """Return how many connections a page may hold, and behind which; raises RequestRejected."""
    limit, cursor = query.get("limit", str(MOST_LISTED)), query.get("cursor")
    if not (LIMIT.fullmatch(limit) and 1 <= int(limit) <= MOST_LISTED):
        raise RequestRejected(f"limit must be a whole number from 1 to {MOST_LISTED}.")
    if cursor is None:
        return {"limit": int(limit), "after": None}
    if not (place := CURSOR.fullmatch(cursor)):
        raise RequestRejected("cursor must be the next of an answer to this same list.")
    return {"limit": int(limit), "after": Place(int(place[1]), place[2])}


def query_parameters(event: Event) -> dict[str, str]:
    """Return the query; RequestRejected if one repeats or is too long (RFC 6749 3.1)."""
    many = event.get("multiValueQueryStringParameters") or {}
    if len(many) > MOST_PARAMETERS:
        raise RequestRejected("The address carries too many parameters.")
    for values in many.values():
        if len(values) != 1:
            raise RequestRejected("A parameter of the address is repeated.")
        if len(values[0]) > LONGEST_PARAMETER:
            raise RequestRejected("A parameter of the address is too long.")
    return {name: values[0] for name, values in many.items()}


def cookies(event: Event) -> dict[str, SecretText]:
    """Return the request's cookies (RFC 6265 section 5.4); the first of a name counts."""
    headers = event.get("multiValueHeaders") or {}
    lines: list[str] = next(
        (values for name, values in headers.items() if name.lower() == "cookie"), []
    )
    found: dict[str, SecretText] = {}
    for pair in ";".join(lines).split(";"):
        name, separator, value = pair.strip().partition("=")
        if separator and value and value.isascii() and name not in found:
            found[name] = SecretText(value)
    return found


def connection_id(event: Event) -> str:
    """Return the id in the path; an impossible one is simply not found."""
    found = _possible_id(event)
    if found is None:
        raise ConnectionNotFound
    return found


def _possible_id(event: Event) -> str | None:
    found = (event.get("pathParameters") or {}).get("id") or ""
    return str(found) if CONNECTION_ID.fullmatch(found) else None


def named_subject(given: str | None, *, required: bool) -> str | None:
    """Return for whom the caller asks; RequestRejected if it must say so and does not."""
    if given is None and required:
        raise RequestRejected("Say whose connection it is: this stack requires subject.")
    return given


def query_subject(event: Event, *, required: bool) -> str | None:
    """Return for whom the caller asks in the address, as `named_subject` does."""
    return named_subject(query_parameters(event).get("subject"), required=required)


def base_url(event: Event, public_base_url: str) -> str:
    """Return the broker's own public address: as configured, else the API's own.

    From the request context, which API Gateway sets; never from the Host header.
    """
    if public_base_url:
        return public_base_url
    context = event["requestContext"]
    if not context.get("domainName"):
        raise BrokerMisconfigured(detail="the API's address is unknown: set PublicBaseUrl")
    prefix = context["path"].removesuffix(event["resource"])
    return f"https://{context['domainName']}{prefix}"


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


def answer(status: int, content: Mapping[str, Any], **headers: str) -> Response:
    """Return a JSON answer."""
    return {
        "statusCode": status,
        "headers": {**PRIVATE, "Content-Type": "application/json", **headers},
        "body": json.dumps(content),
    }


def redirect(status: int, location: str, *, cookie: str | None = None) -> Response:
    """Return a redirect; 303 after the code, so that nothing is posted on (RFC 9700 4.12)."""
    response: Response = {"statusCode": status, "headers": {**PRIVATE, "Location": location}}
    if cookie:
        response["multiValueHeaders"] = {"Set-Cookie": [cookie]}
    return response


def cookie(name: str, value: str, *, max_age: int) -> str:
    """Return a Set-Cookie value that this host alone gets back, over https; 0 seconds remove it."""
    return f"{name}={value}; Max-Age={max_age}; Path=/; Secure; HttpOnly; SameSite=Lax"


def view(connection: Connection) -> dict[str, Any]:
    """Return what a backend may know of a connection; times are seconds since the epoch."""
    shown = {
        "connection_id": connection.id,
        "subject": connection.subject,
        "connector": connection.connector,
        "status": connection.status.value,
        "reason": connection.reason,
        "superseded_by": connection.superseded_by,
        "health": "degraded" if connection.degraded else "ok",
        "degraded": connection.degraded,
        "generation": connection.generation,
        "grant_id": connection.grant_id,
        "interaction_id": connection.interaction_id,
        "accounts": connection.terms and connection.terms.accounts,
        "products": connection.terms and connection.terms.products,
        "terms_since": connection.terms and connection.terms.since,
        "expires_at": connection.expires_at,
        "due_at": connection.due_at,
        "linked_at": connection.linked_at,
        "asked_at": connection.asked_at,
        "updated_at": connection.updated_at,
        "last_event": connection.last_event,
    }
    return {name: value for name, value in shown.items() if value is not None}


def page(found: Page) -> dict[str, Any]:
    """Return a page of a list, and what names the next one, which says nothing of a person."""
    last, shown = found.last, [view(one) for one in found.connections]
    return {"connections": shown} | ({"next": f"{last.linked_at}-{last.id}"} if last else {})


def for_backend(handle: Handler) -> Handler:
    """Answer a backend's request; every error becomes its JSON answer."""
    return lambda event, context: _answered(event, lambda: handle(event, context), _error_answer)[0]


def audited(act: Act) -> Callable[[Callable[[Event, Any, Audit], Response]], Handler]:
    """Answer a backend's request as `for_backend` does, and write its audit line before."""

    def decorate(handle: Callable[[Event, Any, Audit], Response]) -> Handler:
        def handler(event: Event, context: Any) -> Response:
            audit = Audit.of(act, event)
            audit.connection_id = _possible_id(event)
            response, outcome = _answered(
                event, lambda: handle(event, context, audit), _error_answer
            )
            audit.write(outcome)  # nothing leaves before it
            return response

        return handler

    return decorate


def for_browser(handle: Handler) -> Handler:
    """Answer a person's browser; every error becomes a page that says what to do."""
    return lambda event, context: _answered(event, lambda: handle(event, context), _error_page)[0]


def _answered(
    event: Event,
    answer_it: Callable[[], Response],
    failed: Callable[[TokenBrokerError], Response],
) -> tuple[Response, str]:
    """Return the answer and how it ended: `ok` or the error's code."""
    of_request(event["requestContext"].get("requestId"))
    try:
        return answer_it(), DONE
    except TokenBrokerError as exc:
        record_failure(exc, connection_id=_possible_id(event))
        return failed(exc), exc.error
    except Exception as exc:  # noqa: BLE001 - nothing of it may reach caller or Lambda's log
        record_failure(exc, connection_id=_possible_id(event))
        return failed(TokenBrokerError()), TokenBrokerError.error
    finally:
        publish_metrics()


def _retry_after(error: TokenBrokerError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after)} if error.retry_after else {}


def _error_answer(error: TokenBrokerError) -> Response:
    content = {"error": error.error, "error_description": error.description}
    if isinstance(error, AlreadyConnected):
        content["connection_id"] = error.connection_id
    return answer(status_code(error), content, **_retry_after(error))


STYLE = (
    "body{font:1.125rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem;"
    "color:#1b1f24;background:#fff}h1{font-size:1.5rem;line-height:1.25}p{overflow-wrap:anywhere}"
    "small{color:#57606a}"
)
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">{refresh}'
    "<title>{title}</title><style>{style}</style>"
    "<main><h1>{title}</h1><p>{text}</p>{way_back}<p><small>Error: {error}</small></p></main>"
    "</html>"
)
TITLES: tuple[tuple[type[TokenBrokerError], str], ...] = (
    (OutcomeTold, "Nothing is left to do here"),
    (UpstreamUnavailable, "One moment, please"),
    (RefreshInProgress, "One moment, please"),
    (TokenBrokerError, "The connection was not completed"),
)


def _error_page(error: TokenBrokerError) -> Response:
    status = status_code(error)
    passing = status == 503  # noqa: PLR2004 - the one a reload can mend
    body = PAGE.format(
        title=next(title for kind, title in TITLES if isinstance(error, kind)),
        text=html.escape(error.description),
        error=html.escape(error.error),
        style=STYLE,
        way_back=f'<p><a href="{html.escape(error.way_back)}">Go back to the app</a></p>'
        if error.way_back
        else "",
        refresh=f'<meta http-equiv="refresh" content="{error.retry_after}">' if passing else "",
    )
    headers = {
        **PRIVATE,
        **_retry_after(error),
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": PAGE_POLICY.format(style=STYLE_HASH),
    }
    return {"statusCode": status, "headers": headers, "body": body}
