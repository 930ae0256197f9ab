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
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from local.akoya_sandbox import data_api, id_tokens
from local.akoya_sandbox.answer import Answer, error_of, json_answer
from local.akoya_sandbox.authorization import (
    ShownAsPage,
    read_authorization_request,
    redirect_back,
)
from local.akoya_sandbox.dialects import Situation
from local.akoya_sandbox.faults import NO_FAULT, Armed, ArmedFaults, Operation, read_armed
from local.akoya_sandbox.form import Form, read_form
from local.akoya_sandbox.grant_store import GrantStore
from local.akoya_sandbox.grants import Code, Grant, PendingAuthorization, RefreshToken
from local.akoya_sandbox.id_tokens import SigningKey, shared_signing_key
from local.akoya_sandbox.ledger import Ledger, Request, fingerprint
from local.akoya_sandbox.people import Account, sign_in
from local.akoya_sandbox.registration import (
    Method,
    Refused,
    Registration,
    read_client_credentials,
    same,
)
from local.akoya_sandbox.settings import Settings

SIGN_IN_LIFETIME = 900  # seconds a person may take between the authorization request and consent

# Akoya's token endpoint takes one method per grant and refuses the other.
CLIENT_AUTHENTICATION: Mapping[str, Method] = {
    "authorization_code": "client_secret_basic",
    "refresh_token": "client_secret_post",
}

CONNECTORS: Mapping[str, str] = {"mikomo": "Mikomo bank"}

Expiry = Literal["id_tokens", "refresh_token", "consent", "data_access"]
EXPIRIES: tuple[Expiry, ...] = get_args(Expiry)


HasHungUp = Callable[[], bool]
"""Whether the client has closed its side of the connection."""


def _stays() -> bool:
    return False


class AccountMissingError(ValueError):
    """Consent was given to no account of the person's."""


