"""The hand-out of a fresh bearer: the function `token`, and the two calls to AWS it has to make."""

from __future__ import annotations

import boto3

from benchmarks.acts import CONNECTIONS, Act, function
from benchmarks.ratios import Ratios
from benchmarks.stack import measured, stack
from token_broker.adapters.seal import HEADER


def ours() -> Act:
    """Ask the function for a bearer that lives."""
    ask, _ = function()
    return Act(ask)


def bare() -> Act:
    """Read the row and let KMS open its data key, with clients that are kept."""
    _, connection_id = function()  # so that there is such a row
    dynamodb, kms = boto3.client("dynamodb"), boto3.client("kms")

    def read() -> None:
        row = dynamodb.get_item(
            TableName=CONNECTIONS, Key={"id": {"S": connection_id}}, ConsistentRead=True
        )["Item"]
        sealed = row["token_set"]["B"]
        _, length = HEADER.unpack_from(sealed)
        kms.decrypt(
            CiphertextBlob=sealed[HEADER.size : HEADER.size + length],
            EncryptionContext={"environment": "sandbox", "connection_id": connection_id},
        )

    return Act(read)


SIDES = {"ours": ours, "bare": bare}


def ratios(turns: int) -> Ratios:
    """Return the CPU of a hand-out against the two calls'."""
    found: list[float] = []
    with stack() as environment:
        for _ in range(turns):
            cpu = {side: measured(__name__, side, environment) for side in SIDES}
            found.append(cpu["ours"] / cpu["bare"])
    return {("a hand-out of a fresh bearer, CPU", "`get_item`, `decrypt`"): found}
