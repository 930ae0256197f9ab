"""Whether a code was issued to the browser that brings it: by its nonce, or by PKCE.

Whoever brings a code of their own, or a stolen one, into another person's browser must not link its
bank login to that person (RFC 9700 section 4.5).
"""

from __future__ import annotations

from token_broker.domain import authorization
from token_broker.domain.authorization import CodeBinding, StoredOpening
from token_broker.domain.connection import Connection
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet
from token_broker.use_cases.broker import Broker


def is_foreign(broker: Broker, tokens: TokenSet, *, cookie: SecretText) -> bool:
    """Return whether the code was issued to another browser: the mark of an injected one."""
    return _nonce_in(broker, tokens) not in (None, authorization.nonce(cookie))


def is_bound(
    broker: Broker,
    tokens: TokenSet,
    *,
    code_binding: CodeBinding,
    opening: StoredOpening,
    cookie: SecretText,
) -> bool:
    """Return whether the code is known to be issued to this browser, or nobody has to know."""
    if _nonce_in(broker, tokens) is not None:
        return not is_foreign(broker, tokens, cookie=cookie)
    match code_binding:
        case CodeBinding.NONCE:
            return False
        case CodeBinding.PKCE:
            return opening.sent_pkce
        case CodeBinding.UNBOUND:
            return True


def report_unbound(broker: Broker, landed: Connection) -> None:
    """Tell the operator, once, that a new link failed and what would have to be known."""
    broker.record("code_unbound", connection_id=landed.id, connector=landed.connector)
    broker.record(
        "broker_misconfigured",
        connection_id=landed.id,
        detail="Akoya did not repeat the nonce, so nothing shows that the code was issued to this "
        "browser; accepting it would let anybody link a bank login of their own, or a stolen "
        "code, to another person. If Akoya enforces PKCE, set the parameter CodeBinding to pkce "
        "(README: deploy, first connect)",
    )


def _nonce_in(broker: Broker, tokens: TokenSet) -> str | None:
    claims = broker.id_tokens.claims(tokens.id_token)
    return claims.nonce if claims else None
