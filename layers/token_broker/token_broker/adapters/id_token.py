"""Reading and checking id_tokens.

The token comes straight from the token endpoint over TLS, so OpenID Connect Core 3.1.3.7 lets the
signature go unchecked. `strict` hands out only what verifies; `warn` checks, reports and hands out.
A nonce that is not ours is refused in both: it is the mark of an injected code.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt

from token_broker.domain.ports import Clock, Record
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Claims, Verdict

if TYPE_CHECKING:
    import requests

ALGORITHMS = ["RS256", "ES256", "PS256"]  # never `none`, never a shared secret (RFC 8725 3.1)
CHECKED: jwt.types.Options = {  # also where no key checks the signature
    "verify_aud": True,
    "verify_iss": True,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}
SKEW = 120
LATEST_MOMENT = 253_402_300_799  # the last second of the year 9999
KEYS_KEPT_FOR = 3_600
KEYS_RETRIED_AFTER = 300
KEYS_TIMEOUT = (2, 4)
LARGEST_DOCUMENT = 262_144
NO_KEYS = "no_keys"
KeyOf = Callable[[str | None], jwt.PyJWK | None]


class SigningKeys:
    """The provider's announced keys, cached; looked up again for a key id never seen."""

    def __init__(
        self,
        session: requests.Session,
        discovery_url: str,
        *,
        issuer: str,
        strict: bool,
        clock: Clock,
        record: Record,
    ) -> None:
        self._issuers = _spellings(issuer)
        self._strict = strict
        self._record = record
        self._session = session
        self._discovery_url = discovery_url
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._looked_up_at: int | None = None

    def warm(self) -> None:
        """Fetch the keys unless that was done, or tried, lately."""
        wait = KEYS_KEPT_FOR if self._keys else KEYS_RETRIED_AFTER
        if self._looked_up_at is None or self._clock() - self._looked_up_at >= wait:
            self._look_up()

    def at_hand(self, key_id: str | None) -> jwt.PyJWK | None:
        """Return a key that was fetched before; None: none of this id was."""
        return self._keys.get(key_id)

    def get(self, key_id: str | None) -> jwt.PyJWK | None:
        """Return a key; None if the provider announces none of this id."""
        self.warm()
        found = self._keys.get(key_id)
        stale = self._clock() - (self._looked_up_at or 0) >= KEYS_RETRIED_AFTER
        if found is None and stale:
            self._look_up()
            found = self._keys.get(key_id)
        return found

    def _look_up(self) -> None:
        self._looked_up_at = self._clock()
        try:
            announced = self._document(self._discovery_url)
            if announced.get("issuer") not in self._issuers:
                self._record("discovery_issuer_foreign")
                if self._strict:
                    return  # OpenID Connect Discovery 4.3: it must be the one that was asked
            jwks_uri = str(announced["jwks_uri"])
            if urlsplit(jwks_uri)[:2] != urlsplit(self._discovery_url)[:2]:
                return  # keys of another host, or that came in the clear, vouch for nothing
            keys = jwt.PyJWKSet.from_dict(self._document(jwks_uri)).keys
        except Exception:  # noqa: BLE001 - whatever it is, there are no keys; the mode decides
            return
        self._keys = {key.key_id: key for key in keys}

    def _document(self, url: str) -> dict[str, Any]:
        with self._session.get(
            url, timeout=KEYS_TIMEOUT, allow_redirects=False, stream=True
        ) as response:
            response.raise_for_status()
            body = response.raw.read(LARGEST_DOCUMENT, decode_content=True)
        content = json.loads(body)
        if not isinstance(content, dict):
            raise TypeError("not a JSON object")
        return content


