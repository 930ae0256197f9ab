"""Sealing of token sets: AES-256-GCM under a KMS data key of its own for every write.

KMS binds the data key to environment and connection (its encryption context, which CloudTrail
shows for every decrypt); the associated data binds the set to its generation, subject and connector
as well. So a sealed set moved to another row, an older one put back, or a row that is given to
another person does not open.

Layout: version (1 byte), length of the encrypted data key (2, big-endian), the encrypted data key,
nonce (12), ciphertext with tag.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from token_broker.adapters.aws import member, translated
from token_broker.domain.connection import Connection, framed
from token_broker.domain.errors import (
    BrokerMisconfigured,
    SetUnreadable,
    TokenBrokerError,
)
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

VERSION = 1
HEADER = struct.Struct(">BH")
NONCE_LENGTH = 12

REFUSALS = frozenset(
    {"AccessDeniedException", "DisabledException", "NotFoundException", "KMSInvalidStateException"}
)
SERVICE = "KMS"
NOT_OURS = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


@dataclass(frozen=True, slots=True)
class _BoundTo:
    """Whose a token set is."""

    environment: str
    connection_id: str
    subject: str
    connector: str

    def encryption_context(self) -> dict[str, str]:
        return {"environment": self.environment, "connection_id": self.connection_id}

    def associated_data(self, generation: int) -> bytes:
        parts = (self.environment, self.connection_id, generation, self.subject, self.connector)
        return framed(*map(str, parts)).encode()


class KmsSealer:
    """A fresh data key for one set of one connection."""

    def __init__(self, plaintext_key: bytes, encrypted_key: bytes, bound_to: _BoundTo) -> None:
        self._aead = AESGCM(plaintext_key)
        self._encrypted_key = encrypted_key
        self._bound_to = bound_to

    def seal(self, tokens: TokenSet, *, generation: int) -> bytes:
        """Seal a set as that generation of the connection the key was made for."""
        nonce = os.urandom(NONCE_LENGTH)
        ciphertext = self._aead.encrypt(
            nonce, _to_bytes(tokens), self._bound_to.associated_data(generation)
        )
        header = HEADER.pack(VERSION, len(self._encrypted_key))
        return header + self._encrypted_key + nonce + ciphertext


class KmsSeal:
    """Sealing and opening with the stack's token key."""

    def __init__(self, client: KMSClient, key_arn: str, *, environment: str) -> None:
        self._client = client
        self._key_arn = key_arn
        self._environment = environment

    def prepare(self, connection_id: str, *, subject: str, connector: str) -> KmsSealer:
        """Fetch a data key for the next set of a connection."""
        bound_to = _BoundTo(self._environment, connection_id, subject, connector)
        with translated(SERVICE, _known):
            answer = self._client.generate_data_key(
                KeyId=self._key_arn,
                KeySpec="AES_256",
                EncryptionContext=bound_to.encryption_context(),
            )
        plaintext_key = member(answer, "Plaintext", of=SERVICE)
        encrypted_key = member(answer, "CiphertextBlob", of=SERVICE)
        return KmsSealer(plaintext_key, encrypted_key, bound_to)

    def open(self, connection: Connection) -> TokenSet:
        """Open the set a row holds; raises SetUnreadable if it is not this row's own."""
        encrypted_key, nonce, ciphertext = _parse(connection.sealed)
        bound_to = _BoundTo(
            self._environment, connection.id, connection.subject, connection.connector
        )
        with translated(SERVICE, _known):
            answer = self._client.decrypt(
                KeyId=self._key_arn,
                CiphertextBlob=encrypted_key,
                EncryptionContext=bound_to.encryption_context(),
            )
        data_key = member(answer, "Plaintext", of=SERVICE)
        try:
            plaintext = AESGCM(data_key).decrypt(
                nonce, ciphertext, bound_to.associated_data(connection.generation)
            )
        except (InvalidTag, ValueError):
            raise SetUnreadable(
                detail="the token set is not of this row, person and generation, or was altered"
            ) from None
        return _from_bytes(plaintext)


def _parse(sealed: bytes | None) -> tuple[bytes, bytes, bytes]:
    if not sealed or len(sealed) <= HEADER.size:
        raise SetUnreadable(detail="the row holds no token set")
    version, length = HEADER.unpack_from(sealed)
    rest = sealed[HEADER.size :]
    if version != VERSION or len(rest) <= length + NONCE_LENGTH:
        raise SetUnreadable(detail="the token set has an unknown layout")
    return rest[:length], rest[length : length + NONCE_LENGTH], rest[length + NONCE_LENGTH :]


def _to_bytes(tokens: TokenSet) -> bytes:
    return json.dumps(
        {
            "refresh_token": tokens.refresh_token.reveal(),
            "id_token": tokens.id_token.reveal() if tokens.id_token else None,
        }
    ).encode()


def _from_bytes(plaintext: bytes) -> TokenSet:
    content = json.loads(plaintext)
    id_token = content["id_token"]
    return TokenSet(
        refresh_token=SecretText(content["refresh_token"]),
        id_token=SecretText(id_token) if id_token else None,
    )


def _known(code: str, _: object) -> TokenBrokerError | None:
    if code in NOT_OURS:
        return SetUnreadable(detail=f"{SERVICE}: {code}: the data key is not of this row")
    if code in REFUSALS:
        return BrokerMisconfigured(detail=f"{SERVICE} refuses the token key: {code}")
    return None
