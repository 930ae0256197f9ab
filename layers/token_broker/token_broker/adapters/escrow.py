"""Escrow: sealed token sets in S3, because the table did not take them in time.

One object a set, under connection, generation and attempt, so that no attempt can overwrite what
another one left; what is inside is sealed already. The next attempt that finds its predecessor
unsettled looks here before it sends anything.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from token_broker.adapters.aws import member, translated
from token_broker.domain.connection import Landing, Reason, Suspect
from token_broker.domain.errors import RowNewer, RowUnreadable
from token_broker.domain.token_set import Terms, Verdict

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCHEMA = 1
SERVICE = "S3"


class S3Escrow:
    """Objects of the escrow bucket."""

    def __init__(self, client: S3Client, bucket_name: str) -> None:
        self._client = client
        self._bucket = bucket_name

    def put(self, landing: Landing) -> None:
        """Keep a sealed token set under its connection, generation and attempt."""
        with translated(SERVICE):
            self._client.put_object(
                Bucket=self._bucket,
                Key=_key(landing.connection_id, landing.generation, landing.attempt_id),
                Body=_to_bytes(landing),
                ContentType="application/json",
            )

    def find(self, connection_id: str, generation: int) -> Landing | None:
        """Return the set kept for that generation: a consent's before a rotation's, the latest."""
        prefix = _key(connection_id, generation, "")
        kept = [self._read(item["Key"]) for item in self._list(Prefix=prefix)]
        found = [landing for landing in kept if landing]
        if any((one.connection_id, one.generation) != (connection_id, generation) for one in found):
            raise RowUnreadable(detail="the escrow object is not of this connection")
        return max(found, key=lambda one: (one.consent is not None, one.issued_at), default=None)

    def _read(self, name: str) -> Landing | None:
        with translated(SERVICE):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=name)
            except self._client.exceptions.NoSuchKey:
                return None
            return _from_bytes(member(answer, "Body", of=SERVICE).read())

    def discard(self, connection_id: str, generation: int, attempt_id: str) -> None:
        """Remove the set of one attempt."""
        with translated(SERVICE):
            self._client.delete_object(
                Bucket=self._bucket, Key=_key(connection_id, generation, attempt_id)
            )

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
        with translated(SERVICE):
            for page in pages:
                if member(page, "KeyCount", of=SERVICE):  # a list that was cut is not an empty one
                    yield from member(page, "Contents", of=SERVICE)


def _key(connection_id: str, generation: int, attempt_id: str) -> str:
    return f"{connection_id}/{generation}/{attempt_id}"


def _to_bytes(landing: Landing) -> bytes:
    sealed = base64.b64encode(landing.sealed).decode()
    return json.dumps(asdict(landing) | {"schema": SCHEMA, "sealed": sealed}).encode()


def _from_bytes(body: bytes) -> Landing:
    try:
        kept = json.loads(body)
        if kept.pop("schema", SCHEMA) > SCHEMA:
            raise RowNewer(detail="a later version of the broker wrote this: deploy that one")
        suspect, terms = kept["suspect"], kept.get("terms")  # which the first version lacks
        known = {one.name: kept[one.name] for one in fields(Landing) if one.name in kept}
        return Landing(
            **known
            | {
                "sealed": base64.b64decode(kept["sealed"]),
                "verdict": Verdict(kept["verdict"]),
                "terms": terms and Terms(**terms | {"products": tuple(terms["products"])}),
                "suspect": suspect and Suspect(**suspect | {"reason": Reason(suspect["reason"])}),
            }
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise RowUnreadable(
            detail=f"the escrow object does not read as a token set ({type(exc).__name__})"
        ) from None
