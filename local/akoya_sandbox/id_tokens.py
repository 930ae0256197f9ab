"""Signing keys, and the claims Akoya publishes for its id_tokens."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from .grants import Grant


@dataclass(frozen=True)
class SigningKey:
    """A private key that signs id_tokens, with its public JWK (RFC 7517)."""

    algorithm: str
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    jwk: Mapping[str, Any]

    @classmethod
    def generate(cls, algorithm: str = "RS256") -> SigningKey:
        """Make a new key: RS256 as Akoya's, or ES256 where signing must be cheap."""
        private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if algorithm == "RS256":
            private_key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
            jwk = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        elif algorithm == "ES256":
            private_key = ec.generate_private_key(ec.SECP256R1())
            jwk = ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        else:
            raise ValueError("the signing algorithm must be RS256 or ES256")
        der = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        kid = hashlib.sha256(der).hexdigest()[:16]
        return cls(algorithm, private_key, {**jwk, "kid": kid, "use": "sig", "alg": algorithm})

    def sign(self, claims: Mapping[str, Any], *, kid: str | None = None) -> str:
        """Return `claims` as a signed JWT; `kid` overrides the key's own."""
        return jwt.encode(
            dict(claims),
            self.private_key,
            algorithm=self.algorithm,
            headers={"kid": kid or self.jwk["kid"]},
        )


@cache
def shared_signing_key(algorithm: str = "RS256") -> SigningKey:
    """Return this process's one key of that kind: making an RSA key takes a tenth of a second."""
    return SigningKey.generate(algorithm)


def claims(
    *,
    issuer: str,
    client_id: str,
    grant: Grant,
    iat: int,
    lifetime: int,
    nonce: str | None,
    generation: int,
    random: Callable[[int], bytes],
) -> dict[str, Any]:
    """Return the claims of Akoya's published samples; generation 2 adds those of the newer one.

    `at_hash` is there as in the samples although no access_token is ever returned.
    """
    published: dict[str, Any] = {
        "iss": issuer,
        "sub": grant.login.sub,
        "aud": client_id,
        "exp": iat + lifetime,
        "iat": iat,
        "at_hash": urlsafe_b64encode(random(16)).rstrip(b"=").decode(),
        "email": grant.login.user_name,
        "email_verified": True,
        "name": f"Sandbox Customer {grant.login.number}",
        "grant_id": grant.id,
        "accounts": list(grant.account_ids),
        "products": ["account_info", "balances"],
        "recipientId": client_id,
    }
    if nonce is not None:
        published["nonce"] = nonce
    if generation > 1:
        published |= {
            "aud": [client_id],
            "auth_time": grant.auth_time,
            "connectorId": grant.login.connector,
            "jti": random(16).hex(),
            "products": ["ACCOUNT_BASIC", "ACCOUNT_DETAILED"],
            "rat": grant.auth_time,
            "sid": grant.id,
        }
    return published
