"""The identity provider and data API in one process, without any web framework.

Time, randomness and waiting come from outside, so that a test may own them. Every public method
may be called from many threads.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
import uuid
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from local.akoya_sandbox import data_api, id_tokens
from local.akoya_sandbox.answer import Answer, json_answer
from local.akoya_sandbox.authorization import (
    AuthorizationRequest,
    ShownAsPage,
    read_authorization_request,
    redirect_back,
)
from local.akoya_sandbox.dialects import Situation
from local.akoya_sandbox.form import Form, read_form
from local.akoya_sandbox.grants import Code, Grant, IdToken, PendingAuthorization, RefreshToken
from local.akoya_sandbox.id_tokens import SigningKey, shared_signing_key
from local.akoya_sandbox.ledger import Ledger, Request, fingerprint
from local.akoya_sandbox.people import sign_in
from local.akoya_sandbox.registration import (
    Method,
    Refused,
    Registration,
    read_client_credentials,
    same,
)
from local.akoya_sandbox.settings import Settings

CODE_LIFETIME = 300  # seconds; "valid for five minutes" (Akoya, "Token overview")
SIGN_IN_LIFETIME = 900  # seconds a person may take between the authorization request and consent

# Akoya's token endpoint takes one method per grant and refuses the other.
CLIENT_AUTHENTICATION: Mapping[str, Method] = {
    "authorization_code": "client_secret_basic",
    "refresh_token": "client_secret_post",
}

CONNECTORS: Mapping[str, str] = {"mikomo": "Mikomo bank"}

Expiry = Literal["id_tokens", "refresh_token", "consent", "data_access"]
EXPIRIES: tuple[Expiry, ...] = get_args(Expiry)


class AccountMissingError(ValueError):
    """Consent was given to no account of the person's."""


