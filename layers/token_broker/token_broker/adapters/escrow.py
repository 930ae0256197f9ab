"""Escrow: sealed token sets in S3, because the table did not take them in time.

One object a set, under connection and generation; what is inside is sealed already. The next
attempt that finds its predecessor unsettled looks here before it sends anything.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

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
        """Keep a sealed token set under its connection and generation."""
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=_key(landing.connection_id, landing.generation),
                Body=_to_bytes(landing),
                ContentType="application/json",
            )
        except (ClientError, BotoCoreError) as exc:
            raise _unavailable(exc) from None

    def find(self, connection_id: str, generation: int) -> Landing | None:
        """Return the set kept for that generation, if any."""
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=_key(connection_id, generation)
            )
            body = answer["Body"].read()
        except (ClientError, BotoCoreError) as exc:
            if isinstance(exc, ClientError) and exc.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise _unavailable(exc) from None
        landing = _from_bytes(body)
        if (landing.connection_id, landing.generation) != (connection_id, generation):
            raise RowUnreadable(detail="the escrow object is not of this connection")
        return landing

    def discard(self, connection_id: str, generation: int) -> None:
        """Remove a set that has landed."""
        try:
            self._client.delete_object(Bucket=self._bucket, Key=_key(connection_id, generation))
        except (ClientError, BotoCoreError) as exc:
            raise _unavailable(exc) from None

    def put_before(self, moment: int) -> list[tuple[str, int]]:
        """List connection and generation of what has been there since before a moment."""
        try:
            answer = self._client.list_objects_v2(Bucket=self._bucket)
        except (ClientError, BotoCoreError) as exc:
            raise _unavailable(exc) from None
        old = [
            one["Key"].rpartition("/")
            for one in answer.get("Contents", [])  # the first thousand; more would be an outage
            if one["LastModified"].timestamp() < moment
        ]
        return [
            (connection_id, int(generation))
            for connection_id, _, generation in old
            if generation.isdecimal()  # whatever else lies there is not ours
        ]


def _key(connection_id: str, generation: int) -> str:
    return f"{connection_id}/{generation}"


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
            "suspected": landing.suspect.reason.value if landing.suspect else None,
        }
    ).encode()


def _from_bytes(body: bytes) -> Landing:
    try:
        kept = json.loads(body)
        if kept.pop("schema", SCHEMA) > SCHEMA:
            raise RowUnreadable(detail="a newer version of the broker wrote this: deploy that one")
        suspected = kept.pop("suspected")
        kept.setdefault("consent", kept["attempt_id"])  # the version before did not tell
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
