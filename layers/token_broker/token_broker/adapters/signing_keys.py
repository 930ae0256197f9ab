"""Whose keys check an id_token: what PyJWT says of one, and the keys that Akoya announces.

The one file that loads PyJWT: handing out a bearer that was checked before needs none of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt

from token_broker.adapters.id_token import NO_KEYS
from token_broker.domain.ports import Clock, Record

if TYPE_CHECKING:
    import requests

ALGORITHMS = ["RS256", "ES256", "PS256"]  # never `none`, never a shared secret (RFC 8725 3.1)
KEYS_KEPT_FOR = 3_600
KEYS_RETRIED_AFTER = 300
KEYS_TIMEOUT = (2, 4)
LARGEST_DOCUMENT = 262_144


class SigningKeys:
    """The provider's announced keys, cached; looked up again for a key id never seen."""

    def __init__(
        self,
        session: requests.Session,
        *,
        issuers: tuple[str, ...],
        strict: bool,
        clock: Clock,
        record: Record,
    ) -> None:
        self._issuers = issuers
        # OpenID Connect Discovery section 4
        self._discovery_url = f"{issuers[0]}/.well-known/openid-configuration"
        self._strict = strict
        self._record = record
        self._session = session
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._looked_up_at: int | None = None

    def warm(self) -> None:
        """Fetch the keys unless that was done, or tried, lately."""
        self._look_up_after(KEYS_KEPT_FOR if self._keys else KEYS_RETRIED_AFTER)

    def fault_of(self, token: str, *, audience: str, fetch: bool) -> str | None:
        """Name what is wrong with signature, issuer or audience; NO_KEYS: nothing checks it.

        A key that is not at hand is fetched, if that may be.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            if fetch:
                self.warm()
            if fetch and key_id not in self._keys:
                self._look_up_after(KEYS_RETRIED_AFTER)
            key = self._keys.get(key_id)
            jwt.decode(
                token,
                key or "",
                algorithms=ALGORITHMS,
                audience=audience,
                issuer=self._issuers,
                options={
                    "verify_signature": key is not None,
                    "verify_aud": True,  # also where no key checks the signature
                    "verify_iss": True,
                    "verify_exp": False,  # by the machine's clock, where ours decides
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except Exception as exc:  # noqa: BLE001 - any failure to verify is a failure to verify
            return type(exc).__name__
        return None if key else NO_KEYS

    def _look_up_after(self, seconds: int) -> None:
        now = self._clock()
        if self._looked_up_at is not None and now - self._looked_up_at < seconds:
            return
        self._looked_up_at = now
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

    def _document(self, url: str) -> Any:
        with self._session.get(
            url, timeout=KEYS_TIMEOUT, allow_redirects=False, stream=True
        ) as response:
            response.raise_for_status()
            return json.loads(response.raw.read(LARGEST_DOCUMENT, decode_content=True))


def claims_of(token: str) -> dict[str, Any]:
    """Read the claims without trusting them; none of what is no JWT."""
    try:
        return dict(jwt.decode(token, options={"verify_signature": False}))
    except Exception:  # noqa: BLE001 - text of the outside; it reads or it does not
        return {}