class AkoyaProvider:
    """Akoya as seen by one registered app.

    `clock` gives seconds since 1970, `random` that many bytes, `wait` pauses for seconds.
    """

    def __init__(
        self,
        *,
        issuer: str,
        registration: Registration,
        connectors: Mapping[str, str] = CONNECTORS,
        settings: Settings | None = None,
        signing_key: SigningKey | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.issuer = issuer
        self.connectors = connectors
        self._clock = clock
        self._random = random
        self._wait = wait
        self._signing_keys = [signing_key or shared_signing_key()]
        self._at_start = (registration, settings or Settings())
        self._mutex = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._registration, self._settings = self._at_start
        self._ledger = Ledger(self._clock)
        self._pending: dict[str, PendingAuthorization] = {}
        self._grants: dict[str, list[Grant]] = {}
        self._codes: dict[str, Code] = {}
        self._refresh_tokens: dict[str, RefreshToken] = {}
        self._id_tokens: dict[str, IdToken] = {}

    # -- the person's way: authorization request, sign-in, consent ------------------------------

    def begin(self, query: str) -> PendingAuthorization:
        """Answer `GET /auth`: a person who must now sign in; raises ShownAsPage or SentBack."""
        with self._mutex:
            request = read_authorization_request(
                query,
                registration=self._registration,
                connectors=self.connectors,
                dialect=self._settings.rules,
            )
            pending = PendingAuthorization(
                id=self._token(16), request=request, expires_at=self._clock() + SIGN_IN_LIFETIME
            )
            self._pending[pending.id] = pending
            return pending

    def pending(self, pending_id: str) -> PendingAuthorization:
        """Return where a person is; raises ShownAsPage when it is over or was never begun."""
        with self._mutex:
            return self._still_pending(pending_id)

    def sign_in(self, pending_id: str, user_name: str, password: str) -> bool:
        """Sign a person in at the bank; says whether user name and password were right."""
        with self._mutex:
            pending = self._still_pending(pending_id)
            login = sign_in(self.connectors, pending.request.connector, user_name, password)
            if login is None:
                return False
            pending.login = login
            pending.auth_time = int(self._clock())
            return True

    def decline(self, pending_id: str, description: str) -> str:
        """End without consent; returns the address that tells the app `access_denied`."""
        with self._mutex:
            pending = self._still_pending(pending_id)
            pending.done = True
            self._ledger.record(
                "consent.declined", login=pending.login.id if pending.login else None
            )
            return pending.request.with_error("access_denied", description)

    def allow(self, pending_id: str, account_ids: Collection[str]) -> str:
        """Give consent to some accounts; returns the address that takes the code to the app.

        Raises AccountMissingError when none of `account_ids` is the person's.
        """
        with self._mutex:
            pending = self._still_pending(pending_id)
            login = pending.login
            if login is None:
                raise ShownAsPage(400, "Not signed in", "Sign in at the bank first.")
            chosen = tuple(a.account_id for a in login.accounts if a.account_id in account_ids)
            if not chosen:
                raise AccountMissingError("choose at least one account")
            pending.done = True
            grant = Grant(
                id=str(uuid.UUID(bytes=self._random(16), version=4)),
                login=login,
                account_ids=chosen,
                scope=pending.request.scope,
                auth_time=pending.auth_time,
            )
            self._grants.setdefault(login.id, []).append(grant)
            self._record("consent.given", grant)
            return self._with_code(grant, pending.request)

    def _still_pending(self, pending_id: str) -> PendingAuthorization:
        pending = self._pending.get(pending_id)
        if pending is None or pending.done or self._clock() >= pending.expires_at:
            raise ShownAsPage(
                400,
                "This page is no longer in use",
                "It was answered already or has expired. Go back to your app and start again.",
            )
        return pending

    def _with_code(self, grant: Grant, request: AuthorizationRequest) -> str:
        code = Code(
            value=self._new_code(),
            grant=grant,
            request=request,
            expires_at=self._clock() + CODE_LIFETIME,
        )
        self._codes[code.value] = code
        self._record("code.issued", grant, fingerprint=fingerprint(code.value))
        parameters = {"code": code.value, "state": request.state}
        if self._settings.rules.generation == 2:  # noqa: PLR2004
            parameters["scope"] = " ".join(grant.scope)
        return redirect_back(request.redirect_uri, **parameters)

    # -- the token endpoint --------------------------------------------------------------------

    def token(self, *, authorization: str | None, body: str) -> Answer:
        """Answer `POST /token`; `authorization` is that header, `body` the form as sent."""
        form = read_form(body)
        grant_type = form.get("grant_type")
        presented = form.get("code") if grant_type == "authorization_code" else None
        if grant_type == "refresh_token":
            presented = form.get("refresh_token")
        return self._answer(
            "token",
            grant_type,
            presented,
            lambda request: self._grant(authorization, form, request),
        )

    def _grant(self, authorization: str | None, form: Form, request: Request) -> Answer:
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
            return self._exchange(form, request)
        return self._refresh(form, request)

    def _exchange(self, form: Form, request: Request) -> Answer:
        code = self._redeemable(form)
        code.used = True
        grant = code.grant
        self._record("code.redeemed", grant, fingerprint=fingerprint(code.value), request=request)
        if self._settings.rules.relink_replaces:
            for older in self._linked(grant.login.id):
                self._end(older, "replaced", request)
                if self._settings.id_token_after_rotation == "revoked":
                    self._end_id_tokens(older, "replaced", request)
        grant.linked_at = self._clock()
        refresh_token = None
        if "offline_access" in grant.scope:
            refresh_token = self._new_refresh_token(grant, None, request)
        return self._token_set(grant, refresh_token, request, nonce=code.request.nonce)

    def _redeemable(self, form: Form) -> Code:
        code = self._codes.get(form.get("code") or "")
        if code is None:
            raise Refused(Situation.CODE_DEAD, "unknown")
        if code.used:
            if self._settings.rules.code_reuse_revokes:
                self._end(code.grant, "code_reused")
                self._end_id_tokens(code.grant, "code_reused")
            raise Refused(Situation.CODE_DEAD, "used")
        if self._clock() >= code.expires_at:
            raise Refused(Situation.CODE_DEAD, "expired")
        if form.get("redirect_uri") != code.request.redirect_uri:
            raise Refused(Situation.REDIRECT_URI_DIFFERS)
        if not _verifies(code.request.code_challenge, form.get("code_verifier")):
            raise Refused(Situation.CODE_VERIFIER_WRONG)
        return code

    def _refresh(self, form: Form, request: Request) -> Answer:
        value = form.get("refresh_token")
        if value is None:
            raise Refused(Situation.REFRESH_TOKEN_MISSING)
        token = self._refresh_tokens.get(value)
        if token is None:
            raise Refused(Situation.REFRESH_TOKEN_DEAD, "unknown")
        grant = token.grant
        if grant.ended is not None:
            raise Refused(Situation.REFRESH_TOKEN_DEAD, grant.ended)
        if token.expires_at is not None and self._clock() >= token.expires_at:
            raise Refused(Situation.REFRESH_TOKEN_DEAD, "expired")
        if token.used_at is None:
            return self._token_set(grant, self._rotate(token, request), request)
        return self._used_again(token, request)

    def _used_again(self, token: RefreshToken, request: Request) -> Answer:
        """Treat a refresh token that was rotated before as the dialect does."""
        rules = self._settings.rules
        assert token.used_at is not None  # noqa: S101 - for the type checker
        if self._clock() - token.used_at < rules.reuse_window:
            if rules.reuse_within_window == "another_successor":
                return self._token_set(token.grant, self._rotate(token, request), request)
            if token.successor in token.grant.live:
                return self._token_set(token.grant, token.successor, request)
        if rules.reuse_after_window == "revoke_family":
            self._end(token.grant, "refresh_token_reused", request)
            self._end_id_tokens(token.grant, "refresh_token_reused", request)
        raise Refused(Situation.REFRESH_TOKEN_DEAD, "rotated")

    def _rotate(self, token: RefreshToken, request: Request) -> RefreshToken:
        successor = self._new_refresh_token(token.grant, token, request)
        if token.used_at is None:
            token.used_at = self._clock()
            token.grant.live.remove(token)
        token.successor = successor
        self._record(
            "refresh_token.rotated",
            token.grant,
            fingerprint=fingerprint(token.value),
            number=token.number,
            successor=fingerprint(successor.value),
            request=request,
        )
        return successor

    def _new_refresh_token(
        self, grant: Grant, predecessor: RefreshToken | None, request: Request
    ) -> RefreshToken:
        assert grant.linked_at is not None  # noqa: S101 - for the type checker
        lifetime = self._settings.refresh_token_lifetime
        rolling = self._settings.refresh_token_expiry == "rolling"
        token = RefreshToken(
            value=self._new_refresh_token_value(),
            grant=grant,
            number=predecessor.number + 1 if predecessor else 1,
            expires_at=None
            if lifetime is None
            else (self._clock() if rolling else grant.linked_at) + lifetime,
        )
        self._refresh_tokens[token.value] = token
        grant.live.append(token)
        self._record(
            "refresh_token.issued",
            grant,
            fingerprint=fingerprint(token.value),
            number=token.number,
            predecessor=fingerprint(predecessor.value) if predecessor else None,
            request=request,
        )
        return token

    def _token_set(
        self,
        grant: Grant,
        refresh_token: RefreshToken | None,
        request: Request,
        nonce: str | None = None,
    ) -> Answer:
        """Return the one good answer: exactly the four documented members."""
        if self._settings.id_token_after_rotation == "revoked":
            self._end_id_tokens(grant, "rotated", request)
        lifetime = self._settings.id_token_lifetime
        iat = int(self._clock())
        claims = id_tokens.claims(
            issuer=self.issuer,
            client_id=self._registration.client_id,
            login=grant.login,
            grant_id=grant.id,
            account_ids=grant.account_ids,
            auth_time=grant.auth_time,
            iat=iat,
            lifetime=lifetime,
            nonce=nonce,
            generation=self._settings.rules.generation,
            random=self._random,
        )
        id_token = self._signing_keys[-1].sign(claims)
        grant.id_tokens += 1
        self._id_tokens[id_token] = IdToken(grant, grant.id_tokens, iat + lifetime)
        self._record(
            "id_token.issued",
            grant,
            fingerprint=fingerprint(id_token),
            number=grant.id_tokens,
            request=request,
        )
        body: dict[str, Any] = {
            "token_type": "bearer",
            "expires_in": lifetime - 1,  # 86399 for a day in Akoya's samples
            "id_token": id_token,
        }
        if refresh_token is not None:
            body["refresh_token"] = refresh_token.value
        return json_answer(200, body, self._interaction())

    # -- the revoke endpoint -------------------------------------------------------------------

    def revoke(self, *, authorization: str | None, body: str) -> Answer:
        """Answer `POST /revoke`; all four fields are required, an Authorization header refused."""
        form = read_form(body)
        return self._answer(
            "revoke",
            None,
            form.get("token"),
            lambda request: self._revoke(authorization, form, request),
        )

    def _revoke(self, authorization: str | None, form: Form, request: Request) -> Answer:
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
        token = self._refresh_tokens.get(value)
        if token is None:
            raise Refused(Situation.REVOCATION_INVALID, "unknown")
        if token not in token.grant.live:
            raise Refused(Situation.REVOCATION_INVALID, token.grant.ended or "rotated")
        self._end(token.grant, "revoked", request)
        self._end_id_tokens(token.grant, "revoked", request)
        return Answer(200, {"Cache-Control": "no-store", **self._interaction()})

    # -- the data API --------------------------------------------------------------------------

    def data(
        self,
        *,
        product: str,
        connector: str,
        authorization: str | None,
        interaction_id: str | None = None,
    ) -> Answer:
        """Answer `GET /{product}/v3/{connector}` for products accounts-info and balances."""
        scheme, _, bearer = (authorization or "").partition(" ")
        id_token = bearer.strip() if scheme.lower() == "bearer" else ""
        return self._answer(
            "data",
            None,
            id_token or None,
            lambda _request: self._data(product, connector, id_token, interaction_id),
        )

    def _data(
        self, product: str, connector: str, id_token: str, interaction_id: str | None
    ) -> Answer:
        headers = self._interaction(interaction_id)
        known = self._id_tokens.get(id_token)
        error = self._data_error(product, connector, known)
        if error is not None or known is None:
            error = error or data_api.DATA_ERRORS[602]
            return json_answer(error.status, error.body(), headers)
        accounts = known.grant.accounts
        if product == "balances":
            return json_answer(200, data_api.balances(accounts, self._clock()), headers)
        return json_answer(200, data_api.accounts_info(accounts), headers)

    def _data_error(
        self, product: str, connector: str, known: IdToken | None
    ) -> data_api.DataError | None:
        if known is None:
            return data_api.DATA_ERRORS[602]
        grant = known.grant
        if grant.ended == "consent":
            return data_api.DATA_ERRORS[601]
        expired = self._clock() >= known.expires_at
        if expired or grant.access_withdrawn or known.number <= grant.dead_id_tokens:
            return data_api.DATA_ERRORS[602]
        if product not in ("accounts-info", "balances") or connector != grant.login.connector:
            return data_api.NO_SUCH_ROUTE
        return data_api.DATA_ERRORS.get(grant.login.data_error or 0)

    # -- discovery -----------------------------------------------------------------------------

    def discovery(self) -> Mapping[str, Any]:
        """Return the OpenID provider metadata; like Akoya's it lists only client_secret_basic."""
        algorithms = sorted({key.algorithm for key in self._signing_keys})
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}auth",
            "token_endpoint": f"{self.issuer}token",
            "revocation_endpoint": f"{self.issuer}revoke",
            "jwks_uri": f"{self.issuer}keys",
            "response_types_supported": ["code"],
            "grant_types_supported": list(CLIENT_AUTHENTICATION),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "offline_access", "profile", "email"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }

    def jwks(self) -> Mapping[str, Any]:
        """Return the public keys of every id_token still in use (RFC 7517)."""
        return {"keys": [key.jwk for key in self._signing_keys]}

    # -- administration ------------------------------------------------------------------------

    def ledger(self, login: str | None = None) -> dict[str, Any]:
        """Return the ledger, whole or of one login (`<connector>/<user name>`)."""
        with self._mutex:
            return self._ledger.view(login)

    def grants(self, login: str | None = None) -> list[dict[str, Any]]:
        """Return every consent that was linked and what of it still lives, oldest first."""
        with self._mutex:
            return [_grant_view(grant) for grant in self._linked(login, ended=True)]

    @property
    def registration(self) -> Registration:
        """The app as registered now."""
        return self._registration

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    def change_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Change some settings, for what is issued from now on; raises InvalidSettingError."""
        with self._mutex:
            self._settings = self._settings.changed(changes)
            return self._settings

    def change_client_secret(self, client_secret: str) -> None:
        """Reset the app's secret: a hard cut-over, as no overlap is documented."""
        with self._mutex:
            self._registration = replace(self._registration, client_secret=client_secret)

    def change_signing_key(self) -> None:
        """Sign with a new key from now on; the older ones stay in the JWKS."""
        with self._mutex:
            self._signing_keys.append(SigningKey.generate(self._signing_keys[-1].algorithm))

    def expire(self, what: Expiry, login: str | None = None) -> int:
        """End something of one login, or of all, before its time; returns how many consents.

        `id_tokens`: those issued so far get 602 from the data API. `refresh_token`: it is refused
        from now on. `consent`: the person ended it at the bank, data calls get 601 and refreshes
        are refused. `data_access`: refreshes still work, but every data call gets 602.
        """
        with self._mutex:
            grants = list(self._linked(login, ended=what != "refresh_token"))
            for grant in grants:
                if what in ("id_tokens", "consent"):
                    self._end_id_tokens(grant, what)
                if what in ("refresh_token", "consent"):
                    self._end(grant, what)
                if what == "data_access":
                    grant.access_withdrawn = True
                    self._record("data_access.withdrawn", grant)
            return len(grants)

    def reset(self) -> None:
        """Forget everything and go back to the settings, secret and registration of the start."""
        with self._mutex:
            self._forget()

    # -- shared --------------------------------------------------------------------------------

    def _answer(
        self,
        endpoint: str,
        grant_type: str | None,
        presented: str | None,
        decide: Callable[[Request], Answer],
    ) -> Answer:
        """Open the request in the ledger, decide, close it."""
        with self._mutex:
            request = self._ledger.received(
                endpoint,
                grant_type=grant_type,
                presented=fingerprint(presented) if presented else None,
                login=self._login_of(presented),
            )
            try:
                answer = decide(request)
            except Refused as refused:
                answer = self._refusal(refused, request)
            error = None
            if answer.status >= 400:  # noqa: PLR2004 - the HTTP errors
                body = answer.json()
                error = str(body.get("error") or body.get("code"))
            self._ledger.answered(request, status=answer.status, error=error, lost=answer.lost)
            return answer

    def _refusal(self, refused: Refused, request: Request) -> Answer:
        if request.presented is not None:
            kind = "code" if request.grant_type == "authorization_code" else "refresh_token"
            self._ledger.record(
                f"{kind}.refused",
                fingerprint=request.presented,
                login=request.login,
                reason=refused.why,
                request=request.number,
            )
        refusal = self._settings.rules.refusals[refused.situation]
        body = {"error": refusal.error}
        if refusal.description is not None:
            body["error_description"] = refusal.description
        headers = self._interaction()
        if refusal.error == "invalid_client":
            headers["WWW-Authenticate"] = 'Basic realm="Akoya sandbox"'
        return json_answer(refusal.status, body, headers)

    def _end(self, grant: Grant, why: str, request: Request | None = None) -> None:
        """Take no refresh token of this consent ever again."""
        grant.ended = why
        for token in grant.live:
            self._record(
                "refresh_token.revoked",
                grant,
                fingerprint=fingerprint(token.value),
                number=token.number,
                reason=why,
                request=request,
            )
        grant.live.clear()

    def _end_id_tokens(self, grant: Grant, why: str, request: Request | None = None) -> None:
        """Let none of the id_tokens issued so far open the data API."""
        if grant.dead_id_tokens == grant.id_tokens:
            return
        grant.dead_id_tokens = grant.id_tokens
        self._record(
            "id_tokens.revoked", grant, number=grant.id_tokens, reason=why, request=request
        )

    def _linked(self, login: str | None, *, ended: bool = False) -> Iterator[Grant]:
        by_login = self._grants.values() if login is None else [self._grants.get(login, [])]
        for grants in by_login:
            for grant in grants:
                if grant.linked_at is not None and (ended or grant.ended is None):
                    yield grant

    def _login_of(self, presented: str | None) -> str | None:
        if presented is None:
            return None
        for known in (self._codes, self._refresh_tokens, self._id_tokens):
            if presented in known:
                return known[presented].grant.login.id
        return None

    def _record(
        self, event: str, grant: Grant, *, request: Request | None = None, **details: Any
    ) -> None:
        self._ledger.record(
            event,
            login=grant.login.id,
            grant_id=grant.id,
            request=request.number if request else None,
            **details,
        )

    def _interaction(self, interaction_id: str | None = None) -> dict[str, str]:
        fresh = str(uuid.UUID(bytes=self._random(16), version=4))
        return {"x-akoya-interaction-id": interaction_id or fresh}

    def _token(self, size: int) -> str:
        return urlsafe_b64encode(self._random(size)).rstrip(b"=").decode()

    def _new_code(self) -> str:
        if self._settings.rules.generation == 1:
            return b32encode(self._random(16)).decode().lower()[:25]
        return f"ory_ac_{self._token(32)}.{self._token(32)}"

    def _new_refresh_token_value(self) -> str:
        if self._settings.rules.generation == 1:
            return self._token(51)
        return f"ory_rt_{self._token(32)}.{self._token(32)}"


def _verifies(challenge: str | None, verifier: str | None) -> bool:
    """Check a code_verifier (RFC 7636 4.6); one without a challenge is refused (RFC 9700 4.8)."""
    if challenge is None or verifier is None:
        return challenge is None and verifier is None
    digest = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(digest, challenge.encode())


def _grant_view(grant: Grant) -> dict[str, Any]:
    return {
        "grant_id": grant.id,
        "login": grant.login.id,
        "sub": grant.login.sub,
        "accounts": list(grant.account_ids),
        "linked_at": grant.linked_at,
        "ended": grant.ended,
        "access_withdrawn": grant.access_withdrawn,
        "refresh_tokens": [
            {
                "fingerprint": fingerprint(token.value),
                "number": token.number,
                "expires_at": token.expires_at,
            }
            for token in grant.live
        ],
    }