class AkoyaProvider:
    """Akoya as seen by one registered app.

    `clock` gives seconds since 1970, `random` that many bytes. `wait` pauses for seconds; without
    it a pause takes its time, but ends with the fault it comes from.
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
        wait: Callable[[float], object] | None = None,
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
        self._registration, settings = self._at_start
        self._pending: dict[str, PendingAuthorization] = {}
        self._ledger = Ledger(self._clock)
        self._faults = ArmedFaults()
        self._store = GrantStore(
            settings=settings, ledger=self._ledger, clock=self._clock, random=self._random
        )

    # -- the person's way: authorization request, sign-in, consent ---------------------------------

    def begin(self, query: str) -> PendingAuthorization:
        """Answer `GET /auth`: a person who must now sign in; raises ShownAsPage or SentBack."""
        with self._mutex:
            request = read_authorization_request(
                query,
                registration=self._registration,
                connectors=self.connectors,
                dialect=self._store.settings.rules,
            )
            pending = PendingAuthorization(
                id=self._random(16).hex(),
                request=request,
                expires_at=self._clock() + SIGN_IN_LIFETIME,
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
            del self._pending[pending_id]
            login = pending.login.id if pending.login else None
            self._ledger.record("consent.declined", login=login)
            return pending.request.with_error("access_denied", description)

    def allow(self, pending_id: str, account_ids: Collection[str]) -> str:
        """Give consent to some accounts; returns the address that takes the code to the app.

        Raises AccountMissingError when none of `account_ids` is the person's.
        """
        with self._mutex:
            pending = self._still_pending(pending_id)
            login, request = pending.login, pending.request
            if login is None:
                raise ShownAsPage(400, "Not signed in", "Sign in at the bank first.")
            chosen = tuple(a.account_id for a in login.accounts if a.account_id in account_ids)
            if not chosen:
                raise AccountMissingError("choose at least one account")
            del self._pending[pending_id]
            code = self._store.give_consent(login, chosen, request, pending.auth_time)
            parameters = {"code": code.value, "state": request.state}
            if self._store.settings.rules.generation > 1:
                parameters["scope"] = " ".join(request.scope)
            return redirect_back(request.redirect_uri, **parameters)

    def _still_pending(self, pending_id: str) -> PendingAuthorization:
        pending = self._pending.get(pending_id)
        if pending is None or self._clock() >= pending.expires_at:
            raise ShownAsPage(
                400,
                "This page is no longer in use",
                "It was answered already or has expired. Go back to your app and start again.",
            )
        return pending

    # -- the token endpoint ------------------------------------------------------------------------

    def token(
        self, *, authorization: str | None, body: str, has_hung_up: HasHungUp = _stays
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
        if "offline_access" in grant.scope and armed.fault.refresh_token == "rotated":
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
        self, *, authorization: str | None, body: str, has_hung_up: HasHungUp = _stays
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

    # -- the data API ------------------------------------------------------------------------------

    def data(
        self,
        *,
        product: str,
        connector: str,
        authorization: str | None,
        interaction_type: str | None,
        last_access: str | None,
        interaction_id: str | None = None,
        has_hung_up: HasHungUp = _stays,
    ) -> Answer:
        """Answer `GET /{product}/v3/{connector}` for products accounts-info and balances.

        `interaction_type` and `last_access` are the headers that v3 requires of each call.
        """
        is_described = data_api.is_described(interaction_type, last_access)
        scheme, _, bearer = (authorization or "").partition(" ")
        id_token = bearer.strip() if scheme.lower() == "bearer" else ""
        return self._answer(
            "data",
            "data",
            id_token or None,
            lambda _armed: self._data(
                product, connector, id_token, interaction_id, is_described=is_described
            ),
            has_hung_up=has_hung_up,
        )

    def _data(
        self,
        product: str,
        connector: str,
        id_token: str,
        interaction_id: str | None,
        *,
        is_described: bool,
    ) -> Answer:
        headers = self._interaction(interaction_id)
        if not is_described:
            missing = data_api.HEADERS_MISSING
            return json_answer(missing.status, missing.body(), headers)
        shared = self._shared(product, connector, id_token)
        if isinstance(shared, data_api.DataError):
            return json_answer(shared.status, shared.body(), headers)
        if product == "balances":
            return json_answer(200, data_api.balances(shared, self._clock()), headers)
        return json_answer(200, data_api.accounts_info(shared), headers)

    def _shared(
        self, product: str, connector: str, id_token: str
    ) -> tuple[Account, ...] | data_api.DataError:
        """Return the accounts an id_token opens, or why it opens none."""
        known = self._store.id_tokens.get(id_token)
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
        return data_api.DATA_ERRORS.get(grant.login.data_error or 0, grant.accounts)

    # -- discovery ---------------------------------------------------------------------------------

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

    # -- administration ----------------------------------------------------------------------------

    def ledger(self, login: str | None = None) -> dict[str, Any]:
        """Return the ledger, whole or of one login (`<connector>/<user name>`)."""
        with self._mutex:
            return self._ledger.view(login)

    def grants(self, login: str | None = None) -> list[dict[str, Any]]:
        """Return every consent that was linked and what of it still lives, oldest first."""
        with self._mutex:
            return [grant.view() for grant in self._store.linked(login, ended=True)]

    @property
    def registration(self) -> Registration:
        """The app as registered now."""
        return self._registration

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._store.settings

    def change_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Change some settings, for what is issued from now on; raises InvalidSettingError."""
        with self._mutex:
            self._store.settings = self._store.settings.changed(changes)
            return self._store.settings

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
            grants = list(self._store.linked(login, ended=what != "refresh_token"))
            for grant in grants:
                if what in ("id_tokens", "consent"):
                    self._store.end_id_tokens(grant, what)
                if what in ("refresh_token", "consent"):
                    self._store.end(grant, what)
                if what == "data_access":
                    self._store.withdraw_access(grant)
            return len(grants)

    def arm(self, *faults: Mapping[str, Any], instead: bool = False) -> None:
        """Arm faults behind those already armed, or instead of them.

        Raises InvalidSettingError and arms none if one of them is not right (see faults.py).
        """
        new = [read_armed(fault) for fault in faults]
        with self._mutex:
            if instead:
                self._faults.disarm()
            for armed in new:
                self._faults.arm(armed)

    def disarm(self, login: str | None = None) -> None:
        """Take away the faults armed for one login, or all."""
        with self._mutex:
            self._faults.disarm(login)

    def armed(self) -> list[dict[str, Any]]:
        """Return the faults now armed, in the order in which they strike."""
        with self._mutex:
            return self._faults.view()

    def reset(self) -> None:
        """Forget everything and go back to the settings, secret and registration of the start."""
        with self._mutex:
            self._faults.disarm()
            self._forget()

    # -- shared ------------------------------------------------------------------------------------

    def _answer(
        self,
        endpoint: str,
        operation: Operation | None,
        presented: str | None,
        decide: Callable[[Armed], Answer],
        *,
        has_hung_up: HasHungUp,
        grant_type: str | None = None,
    ) -> Answer:
        """Open the request in the ledger, let a fault strike, decide, close it."""
        with self._mutex:
            ledger = self._ledger
            request = ledger.received(
                endpoint,
                grant_type=grant_type,
                presented=fingerprint(presented) if presented else None,
                login=self._store.login_of(presented) if presented else None,
            )
            armed = self._faults.strike(operation, request.login)
        if armed.fault.waits == "before":
            self._hold_back(armed)
        with self._mutex:
            ledger.deciding = request
            try:
                if armed.fault.heeds_hanging_up and has_hung_up():
                    answer = Answer(200, {}, lost=True)
                else:
                    answer = self._decided(operation, decide, armed)
            except Refused as refused:
                answer = self._refusal(refused, request)
            finally:
                ledger.deciding = None
            answer = armed.fault.answer(answer, armed.parameters)
            answer = replace(answer, pause=lambda: self._hold_back(armed))
            request.fault = None if armed.fault is NO_FAULT else armed.fault.name
        if armed.fault.waits == "after":
            self._hold_back(armed)
        with self._mutex:
            ledger.answered(request, status=answer.status, error=error_of(answer), lost=answer.lost)
            return answer

    def _hold_back(self, armed: Armed) -> None:
        (self._wait or armed.disarmed.wait)(armed.parameters.seconds)

    def _decided(
        self, operation: Operation | None, decide: Callable[[Armed], Answer], armed: Armed
    ) -> Answer:
        refusal = armed.fault.refusals.get(operation) if operation else None
        if refusal is not None:
            raise Refused(refusal, armed.fault.name)
        return decide(armed) if armed.fault.takes_effect else Answer(200, {})

    def _refusal(self, refused: Refused, request: Request) -> Answer:
        if request.presented is not None:
            kind = "code" if request.grant_type == "authorization_code" else "refresh_token"
            self._ledger.record(
                f"{kind}.refused",
                fingerprint=request.presented,
                login=request.login,
                reason=refused.why,
            )
        refusal = self._store.settings.rules.refusals[refused.situation]
        body = {"error": refusal.error}
        if refusal.description is not None:
            body["error_description"] = refusal.description
        headers = self._interaction()
        if refusal.error == "invalid_client":
            headers["WWW-Authenticate"] = 'Basic realm="Akoya sandbox"'
        return json_answer(refusal.status, body, headers)

    def _interaction(self, interaction_id: str | None = None) -> dict[str, str]:
        fresh = str(uuid.UUID(bytes=self._random(16), version=4))
        return {"x-akoya-interaction-id": interaction_id or fresh}


def _verifies(challenge: str | None, verifier: str | None) -> bool:
    """Check a code_verifier (RFC 7636 4.6); one without a challenge is refused (RFC 9700 4.8)."""
    if challenge is None or verifier is None:
        return challenge is None and verifier is None
    digest = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(digest, challenge.encode())
