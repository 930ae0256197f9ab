"""Escrow: sealed token sets in S3, because the table did not take them in time.

One object a set, under connection, generation and attempt, so that no attempt can overwrite what
another one left; what is inside is sealed already. The next attempt that finds its predecessor
unsettled looks here before it sends anything.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.adapters.answers import member
from token_broker.domain.connection import Landing, Reason, Suspect
from token_broker.domain.errors import RowUnreadable, UpstreamUnavailable
from token_broker.domain.token_set import Verdict

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCHEMA = 1


class S3Escrow:
    """Objects of the escrow bucket."""

    def __init__(self, client: S3Client, bucket_name: str) -> None:
        self._client = client
        self._bucket = bucket_name

    def put(self, landing: Landing) -> None:
        """Keep a sealed token set under its connection, generation and attempt."""
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=_key(landing.connection_id, landing.generation, landing.attempt_id),
                Body=_to_bytes(landing),
                ContentType="application/json",
            )
        except (ClientError, BotoCoreError) as exc:
            raise _unavailable(exc) from None

    def find(self, connection_id: str, generation: int) -> Landing | None:
        """Return the set kept for that generation: a consent's before a rotation's, the latest."""
        prefix = _key(connection_id, generation, "")
        kept = [self._read(item["Key"]) for item in self._list(Prefix=prefix)]
        found = [landing for landing in kept if landing]
        if any((one.connection_id, one.generation) != (connection_id, generation) for one in found):
            raise RowUnreadable(detail="the escrow object is not of this connection")
        return max(found, key=lambda one: (one.consent is not None, one.issued_at), default=None)

    def _read(self, name: str) -> Landing | None:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            body = member(answer, "Body", of="S3").read()
        except (ClientError, BotoCoreError) as exc:
            if isinstance(exc, ClientError) and exc.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise _unavailable(exc) from None
        return _from_bytes(body)

    def discard(self, connection_id: str, generation: int, attempt_id: str) -> None:
        """Remove the set of one attempt."""
        try:
            self._client.delete_object(
                Bucket=self._bucket, Key=_key(connection_id, generation, attempt_id)
            )
        except (ClientError, BotoCoreError) as exc:
            raise _unavailable(exc) from None

    def put_before(self, moment: int) -> Iterator[tuple[str, int, str]]:
        """List connection, generation and attempt of what has been there since before a moment."""
        for item in self._list():
            connection_id, _, rest = item["Key"].partition("/")
            generation, _, attempt_id = rest.partition("/")
            is_ours = generation.isdecimal() and attempt_id
            if is_ours and item["LastModified"].timestamp() < moment:
                yield connection_id, int(generation), attempt_id

    def _list(self, **which: Any) -> Iterator[Any]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **which)
        try:
            for page in pages:
                if member(page, "KeyCount", of="S3"):  # a list that was cut is not an empty one
                    yield from member(page, "Contents", of="S3")
        except (ClientError, BotoCoreError) as exc:
            raise _unavailable(exc) from None


def _key(connection_id: str, generation: int, attempt_id: str) -> str:
    return f"{connection_id}/{generation}/{attempt_id}"


def _to_bytes(landing: Landing) -> bytes:
    return json.dumps(
        {
            "schema": SCHEMA,
            "connection_id": landing.connection_id,
            "generation": landing.generation,
            "attempt_id": landing.attempt_id,
            "sealed": base64.b64encode(landing.sealed).decode(),
            "login": landing.login,
            "issued_at": landing.issued_at,
            "expires_at": landing.expires_at,
            "verdict": landing.verdict.value,
            "iat": landing.iat,
            "consent": landing.consent,
            "predecessor_resent": landing.predecessor_resent,
            "suspected": landing.suspect.reason.value if landing.suspect else None,
        }
    ).encode()


def _from_bytes(body: bytes) -> Landing:
    try:
        kept = json.loads(body)
        if kept.pop("schema", SCHEMA) > SCHEMA:
            raise RowUnreadable(detail="a newer version of the broker wrote this: deploy that one")
        suspected = kept.pop("suspected")
        return Landing(
            **kept
            | {
                "sealed": base64.b64decode(kept["sealed"]),
                "verdict": Verdict(kept["verdict"]),
                "suspect": Suspect(
                    generation=kept["generation"],
                    reason=Reason(suspected),
                    since=kept["issued_at"],
                    streak_since=kept["issued_at"],
                )
                if suspected
                else None,
            }
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise RowUnreadable(
            detail=f"the escrow object does not read as a token set ({type(exc).__name__})"
        ) from None


def _unavailable(exc: ClientError | BotoCoreError) -> UpstreamUnavailable:
    code = exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
    return UpstreamUnavailable(detail=f"S3: {code}", retry_after=5)
