"""The identity provider and data API in one process, without any web framework.

Time, randomness and waiting come from outside, so that a test may own them. Every public method
may be called from many threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from . import data_api
from .answer import Answer, json_answer
from .armed_faults import Armed, read_armed
from .id_tokens import SigningKey
from .person_way import LeadsPeople
from .registration import (
    Registration,
)
from .requests_met import HasHungUp, stays
from .settings import Settings
from .token_endpoints import CLIENT_AUTHENTICATION, GivesTokens

Expiry = Literal["id_tokens", "refresh_token", "consent", "data_access"]
EXPIRIES: tuple[Expiry, ...] = get_args(Expiry)


class AkoyaProvider(LeadsPeople, GivesTokens):
    """Akoya as seen by one registered app.

    `clock` gives seconds since 1970, `random` that many bytes. `wait` pauses for seconds; without
    it a pause takes its time, but ends with the fault it comes from.
    """

    # -- the data API ------------------------------------------------------------------------------

    def data(
        self,
        *,
        product: str,
        connector: str,
        about: str | None = None,
        query: Mapping[str, str] | None = None,
        authorization: str | None,
        interaction_type: str | None,
        last_access: str | None,
        interaction_id: str | None = None,
        has_hung_up: HasHungUp = stays,
    ) -> Answer:
        """Answer `GET /{product}/v3/{connector}`, or that with `/{about}`, and a query.

        `interaction_type` and `last_access` are the headers that v3 requires of each call.
        """
        is_described = data_api.is_described(interaction_type, last_access)
        asked = data_api.DataRequest(product, connector, about, query or {})
        scheme, _, bearer = (authorization or "").partition(" ")
        id_token = bearer.strip() if scheme.lower() == "bearer" else ""

        def decide(_armed: Armed) -> Answer:
            headers = self._interaction(interaction_id)
            found = self._content(asked, id_token) if is_described else data_api.BAD_REQUEST
            if isinstance(found, data_api.DataError):
                return json_answer(found.status, found.body(), headers)
            return json_answer(200, found, headers)

        return self._answer("data", "data", id_token or None, decide, has_hung_up=has_hung_up)

    def _content(
        self, asked: data_api.DataRequest, id_token: str
    ) -> dict[str, Any] | data_api.DataError:
        """Return what an id_token opens, or why it opens nothing."""
        known = self._store.id_tokens.get(id_token)
        if known is None:
            return data_api.DATA_ERRORS[602]
        grant = known.grant
        if grant.ended == "consent":
            return data_api.DATA_ERRORS[601]
        expired = self._clock() >= known.expires_at
        if expired or grant.access_withdrawn or known.number <= grant.dead_id_tokens:
            return data_api.DATA_ERRORS[602]
        if asked.connector != grant.login.connector:
            return data_api.NO_SUCH_ROUTE
        if error := data_api.DATA_ERRORS.get(grant.login.data_error or 0):
            return error
        return data_api.content(asked, grant.login, grant.accounts, self._clock())

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

        Raises InvalidSettingError and arms none if one of them is not right (see armed_faults.py).
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
