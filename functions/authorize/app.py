"""POST /connections (IAM) begins; GET /start/{ticket} (public) sends the browser out."""

from __future__ import annotations

from typing import Any

from token_broker.domain import authorization
from token_broker.runtime import bootstrap, http_api
from token_broker.runtime.audit import Act, Audit
from token_broker.use_cases import authorize

broker, public_base_url = bootstrap.linking()

MEMBERS = {"subject": str, "connector": str, "return_to": str, "connection_id": str}
REQUIRED = frozenset({"subject", "connector", "return_to"})


@http_api.audited(Act.BEGIN)
def begin(event: http_api.Event, _context: Any, audit: Audit) -> http_api.Response:
    """Answer POST /connections."""
    body = http_api.json_body(event, known=MEMBERS, required=REQUIRED)
    audit.subject, audit.connection_id = body["subject"], http_api.id_in(body, "connection_id")
    begun = authorize.begin(
        broker,
        subject=body["subject"],
        connector=body["connector"],
        return_to=body["return_to"],
        connection_id=audit.connection_id,
        base_url=http_api.base_url(event, public_base_url),
    )
    audit.connection_id = begun.connection_id
    return http_api.answer(
        201,
        {
            "connection_id": begun.connection_id,
            "start_url": begun.start_url,
            "expires_at": begun.expires_at,
        },
    )


@http_api.for_browser
def start(event: http_api.Event, _context: Any) -> http_api.Response:
    """Answer GET /start/{ticket}."""
    ticket = (event.get("pathParameters") or {}).get("ticket", "")
    opening = authorize.start(broker, ticket=ticket)
    cookie = http_api.cookie(
        opening.cookie_name, opening.cookie.reveal(), max_age=authorization.LIFE
    )
    return http_api.redirect(302, opening.authorization_url, cookie=cookie)


def lambda_handler(event: http_api.Event, context: Any) -> http_api.Response:
    """Answer one API Gateway request."""
    return (begin if event["resource"] == "/connections" else start)(event, context)
