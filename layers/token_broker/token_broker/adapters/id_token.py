"""Reading and checking id_tokens.

The token comes straight from the token endpoint over TLS, so OpenID Connect Core 3.1.3.7 lets the
signature go unchecked. `strict` hands out only what verifies; `warn` checks, reports and hands out.
A nonce that is not ours is refused in both: it is the mark of an injected code. The times are
judged here, by the broker's clock; PyJWT knows none but the machine's.
"""

from __future__ import annotations

import hmac
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, TypeGuard

from token_broker.domain.ports import Clock, Record
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Claims, Verdict

if TYPE_CHECKING:
    import requests

    from token_broker.adapters.signing_keys import SigningKeys

NO_KEYS = "no_keys"  # neither a fault nor a check
SKEW = 120
LONGEST_NAME, MOST_NAMES = 128, 64
LATEST_MOMENT = 253_402_300_799  # the last second of the year 9999


class OpenIdTokens:
    """id_tokens of one provider for one client."""

    def __init__(
        self,
        session: requests.Session,
        *,
        issuer: str,
        client_id: str,
        strict: bool,
        clock: Clock,
        record: Record,
    ) -> None:
        self._session = session
        self._issuers = (issuer.rstrip("/"), issuer.rstrip("/") + "/")  # Akoya's samples have both
        self._client_id = client_id
        self._strict = strict
        self._clock = clock
        self._record = record

    @cached_property
    def _keys(self) -> SigningKeys:
        from token_broker.adapters.signing_keys import SigningKeys  # noqa: PLC0415

        return SigningKeys(
            self._session,
            issuers=self._issuers,
            strict=self._strict,
            clock=self._clock,
            record=self._record,
        )

    def prepare(self) -> None:
        """Have the signing keys at hand before anything is sent."""
        self._keys.warm()

    def accepts_issuer(self, issuer: str) -> bool:
        """Return whether a redirect that names its issuer may go on (RFC 9207 section 2.4)."""
        if issuer in self._issuers:
            return True
        self._record("redirect_issuer_foreign")
        return not self._strict

    def acceptable(self, verdict: Verdict) -> bool:
        """Return whether a bearer with this verdict may be handed out."""
        return verdict is Verdict.OK or (verdict is Verdict.UNVERIFIED and not self._strict)

    def claims(self, id_token: SecretText | None) -> Claims | None:
        """Read the claims without trusting them; None if they cannot be read."""
        payload = _payload(id_token)
        try:
            return Claims(
                sub=_text(payload["sub"]),
                iat=_moment(payload["iat"]),
                exp=_moment(payload["exp"]),
                aud=_audiences(payload),
                nonce=payload.get("nonce"),
                grant_id=_short(payload.get("grant_id")),
                accounts=_texts(payload.get("accounts")),
                products=_names(payload.get("products")),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def verify(
        self, id_token: SecretText | None, *, nonce: str | None, about: str | None = None
    ) -> Verdict:
        """Check signature and claims (OpenID Connect Core 3.1.3.7) as configured."""
        verdict = self._verdict(id_token, nonce, about, fetch=True)
        if verdict is None:
            self._record("id_token_unverified", connection_id=about, fault=NO_KEYS)
        return verdict or Verdict.UNVERIFIED

    def verify_at_hand(
        self, id_token: SecretText | None, *, nonce: str | None, about: str | None = None
    ) -> Verdict | None:
        """Check as `verify` does, but ask nobody for a key: None where it is not at hand."""
        return self._verdict(id_token, nonce, about, fetch=False)

    def _verdict(
        self, id_token: SecretText | None, nonce: str | None, about: str | None, *, fetch: bool
    ) -> Verdict | None:
        payload = _payload(id_token)
        given = payload.get("nonce")
        if nonce is not None and given is not None and not _same(given, nonce):
            self._record("id_token_nonce_foreign", connection_id=about)
            return Verdict.BAD
        fault = self._fault_of(id_token, payload, fetch=fetch)
        if fault is None:
            return Verdict.OK
        if fault == NO_KEYS:
            return None
        self._record("id_token_unverified", connection_id=about, fault=fault)
        # Before its time it must not be accepted, whatever the mode (RFC 7519 section 4.1.5).
        return Verdict.BAD if self._strict or fault == "nbf" else Verdict.UNVERIFIED

    def _fault_of(
        self, id_token: SecretText | None, payload: dict[str, Any], *, fetch: bool
    ) -> str | None:
        """Name the first fault: the times, by our clock, and azp; PyJWT judges the rest."""
        now = self._clock()
        if "nbf" in payload and not _within(payload["nbf"], latest=now + SKEW):
            return "nbf"
        if not _within(payload.get("iat"), latest=now + SKEW):
            return "iat"
        if not _within(payload.get("exp"), earliest=now - SKEW):
            return "exp"
        if len(_audiences(payload)) > 1 and payload.get("azp", self._client_id) != self._client_id:
            return "azp"
        token = id_token.reveal() if id_token else ""
        return self._keys.fault_of(token, audience=self._client_id, fetch=fetch)


def _payload(id_token: SecretText | None) -> dict[str, Any]:
    from token_broker.adapters.signing_keys import claims_of  # noqa: PLC0415

    return claims_of(id_token.reveal()) if id_token else {}


def _audiences(payload: dict[str, Any]) -> tuple[str, ...]:
    """Return `aud`, which may be one text or a list of them (RFC 7519 section 4.1.3)."""
    audience = payload.get("aud")
    many = audience if isinstance(audience, list) else [audience]
    return tuple(one for one in many if isinstance(one, str))


def _short(value: object) -> str | None:
    """Return a name that may be kept; None where it is none, or long beyond any id."""
    return value if _is_name(value) and len(value) <= LONGEST_NAME else None


def _texts(value: object) -> tuple[str, ...] | None:
    """Return the texts of a list; None where it is none, or holds something else."""
    if not isinstance(value, list) or not all(map(_is_name, value)):
        return None
    return tuple(value)


def _names(value: object) -> tuple[str, ...] | None:
    """Return the names of a list; in lower case, since Akoya has spelled its products both ways."""
    if (texts := _texts(value)) is None:
        return None
    return tuple(one.lower() for one in texts if len(one) <= LONGEST_NAME)[:MOST_NAMES]


def _is_name(value: object) -> TypeGuard[str]:
    """Return whether it can be kept: half a surrogate pair, which JSON can spell, cannot."""
    return isinstance(value, str) and bool(value) and value.isprintable()


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    value.encode()  # half a surrogate pair is no text either: UnicodeEncodeError is a ValueError
    return value


def _moment(value: object) -> int:
    """Read a NumericDate (RFC 7519 section 2); raise ValueError beyond any calendar's."""
    moment = int(value) if isinstance(value, int | float | str) else -1
    if not 0 <= moment <= LATEST_MOMENT:
        raise ValueError("not a moment")
    return moment


def _same(given: object, nonce: str) -> bool:
    if not isinstance(given, str) or not given.isascii():
        return False  # ours is ASCII; what JSON can spell, such as half a surrogate, may not encode
    return hmac.compare_digest(given.encode(), nonce.encode())


def _within(moment: object, *, earliest: float = -inf, latest: float = inf) -> bool:
    return isinstance(moment, int | float) and earliest <= moment <= latest
