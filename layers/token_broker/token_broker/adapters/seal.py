"""Sealing of token sets: AES-256-GCM under a KMS data key of its own for every write.

KMS binds the data key to environment and connection (its encryption context, which CloudTrail
shows for every decrypt); the associated data binds the set to its generation as well. So a sealed
set moved to another row, or an older one put back, does not open.

Layout: version (1 byte), length of the encrypted data key (2, big-endian), the encrypted data key,
nonce (12), ciphertext with tag.
"""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from token_broker.domain.connection import Connection
from token_broker.domain.errors import (
    BrokerMisconfigured,
    RowUnreadable,
    TokenBrokerError,
    UpstreamUnavailable,
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
NOT_OURS = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


class KmsSealer:
    """A fresh data key for one set of one connection."""

    def __init__(self, plaintext_key: bytes, encrypted_key: bytes, context: str) -> None:
        self._aead = AESGCM(plaintext_key)
        self._encrypted_key = encrypted_key
        self._context = context

    def seal(self, tokens: TokenSet, *, generation: int) -> bytes:
        """Seal a set as that generation of the connection the key was made for."""
        nonce = os.urandom(NONCE_LENGTH)
        ciphertext = self._aead.encrypt(
            nonce, _to_bytes(tokens), _associated_data(self._context, generation)
        )
        header = HEADER.pack(VERSION, len(self._encrypted_key))
        return header + self._encrypted_key + nonce + ciphertext


class KmsSeal:
    """Sealing and opening with the stack's token key."""

    def __init__(self, client: KMSClient, key_arn: str, *, environment: str) -> None:
        self._client = client
        self._key_arn = key_arn
        self._environment = environment

    def prepare(self, connection_id: str) -> KmsSealer:
        """Fetch a data key for the next set of a connection."""
        try:
            answer = self._client.generate_data_key(
                KeyId=self._key_arn,
                KeySpec="AES_256",
                EncryptionContext=self._encryption_context(connection_id),
            )
        except (ClientError, BotoCoreError) as exc:
            raise _failure(exc) from None
        return KmsSealer(
            answer["Plaintext"], answer["CiphertextBlob"], self._context(connection_id)
        )

    def open(self, connection: Connection) -> TokenSet:
        """Open the set a row holds; raises RowUnreadable if it is not this row's own."""
        encrypted_key, nonce, ciphertext = _parse(connection.sealed)
        try:
            data_key = self._client.decrypt(
                KeyId=self._key_arn,
                CiphertextBlob=encrypted_key,
                EncryptionContext=self._encryption_context(connection.id),
            )["Plaintext"]
        except (ClientError, BotoCoreError) as exc:
            raise _failure(exc) from None
        try:
            plaintext = AESGCM(data_key).decrypt(
                nonce,
                ciphertext,
                _associated_data(self._context(connection.id), connection.generation),
            )
        except (InvalidTag, ValueError):
            raise RowUnreadable(
                detail="the token set is not of this row and generation, or was altered"
            ) from None
        return _from_bytes(plaintext)

    def _encryption_context(self, connection_id: str) -> dict[str, str]:
        return {"environment": self._environment, "connection_id": connection_id}

    def _context(self, connection_id: str) -> str:
        return f"{self._environment}/{connection_id}"


def _associated_data(context: str, generation: int) -> bytes:
    return f"{context}/{generation}".encode()


def _parse(sealed: bytes | None) -> tuple[bytes, bytes, bytes]:
    if not sealed or len(sealed) <= HEADER.size:
        raise RowUnreadable(detail="the row holds no token set")
    version, length = HEADER.unpack_from(sealed)
    rest = sealed[HEADER.size :]
    if version != VERSION or len(rest) <= length + NONCE_LENGTH:
        raise RowUnreadable(detail="the token set has an unknown layout")
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


def _failure(exc: ClientError | BotoCoreError) -> TokenBrokerError:
    code = exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
    if code in NOT_OURS:
        return RowUnreadable(detail=f"KMS: {code}: the data key is not of this row")
    if code in REFUSALS:
        return BrokerMisconfigured(detail=f"KMS refuses the token key: {code}")
    return UpstreamUnavailable(detail=f"KMS: {code}", retry_after=5)
