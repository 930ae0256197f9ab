"""The stack's storage on in-memory AWS, with the keys and indexes the template declares."""

from __future__ import annotations

import json
from typing import Any

import boto3


def create_tables(*, client_id: str, client_secret: str) -> dict[str, Any]:
    """Create tables, key, secret and bucket; return the clients and the key's ARN."""
    region = "us-east-1"
    dynamodb = boto3.client("dynamodb", region_name=region)
    dynamodb.create_table(
        TableName="connections",
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
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "shard", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
            {
                "IndexName": "subject",
                "KeySchema": [
                    {"AttributeName": "subject", "KeyType": "HASH"},
                    {"AttributeName": "linked_at", "KeyType": "RANGE"},
                ],
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": [
                        "status",
                        "reason",
                        "connector",
                        "generation",
                        "expires_at",
                        "due_at",
                        "asked_at",
                        "updated_at",
                        "last_event",
                    ],
                },
            },
        ],
    )
    for table in ("authorizations", "control"):
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )
    dynamodb.meta.events.register("after-call.dynamodb.DescribeTable", _give_table_id)
    s3 = boto3.client("s3", region_name=region)
    s3.create_bucket(Bucket="escrow")
    kms = boto3.client("kms", region_name=region)
    secretsmanager = boto3.client("secretsmanager", region_name=region)
    secretsmanager.create_secret(
        Name="client-secret",
        SecretString=json.dumps({"client_id": client_id, "client_secret": client_secret}),
    )
    return {
        "dynamodb": dynamodb,
        "s3": s3,
        "kms": kms,
        "secretsmanager": secretsmanager,
        "key_arn": kms.create_key()["KeyMetadata"]["Arn"],
    }


def _give_table_id(parsed: dict[str, Any], **_: Any) -> None:
    """Give a table the id moto forgets: one that changes when it is made anew."""
    table = parsed["Table"]
    table["TableId"] = f"{table['TableArn']}@{table['CreationDateTime']}"
