"""Where tokens are kept: encrypted, restorable, hard to delete, and without more than is needed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tables import Aws, create_storage
from tests.template.deployed import Deployed, deployed, source

TABLES = ("ConnectionsTable", "AuthorizationsTable", "ControlTable")
AUDIT_TRAIL = (
    "ApiAccessLogGroup",
    "AuthorizeLogGroup",
    "ConnectionsLogGroup",
    "TokenLogGroup",
    "OperatorAuditLogGroup",
)
KEPT = (
    "ConnectionsTable",
    "ControlTable",
    "EscrowBucket",
    "TokenKey",
    "ClientSecret",
    *AUDIT_TRAIL,
)


@pytest.mark.parametrize("name", KEPT)
def test_deleting_or_replacing_the_stack_leaves_what_cannot_be_made_again(name: str) -> None:
    resource = source()["Resources"][name]
    assert resource["DeletionPolicy"] == "Retain"
    assert resource["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("days", ["365", "3653"])
def test_the_audit_trail_is_kept_as_long_as_its_own_parameter_says(days: str) -> None:
    stack = deployed(AuditRetentionDays=days, LogRetentionDays="7")
    kept = {name: group["RetentionInDays"] for name, group in log_groups(stack).items()}
    assert {name for name, value in kept.items() if str(value) == days} == set(AUDIT_TRAIL)
    assert {str(value) for name, value in kept.items() if name not in AUDIT_TRAIL} == {"7"}


def test_what_is_kept_is_in_no_later_stacks_way(stack: Deployed) -> None:
    """A name made of the stack's would be taken when a stack of that name is made again."""
    for name in KEPT:
        properties = stack.properties(name)
        named = {key: value for key, value in properties.items() if key.endswith("Name")}
        assert all("broker" not in value for value in named.values()), name
    for name, group in log_groups(stack).items():
        if "LogGroupName" in group:
            function = group["LogGroupName"].removeprefix("/aws/lambda/")
            assert function == f"{name.removesuffix('LogGroup')}Function"
            assert "FunctionName" not in stack.properties(function), "CloudFormation makes it up"


def log_groups(stack: Deployed) -> dict[str, dict[str, Any]]:
    return stack.of_type("AWS::Logs::LogGroup")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_encrypted_restorable_and_paid_by_request(stack: Deployed, name: str) -> None:
    table = stack.properties(name)
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_the_connections_table_cannot_be_deleted_by_a_slip(stack: Deployed) -> None:
    assert stack.properties("ConnectionsTable")["DeletionProtectionEnabled"] is True


def test_tables_forget_what_is_over_and_never_by_the_expiry_of_a_bearer(stack: Deployed) -> None:
    forgetting = {name: stack.properties(name)["TimeToLiveSpecification"] for name in TABLES}
    assert forgetting == {
        "ConnectionsTable": {"AttributeName": "gone_at", "Enabled": True},
        "AuthorizationsTable": {"AttributeName": "expires_at", "Enabled": True},
        "ControlTable": {"AttributeName": "expires_at", "Enabled": True},
    }


def test_the_due_index_holds_no_more_than_what_is_measured_of_it_and_whose_turn_it_is(
    stack: Deployed,
) -> None:
    index = indexes(stack)["due"]
    assert index["Projection"] == {
        "ProjectionType": "INCLUDE",
        "NonKeyAttributes": ["status", "expires_at", "asked_at", "suspect", "connector"],
    }


def test_no_refresh_is_written_into_the_subject_index(stack: Deployed) -> None:
    index = indexes(stack)["subject"]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["subject", "linked_at"]


def indexes(stack: Deployed) -> dict[str, dict[str, Any]]:
    found = stack.properties("ConnectionsTable")["GlobalSecondaryIndexes"]
    return {index["IndexName"]: index for index in found}


@pytest.mark.parametrize("name", TABLES)
def test_tests_run_on_tables_of_the_same_keys_and_indexes(
    stack: Deployed, aws: Aws, name: str
) -> None:
    prefix = name.lower()
    create_storage(aws, prefix, client_id="client-1", client_secret="-")
    suffix = name.removesuffix("Table").lower()
    made = aws.dynamodb.describe_table(TableName=f"{prefix}-{suffix}")["Table"]
    declared = stack.properties(name)
    assert made["KeySchema"] == declared["KeySchema"]
    assert sorted(map(repr, made["AttributeDefinitions"])) == sorted(
        map(repr, declared["AttributeDefinitions"])
    )
    for index in declared.get("GlobalSecondaryIndexes", []):
        (twin,) = (
            found
            for found in made["GlobalSecondaryIndexes"]
            if found["IndexName"] == index["IndexName"]
        )
        assert twin["KeySchema"] == index["KeySchema"]
        assert twin["Projection"] == index["Projection"]


def test_the_token_key_rotates_and_only_iam_of_this_account_governs_it(stack: Deployed) -> None:
    key = stack.properties("TokenKey")
    assert key["EnableKeyRotation"] is True
    (statement,) = key["KeyPolicy"]["Statement"]
    assert statement["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    assert stack.properties("TokenKeyAlias")["TargetKeyId"] == "TokenKey"


def test_the_escrow_bucket_is_private_and_forgets(stack: Deployed) -> None:
    bucket = stack.properties("EscrowBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["ExpirationInDays"] == 30
    assert "VersioningConfiguration" not in bucket, "an old version would outlive its removal"


def test_the_escrow_bucket_refuses_plain_http(stack: Deployed) -> None:
    policy = stack.properties("EscrowBucketPolicy")
    assert policy["Bucket"] == "EscrowBucket"
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert (statement["Principal"], statement["Action"]) == ("*", "s3:*")
    assert statement["Resource"] == ["EscrowBucket.Arn", "EscrowBucket.Arn/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_template_holds_no_secret_and_says_the_shape_of_the_one_to_put(
    stack: Deployed,
) -> None:
    secret = stack.properties("ClientSecret")
    assert not {"SecretString", "GenerateSecretString"} & secret.keys()
    assert '{"client_id": "...", "client_secret": "..."}' in secret["Description"]
