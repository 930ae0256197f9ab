"""What the provider remembers of one consent: its codes and tokens, and which of them live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .authorization import AuthorizationRequest
from .ledger import fingerprint
from .people import Account, Login


@dataclass(slots=True, eq=False)
class Grant:
    """One consent of one login.

    `live` are the refresh tokens that would be taken now; `ended` says why none ever will be. Its
    id_tokens are numbered from 1 in the order of issue; those up to `dead_id_tokens` no longer open
    the data API, and none does while `access_withdrawn`.
    """

    id: str
    login: Login
    account_ids: tuple[str, ...]
    scope: tuple[str, ...]
    auth_time: int
    linked_at: float | None = None
    ended: str | None = None
    access_withdrawn: bool = False
    id_tokens: int = 0
    dead_id_tokens: int = 0
    live: list[RefreshToken] = field(default_factory=list)

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts the person chose to share."""
        return tuple(a for a in self.login.accounts if a.account_id in self.account_ids)

    def view(self) -> dict[str, Any]:
        """Return the grant as JSON-ready values, tokens by fingerprint."""
        return {
            "grant_id": self.id,
            "login": self.login.id,
            "sub": self.login.sub,
            "accounts": list(self.account_ids),
            "linked_at": self.linked_at,
            "ended": self.ended,
            "access_withdrawn": self.access_withdrawn,
            "refresh_tokens": [
                {
                    "fingerprint": fingerprint(token.value),
                    "number": token.number,
                    "expires_at": token.expires_at,
                }
                for token in self.live
            ],
        }


@dataclass(slots=True, eq=False)
class Code:
    """An authorization code; times in seconds since 1970."""

    value: str
    grant: Grant
    request: AuthorizationRequest
    expires_at: float
    used: bool = False


@dataclass(slots=True, eq=False)
class RefreshToken:
    """A refresh token; `used_at` is when it was first rotated, `successor` the latest it gave."""

    value: str
    grant: Grant
    number: int
    expires_at: float | None
    used_at: float | None = None
    successor: RefreshToken | None = None


@dataclass(frozen=True, slots=True, eq=False)
class IdToken:
    """An id_token as the data API knows it: number within its grant, and its `exp`."""

    grant: Grant
    number: int
    expires_at: int


@dataclass(slots=True, eq=False)
class PendingAuthorization:
    """A person between the app and the answer: not signed in, or signed in."""

    id: str
    request: AuthorizationRequest
    expires_at: float
    login: Login | None = None
    auth_time: int = 0
