"""GET /callback (public): the redirect comes in, its code is exchanged once, the person goes on."""

from __future__ import annotations

from typing import Any

from token_broker.domain.secret_text import SecretText
from token_broker.runtime import bootstrap, http_api
from token_broker.use_cases import callback

broker, finishing = bootstrap.finishing()


@http_api.for_browser
def lambda_handler(event: http_api.Event, context: Any) -> http_api.Response:
    """Answer one API Gateway request."""
    query = http_api.query_parameters(event)
    response = callback.AuthorizationResponse(
        state=SecretText(query["state"]) if query.get("state") else None,
        code=http_api.code(query),
        error=query.get("error"),
        issuer=query.get("iss"),
    )
    went = callback.finish(
        broker,
        finishing,
        response=response,
        cookies=http_api.cookies(event),
        remaining=bootstrap.remaining(context),
    )
    cleared = http_api.cookie(went.cookie_name, "", max_age=0) if went.cookie_name else None
    return http_api.redirect(303, went.location(), cookie=cleared)
