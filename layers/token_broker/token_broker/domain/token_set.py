"""What one good answer of the token endpoint gives, and how it travels to the row that keeps it.

Akoya issues no access token: the id_token is the bearer of its data APIs (id-token-details).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum

from token_broker.domain.secret_text import SecretText

# Akoya: an id_token lives 24 hours at the most; where its life cannot be read, assume 15 minutes.
LONGEST_LIFE = 86_400
ASSUMED_LIFE = 900


class Verdict(StrEnum):
    """What checking an id_token came to."""

    UNVERIFIED = "unverified"
    OK = "ok"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSet:
    """The pair that replaces every earlier pair of the same connection."""

    refresh_token: SecretText
    id_token: SecretText | None  # None: a rotation whose bearer could not be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The few claims of an id_token the broker goes by; times are seconds since the epoch."""

    sub: str
    iat: int
    exp: int
    aud: tuple[str, ...] = ()
    nonce: str | None = None
    grant_id: str | None = None  # the consent's name at Akoya
    accounts: tuple[str, ...] | None = None  # their ids, personal data; None: not told
    products: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a consent covers, as far as that is no personal data."""

    accounts: int  # how many
    accounts_hash: str  # keyed; tells one list of accounts from another
    products: tuple[str, ...]
    since: int  # when a set first said so


def terms_of(claims: Claims, *, key: SecretText, now: int, before: Terms | None) -> Terms | None:
    """Return the terms an id_token names; `before` itself where nothing changed.

    What it does not tell stays as before; None where no set has told the accounts.
    """
    if claims.accounts is None:
        return before
    told = before.products if claims.products is None and before else claims.products or ()
    accounts, products = sorted(claims.accounts), tuple(sorted(told))
    named = hmac.new(key.reveal().encode(), "\n".join(accounts).encode(), "sha256").hexdigest()[:16]
    if before and (before.accounts_hash, before.products) == (named, products):
        return before
    return Terms(accounts=len(accounts), accounts_hash=named, products=products, since=now)


def lifetime(claims: Claims | None, expires_in: int | None) -> int:
    """Return the bearer's life in seconds: exp - iat, capped by what is plausible.

    Differences of Akoya's own times, never their absolute values, so that clock skew cannot matter.
    """
    stated = [
        life
        for life in (claims.exp - claims.iat if claims else None, expires_in)
        if life is not None and life > 0
    ]
    return min([*stated, LONGEST_LIFE]) if stated else ASSUMED_LIFE
