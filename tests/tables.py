"""The stack's storage on in-memory AWS, with the keys and indexes the template declares."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import boto3

REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Index:
    """An index of the connections table: its two keys, and what it holds beside them."""

    partition: str
    order: str
    included: tuple[str, ...]

    @property
    def attributes(self) -> tuple[str, ...]:
        return ("id", self.partition, self.order, *self.included)


INDEXES = {
    "due": Index("shard", "due_at", ("status", "expires_at", "asked_at", "suspect", "connector")),
    "subject": Index("subject", "linked_at", ()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Aws:
    """Clients of an in-memory AWS, and the token key in it."""

    dynamodb: Any
    s3: Any
    kms: Any
    secretsmanager: Any
    key_arn: str

    @classmethod
    def connect(cls) -> Aws:
        """Make the clients; worth sharing between worlds, for they are slow to make."""
        kms = boto3.client("kms", region_name=REGION)
        dynamodb = boto3.client("dynamodb", region_name=REGION)
        give_table_ids(dynamodb)
        return cls(
            dynamodb=dynamodb,
            s3=boto3.client("s3", region_name=REGION),
            kms=kms,
            secretsmanager=boto3.client("secretsmanager", region_name=REGION),
            key_arn=kms.create_key()["KeyMetadata"]["Arn"],
        )


def create_storage(aws: Aws, prefix: str, *, client_id: str, client_secret: str) -> None:
    """Create tables, secret and bucket, each named after the prefix."""
    create_tables(aws.dynamodb, prefix)
    aws.s3.create_bucket(Bucket=f"{prefix}-escrow")
    aws.secretsmanager.create_secret(
        Name=f"{prefix}-client-secret",
        SecretString=json.dumps({"client_id": client_id, "client_secret": client_secret}),
    )


def create_tables(dynamodb: Any, prefix: str) -> None:
    """Create the three tables, each named after the prefix."""
    dynamodb.create_table(
        TableName=f"{prefix}-connections",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind}
            for name, kind in {
                "id": "S",
                "shard": "N",
                "due_at": "N",
                "subject": "S",
                "linked_at": "N",
            }.items()
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": name,
                "KeySchema": [
                    {"AttributeName": index.partition, "KeyType": "HASH"},
                    {"AttributeName": index.order, "KeyType": "RANGE"},
                ],
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": list(index.included),
                }
                if index.included
                else {"ProjectionType": "KEYS_ONLY"},
            }
            for name, index in INDEXES.items()
        ],
    )
    for table in ("authorizations", "control"):
        dynamodb.create_table(
            TableName=f"{prefix}-{table}",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )


def give_table_ids(dynamodb: Any) -> None:
    """Give tables the id that moto and DynamoDB Local forget: another when made anew."""
    dynamodb.meta.events.register("after-call.dynamodb.DescribeTable", _give_table_id)


def _give_table_id(parsed: dict[str, Any], **_: Any) -> None:
    table = parsed["Table"]
    table["TableId"] = f"{table['TableArn']}@{table['CreationDateTime']}"
