"""POST /connections/{id}/token (IAM): hand out the bearer."""

from __future__ import annotations

from typing import Any

from token_broker.domain.errors import RequestRejected
from token_broker.runtime import bootstrap, http_api
from token_broker.runtime.audit import Act, Audit
from token_broker.use_cases import token

broker, require_subject = bootstrap.handing_out()

NUMBERS = {"min_validity": int, "rejected": int, "next_use": int}
MEMBERS = {"subject": str, **NUMBERS}


@http_api.audited(Act.HAND_OUT)
def lambda_handler(event: http_api.Event, context: Any, audit: Audit) -> http_api.Response:
    """Answer one API Gateway request."""
    connection_id = http_api.connection_id(event)
    body = http_api.json_body(event, known=MEMBERS, required=frozenset())
    audit.subject = body.get("subject")
    for name in NUMBERS.keys() & body.keys():
        if body[name] < 0:
            raise RequestRejected(f"{name} must not be negative.")
    bearer = token.hand_out(
        broker,
        connection_id=connection_id,
        subject=http_api.named_subject(body.get("subject"), required=require_subject),
        min_validity=body.get("min_validity"),
        rejected=body.get("rejected"),
        next_use=body.get("next_use"),
        remaining=bootstrap.remaining(context),
    )
    audit.subject, audit.generation = bearer.subject, bearer.generation
    return http_api.answer(
        200,
        {
            "token_type": "Bearer",
            "id_token": bearer.id_token.reveal(),
            "expires_at": bearer.expires_at,
            "generation": bearer.generation,
            "connector": bearer.connector,
        },
    )
