"""Everything issued: which codes and tokens there are, which of them live, and how they end."""

from __future__ import annotations

import uuid
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

from .authorization import AuthorizationRequest
from .grants import Code, Grant, IdToken, RefreshToken
from .ledger import Ledger, fingerprint
from .people import Login
from .settings import Settings

CODE_LIFETIME = 300  # seconds; "valid for five minutes" (Akoya, "Token overview")


class GrantStore:
    """Grants with their codes and tokens, each change in the ledger; its owner is thread-safe."""

    def __init__(
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self.settings = settings
        self._ledger = ledger
        self._clock = clock
        self._random = random
        self._grants: dict[str, list[Grant]] = {}
        self.codes: dict[str, Code] = {}
        self.refresh_tokens: dict[str, RefreshToken] = {}
        self.id_tokens: dict[str, IdToken] = {}

    def give_consent(
        self,
        login: Login,
        account_ids: tuple[str, ...],
        request: AuthorizationRequest,
        auth_time: int,
    ) -> Code:
        """Open a grant and issue its code."""
        grant = Grant(
            id=str(uuid.UUID(bytes=self._random(16), version=4)),
            login=login,
            account_ids=account_ids,
            scope=request.scope,
            auth_time=auth_time,
        )
        self._grants.setdefault(login.id, []).append(grant)
        self._record("consent.given", grant)
        code = Code(
            value=self._new_code_value(),
            grant=grant,
            request=request,
            expires_at=self._clock() + CODE_LIFETIME,
        )
        self.codes[code.value] = code
        self._record("code.issued", grant, fingerprint=fingerprint(code.value))
        return code

    def link(self, code: Code) -> Grant:
        """Use up a code; where the dialect says so, the login's older grants end by it."""
        code.used = True
        self._record("code.redeemed", code.grant, fingerprint=fingerprint(code.value))
        if self.settings.rules.relink_replaces:
            for older in list(self.linked(code.grant.login.id)):
                self.end(older, "replaced")
                if self.settings.id_token_after_rotation == "revoked":
                    self.end_id_tokens(older, "replaced")
        code.grant.linked_at = self._clock()
        return code.grant

    def issue_refresh_token(
        self, grant: Grant, predecessor: RefreshToken | None = None
    ) -> RefreshToken:
        """Issue a refresh token; `predecessor` ends by it, unless it had ended before."""
        token = RefreshToken(
            value=self._new_refresh_token_value(),
            grant=grant,
            number=predecessor.number + 1 if predecessor else 1,
            expires_at=self._refresh_token_expiry(grant),
        )
        self.refresh_tokens[token.value] = token
        grant.live.append(token)
        self._record(
            "refresh_token.issued",
            grant,
            fingerprint=fingerprint(token.value),
            number=token.number,
            predecessor=fingerprint(predecessor.value) if predecessor else None,
        )
        if predecessor is not None:
            self._rotated(predecessor, token)
        return token

    def add_id_token(self, grant: Grant, value: str, expires_at: int) -> None:
        """Note a signed id_token; where the settings say so, its older ones end by it."""
        if self.settings.id_token_after_rotation == "revoked":
            self.end_id_tokens(grant, "rotated")
        grant.id_tokens += 1
        self.id_tokens[value] = IdToken(grant, grant.id_tokens, expires_at)
        self._record(
            "id_token.issued", grant, fingerprint=fingerprint(value), number=grant.id_tokens
        )

    def end(self, grant: Grant, why: str) -> None:
        """Take no refresh token of this grant ever again."""
        grant.ended = why
        for token in grant.live:
            self._record(
                "refresh_token.revoked",
                grant,
                fingerprint=fingerprint(token.value),
                number=token.number,
                reason=why,
            )
        grant.live.clear()

    def end_id_tokens(self, grant: Grant, why: str) -> None:
        """Let none of the id_tokens issued so far open the data API."""
        if grant.dead_id_tokens < grant.id_tokens:
            grant.dead_id_tokens = grant.id_tokens
            self._record("id_tokens.revoked", grant, number=grant.id_tokens, reason=why)

    def withdraw_access(self, grant: Grant) -> None:
        """Let no id_token of this grant open the data API, whatever is issued."""
        grant.access_withdrawn = True
        self._record("data_access.withdrawn", grant)

    def linked(self, login: str | None = None, *, ended: bool = False) -> Iterator[Grant]:
        """Yield the grants whose code was used, of one login or all; those that ended on demand."""
        by_login = self._grants.values() if login is None else [self._grants.get(login, [])]
        for grants in by_login:
            for grant in grants:
                if grant.linked_at is not None and (ended or grant.ended is None):
                    yield grant

    def login_of(self, presented: str) -> str | None:
        """Return the login a code or token was issued to, alive or not."""
        for known in (self.refresh_tokens, self.id_tokens, self.codes):
            if presented in known:
                return known[presented].grant.login.id
        return None

    def _rotated(self, predecessor: RefreshToken, successor: RefreshToken) -> None:
        if predecessor.used_at is None:
            predecessor.used_at = self._clock()
            predecessor.grant.live.remove(predecessor)
        predecessor.successor = successor
        self._record(
            "refresh_token.rotated",
            predecessor.grant,
            fingerprint=fingerprint(predecessor.value),
            number=predecessor.number,
            successor=fingerprint(successor.value),
        )

    def _refresh_token_expiry(self, grant: Grant) -> float | None:
        lifetime = self.settings.refresh_token_lifetime
        if lifetime is None or grant.linked_at is None:
            return None
        rolling = self.settings.refresh_token_expiry == "rolling"
        return (self._clock() if rolling else grant.linked_at) + lifetime

    def _new_code_value(self) -> str:
        if self.settings.rules.generation == 1:
            return b32encode(self._random(16)).decode().lower()[:25]
        return f"ory_ac_{self._token(32)}.{self._token(32)}"

    def _new_refresh_token_value(self) -> str:
        if self.settings.rules.generation == 1:
            return self._token(51)
        return f"ory_rt_{self._token(32)}.{self._token(32)}"

    def _token(self, size: int) -> str:
        return urlsafe_b64encode(self._random(size)).rstrip(b"=").decode()

    def _record(self, event: str, grant: Grant, **details: Any) -> None:
        self._ledger.record(event, login=grant.login.id, grant_id=grant.id, **details)
