"""List, show, confirm and disconnect connections (IAM); this function's role cannot decrypt."""

from __future__ import annotations

from typing import Any

from token_broker.domain.secret_text import SecretText
from token_broker.runtime import bootstrap, http_api
from token_broker.runtime.audit import Act, Audit
from token_broker.runtime.observability import record
from token_broker.use_cases import connections

CONFIRM = {"subject": str, "confirmation": str}
table, policy, require_subject = bootstrap.connections_admin()
ports = (table, policy, bootstrap.clock, record)


@http_api.for_backend
def list_connections(event: http_api.Event, _context: Any) -> http_api.Response:
    """Answer GET /connections?subject=[&limit=][&cursor=]."""
    query = http_api.query_parameters(event)
    page = connections.of_subject(table, subject=http_api.subject(query), **http_api.paging(query))
    return http_api.answer(200, http_api.page(page))


@http_api.for_backend
def show(event: http_api.Event, _context: Any) -> http_api.Response:
    """Answer GET /connections/{id}?subject=."""
    subject = http_api.query_subject(event, required=require_subject)
    found = connections.show(table, connection_id=http_api.connection_id(event), subject=subject)
    return http_api.answer(200, http_api.view(found))


@http_api.audited(Act.CONFIRM)
def confirm(event: http_api.Event, _context: Any, audit: Audit) -> http_api.Response:
    """Answer POST /connections/{id}/confirm."""
    body = http_api.json_body(event, known=CONFIRM, required=frozenset(CONFIRM))
    audit.subject = body["subject"]
    confirmed = connections.confirm(
        *ports,
        connection_id=http_api.connection_id(event),
        subject=body["subject"],
        confirmation=SecretText(body["confirmation"] or "-"),
    )
    return http_api.answer(200, http_api.view(confirmed))


@http_api.audited(Act.DISCONNECT)
def disconnect(event: http_api.Event, _context: Any, audit: Audit) -> http_api.Response:
    """Answer DELETE /connections/{id}?subject=."""
    connection_id = http_api.connection_id(event)
    audit.subject = subject = http_api.query_subject(event, required=require_subject)
    asked = connections.disconnect(
        table, bootstrap.clock, record, connection_id=connection_id, subject=subject
    )
    audit.subject = asked.subject
    return http_api.answer(202, http_api.view(asked))


ROUTES = {
    ("GET", "/connections"): list_connections,
    ("GET", "/connections/{id}"): show,
    ("POST", "/connections/{id}/confirm"): confirm,
    ("DELETE", "/connections/{id}"): disconnect,
}


def lambda_handler(event: http_api.Event, context: Any) -> http_api.Response:
    """Answer one API Gateway request."""
    return ROUTES[event["httpMethod"], event["resource"]](event, context)
