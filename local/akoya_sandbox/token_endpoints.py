"""The endpoints for the app alone: token and revoke."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from . import id_tokens
from .answer import Answer, json_answer
from .armed_faults import Armed
from .dialects import Situation
from .faults import Operation
from .form import Form, read_form
from .grants import Code, Grant, RefreshToken
from .registration import (
    Method,
    Refused,
    read_client_credentials,
    same,
)
from .requests_met import HasHungUp, MeetsRequests, stays

# Akoya's token endpoint takes one method per grant and refuses the other.
CLIENT_AUTHENTICATION: Mapping[str, Method] = {
    "authorization_code": "client_secret_basic",
    "refresh_token": "client_secret_post",
}


class GivesTokens(MeetsRequests):
    """Exchanges codes, refreshes and revokes."""

    def token(
        self, *, authorization: str | None, body: str, has_hung_up: HasHungUp = stays
    ) -> Answer:
        """Answer `POST /token`; `authorization` is that header, `body` the form as sent."""
        form = read_form(body)
        grant_type = form.get("grant_type")
        operation: Operation | None = None
        presented = None
        if grant_type == "authorization_code":
            operation, presented = "exchange", form.get("code")
        elif grant_type == "refresh_token":
            operation, presented = "refresh", form.get("refresh_token")
        return self._answer(
            "token",
            operation,
            presented,
            lambda armed: self._grant(authorization, form, armed),
            has_hung_up=has_hung_up,
            grant_type=grant_type,
        )

    def _grant(self, authorization: str | None, form: Form, armed: Armed) -> Answer:
        if form.repeated:
            raise Refused(Situation.PARAMETER_REPEATED)
        credentials = read_client_credentials(authorization, form)
        if not self._registration.knows(credentials):
            raise Refused(Situation.CLIENT_INVALID)
        grant_type = form.get("grant_type")
        if grant_type is None:
            raise Refused(Situation.GRANT_TYPE_MISSING)
        method = CLIENT_AUTHENTICATION.get(grant_type)
        if method is None:
            raise Refused(Situation.GRANT_TYPE_UNSUPPORTED)
        if method != credentials.method:
            raise Refused(Situation.CLIENT_INVALID, f"{grant_type} takes {method}")
        if grant_type == "authorization_code":
            return self._exchange(form, armed)
        return self._refresh(form, armed)

    def _exchange(self, form: Form, armed: Armed) -> Answer:
        code = self._redeemable(form)
        grant = self._store.link(code)
        refresh_token = None
        if armed.fault.refresh_token == "rotated":
            refresh_token = self._store.issue_refresh_token(grant)
        return self._token_set(grant, refresh_token, armed, nonce=code.request.nonce)

    def _redeemable(self, form: Form) -> Code:
        code = self._store.codes.get(form.get("code") or "")
        if code is None:
            raise Refused(Situation.CODE_DEAD, "unknown")
        if code.used:
            if self._store.settings.rules.code_reuse_revokes:
                self._store.end(code.grant, "code_reused")
                self._store.end_id_tokens(code.grant, "code_reused")
            raise Refused(Situation.CODE_DEAD, "used")
        if self._clock() >= code.expires_at:
            raise Refused(Situation.CODE_DEAD, "expired")
        if form.get("redirect_uri") != code.request.redirect_uri:
            raise Refused(Situation.REDIRECT_URI_DIFFERS)
        if not _verifies(code.request.code_challenge, form.get("code_verifier")):
            raise Refused(Situation.CODE_VERIFIER_WRONG)
        return code

    def _refresh(self, form: Form, armed: Armed) -> Answer:
        value = form.get("refresh_token")
        if value is None:
            raise Refused(Situation.REFRESH_TOKEN_MISSING)
        token = self._store.refresh_tokens.get(value)
        if token is None:
            raise Refused(Situation.REFRESH_TOKEN_DEAD, "unknown")
        if token.grant.ended is not None:
            raise Refused(Situation.REFRESH_TOKEN_DEAD, token.grant.ended)
        if token.expires_at is not None and self._clock() >= token.expires_at:
            raise Refused(Situation.REFRESH_TOKEN_DEAD, "expired")
        if token.used_at is not None:
            return self._token_set(token.grant, self._successor_again(token), armed)
        if armed.fault.refresh_token == "rotated":
            successor = self._store.issue_refresh_token(token.grant, token)
            return self._token_set(token.grant, successor, armed)
        unchanged = token if armed.fault.refresh_token == "unchanged" else None
        return self._token_set(token.grant, unchanged, armed)

    def _successor_again(self, token: RefreshToken) -> RefreshToken:
        """Return what the dialect gives for a used refresh token; raises Refused if nothing."""
        rules = self._store.settings.rules
        if token.used_at is not None and self._clock() - token.used_at < rules.reuse_window:
            if rules.reuse_within_window == "another_successor":
                return self._store.issue_refresh_token(token.grant, token)
            if token.successor is not None and token.successor.used_at is None:
                return token.successor
        if rules.reuse_after_window == "revoke_family":
            self._store.end(token.grant, "refresh_token_reused")
            self._store.end_id_tokens(token.grant, "refresh_token_reused")
        raise Refused(Situation.REFRESH_TOKEN_DEAD, "rotated")

    def _token_set(
        self,
        grant: Grant,
        refresh_token: RefreshToken | None,
        armed: Armed,
        nonce: str | None = None,
    ) -> Answer:
        """Return the one good answer: exactly the four documented members."""
        settings = self._store.settings
        claims = id_tokens.claims(
            issuer=self.issuer,
            client_id=self._registration.client_id,
            grant=grant,
            iat=int(self._clock()),
            lifetime=settings.id_token_lifetime,
            nonce=nonce,
            generation=settings.rules.generation,
            random=self._random,
        )
        id_token = self._signing_keys[-1].sign(armed.fault.claims(claims), kid=armed.fault.kid)
        self._store.add_id_token(grant, id_token, claims["exp"])
        body: dict[str, Any] = {
            "token_type": "bearer",
            "expires_in": settings.id_token_lifetime - 1,  # 86399 for a day in Akoya's samples
            "id_token": id_token,
        }
        if refresh_token is not None:
            body["refresh_token"] = refresh_token.value
        return json_answer(200, body, self._interaction())

    # -- the revoke endpoint -----------------------------------------------------------------------

    def revoke(
        self, *, authorization: str | None, body: str, has_hung_up: HasHungUp = stays
    ) -> Answer:
        """Answer `POST /revoke`; all four fields are required, an Authorization header refused."""
        form = read_form(body)
        return self._answer(
            "revoke",
            "revoke",
            form.get("token"),
            lambda _armed: self._revoke(authorization, form),
            has_hung_up=has_hung_up,
        )

    def _revoke(self, authorization: str | None, form: Form) -> Answer:
        client_id, client_secret = form.get("client_id"), form.get("client_secret")
        value, hint = form.get("token"), form.get("token_type_hint")
        if authorization is not None or form.repeated:
            raise Refused(Situation.REVOCATION_INVALID)
        if client_id is None or client_secret is None or value is None or hint is None:
            raise Refused(Situation.REVOCATION_INVALID)
        if not same(self._registration.client_id, client_id):
            raise Refused(Situation.REVOCATION_INVALID)
        if not same(self._registration.client_secret, client_secret):
            raise Refused(Situation.REVOCATION_SECRET_WRONG)
        if hint != "refresh_token":
            raise Refused(Situation.REVOCATION_HINT_UNSUPPORTED)
        token = self._store.refresh_tokens.get(value)
        if token is None:
            raise Refused(Situation.REVOCATION_INVALID, "unknown")
        if token not in token.grant.live:
            raise Refused(Situation.REVOCATION_INVALID, token.grant.ended or "rotated")
        self._store.end(token.grant, "revoked")
        self._store.end_id_tokens(token.grant, "revoked")
        return Answer(200, {"Cache-Control": "no-store", **self._interaction()})


def _verifies(challenge: str | None, verifier: str | None) -> bool:
    """Check a code_verifier (RFC 7636 4.6); one without a challenge is refused (RFC 9700 4.8)."""
    if challenge is None or verifier is None:
        return challenge is None and verifier is None
    digest = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(digest, challenge.encode())