class OpenIdTokens:
    """id_tokens of one provider for one client."""

    def __init__(
        self,
        keys: SigningKeys,
        *,
        issuer: str,
        client_id: str,
        strict: bool,
        clock: Clock,
        record: Record,
    ) -> None:
        self._keys = keys
        self._issuers = _spellings(issuer)
        self._client_id = client_id
        self._strict = strict
        self._clock = clock
        self._record = record

    def prepare(self) -> None:
        """Have the signing keys at hand before anything is sent."""
        self._keys.warm()

    def accepts_issuer(self, issuer: str) -> bool:
        """Return whether a redirect that names its issuer may go on (RFC 9207 section 2.4)."""
        if issuer in self._issuers:
            return True
        self._record("redirect_issuer_foreign")
        return not self._strict

    def claims(self, id_token: SecretText | None) -> Claims | None:
        """Read the claims without trusting them; None if they cannot be read."""
        payload = self._payload(id_token)
        try:
            return Claims(
                sub=_text(payload["sub"]),
                iat=_moment(payload["iat"]),
                exp=_moment(payload["exp"]),
                aud=_audiences(payload),
                nonce=payload.get("nonce"),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def verify(
        self, id_token: SecretText | None, *, nonce: str | None, about: str | None = None
    ) -> Verdict:
        """Check signature and claims (OpenID Connect Core 3.1.3.7) as configured."""
        verdict = self._verdict(id_token, nonce, about, self._keys.get)
        if verdict is None:
            self._record("id_token_unverified", connection_id=about, fault=NO_KEYS)
        return verdict or Verdict.UNVERIFIED

    def verify_at_hand(
        self, id_token: SecretText | None, *, nonce: str | None, about: str | None = None
    ) -> Verdict | None:
        """Check as `verify` does, but ask nobody for a key: None where it is not at hand."""
        return self._verdict(id_token, nonce, about, self._keys.at_hand)

    def _verdict(
        self, id_token: SecretText | None, nonce: str | None, about: str | None, key_of: KeyOf
    ) -> Verdict | None:
        payload = self._payload(id_token)
        given = payload.get("nonce")
        if nonce is not None and given is not None and not _same(given, nonce):
            self._record("id_token_nonce_foreign", connection_id=about)
            return Verdict.BAD
        if "nbf" in payload and not _near(payload["nbf"], latest=self._clock() + SKEW):
            self._record("id_token_unverified", connection_id=about, fault="nbf")
            return Verdict.BAD  # nobody may accept it yet, whatever the mode (RFC 7519 4.1.5)
        fault = self._fault_of(id_token, payload, key_of)
        if fault is None:
            return Verdict.OK
        if fault == NO_KEYS:
            return None
        self._record("id_token_unverified", connection_id=about, fault=fault)
        return Verdict.BAD if self._strict else Verdict.UNVERIFIED

    def acceptable(self, verdict: Verdict) -> bool:
        """Return whether a bearer with this verdict may be handed out."""
        return verdict is Verdict.OK or (verdict is Verdict.UNVERIFIED and not self._strict)

    def _payload(self, id_token: SecretText | None) -> dict[str, Any]:
        if id_token is None:
            return {}
        try:
            return dict(jwt.decode(id_token.reveal(), options={"verify_signature": False}))
        except Exception:  # noqa: BLE001 - text of the outside; it reads or it does not
            return {}

    def _fault_of(
        self, id_token: SecretText | None, payload: dict[str, Any], key_of: KeyOf
    ) -> str | None:
        """Name the first fault; PyJWT judges all but the times, which need our clock, and azp."""
        now = self._clock()
        if not _near(payload.get("iat"), latest=now + SKEW):
            return "iat"
        if not _near(payload.get("exp"), earliest=now - SKEW):
            return "exp"
        if len(_audiences(payload)) > 1 and payload.get("azp", self._client_id) != self._client_id:
            return "azp"
        try:
            token = id_token.reveal() if id_token else ""
            key = key_of(jwt.get_unverified_header(token).get("kid"))
            jwt.decode(
                token,
                key or "",
                algorithms=ALGORITHMS,
                audience=self._client_id,
                issuer=self._issuers,
                options={**CHECKED, "verify_signature": key is not None},
            )
        except Exception as exc:  # noqa: BLE001 - any failure to verify is a failure to verify
            return type(exc).__name__
        return None if key else NO_KEYS


def _spellings(issuer: str) -> tuple[str, ...]:
    """Return the issuer with and without the slash at its end: Akoya's samples have both."""
    return (issuer.rstrip("/"), issuer.rstrip("/") + "/")


def _audiences(payload: dict[str, Any]) -> tuple[str, ...]:
    """Return `aud`, which may be one text or a list of them (RFC 7519 section 4.1.3)."""
    audience = payload.get("aud")
    many = audience if isinstance(audience, list) else [audience]
    return tuple(one for one in many if isinstance(one, str))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
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


def _near(moment: object, *, earliest: int | None = None, latest: int | None = None) -> bool:
    if not isinstance(moment, int | float):
        return False
    return (earliest is None or moment >= earliest) and (latest is None or moment <= latest)
