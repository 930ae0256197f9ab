"""The person's way: authorization request, sign-in at the bank, consent."""

from __future__ import annotations

from collections.abc import Collection

from .authorization import (
    ShownAsPage,
    read_authorization_request,
    redirect_back,
)
from .grants import PendingAuthorization
from .people import sign_in
from .requests_met import MeetsRequests

SIGN_IN_LIFETIME = 900  # seconds a person may take between the authorization request and consent


class AccountMissingError(ValueError):
    """Consent was given to no account of the person's."""


class LeadsPeople(MeetsRequests):
    """Takes a person from the authorization request to consent or its refusal."""

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
