"""Functions and operator may do what they must, by action and resource, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.template.deployed import ROOT, Deployed, deployed
from token_broker.store.connection_row import PUBLIC

FUNCTIONS = ("Authorize", "Callback", "Connections", "Token", "Refresh")

# Who may do what, by resource. A line added here is a right somebody has to have asked for.
RIGHTS: dict[str, dict[str, set[str]]] = {
    "Authorize": {
        "AuthorizationsTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "ConnectionsTable.Arn": {"dynamodb:GetItem"},
        "ClientSecret.Id": {"secretsmanager:DescribeSecret"},
    },
    "Callback": {
        "AuthorizationsTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "ConnectionsTable.Arn": {
            "dynamodb:DeleteItem",
            "dynamodb:DescribeTable",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
        },
        "ControlTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "TokenKey.Arn": {"kms:GenerateDataKey"},
        "ClientSecret.Id": {"secretsmanager:GetSecretValue"},
        "EscrowBucket.Arn": {"s3:ListBucket"},
        "EscrowBucket.Arn/*": {"s3:DeleteObject", "s3:GetObject", "s3:PutObject"},
    },
    "Connections": {
        "ConnectionsTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "ConnectionsTable.Arn/index/subject": {"dynamodb:Query"},
    },
    "Token": {
        "ConnectionsTable.Arn": {
            "dynamodb:DescribeTable",
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
        },
        "ConnectionsTable.Arn/index/due": {"dynamodb:Query"},
        "ControlTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "TokenKey.Arn": {"kms:Decrypt", "kms:GenerateDataKey"},
        "ClientSecret.Id": {"secretsmanager:GetSecretValue"},
        "EscrowBucket.Arn": {"s3:ListBucket"},
        "EscrowBucket.Arn/*": {"s3:DeleteObject", "s3:GetObject", "s3:PutObject"},
    },
    "Refresh": {
        "ConnectionsTable.Arn": {
            "dynamodb:DeleteItem",
            "dynamodb:DescribeTable",
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
        },
        "ConnectionsTable.Arn/index/due": {"dynamodb:Query"},
        "ControlTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "TokenKey.Arn": {"kms:Decrypt", "kms:GenerateDataKey"},
        "ClientSecret.Id": {"secretsmanager:GetSecretValue"},
        "EscrowBucket.Arn": {"s3:ListBucket"},
        "EscrowBucket.Arn/*": {"s3:DeleteObject", "s3:GetObject", "s3:PutObject"},
    },
    "Operator": {
        "arn:aws:cloudformation:us-east-1:123456789012:stack/broker/*": {
            "cloudformation:DescribeStacks"
        },
        "RefreshFunction.Arn": {"lambda:GetFunctionConfiguration"},
        "OperatorAuditLogGroup.Arn": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "arn:aws:logs:us-east-1:123456789012:log-group:OperatorAuditLogGroup": {
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        },
        "ConnectionsTable.Arn": {
            "dynamodb:DescribeTable",
            "dynamodb:GetItem",
            "dynamodb:Scan",
            "dynamodb:UpdateItem",
        },
        "TokenKey.Arn": {"kms:Decrypt", "kms:GenerateDataKey"},
        "EscrowBucket.Arn": {"s3:ListBucket"},
        "EscrowBucket.Arn/*": {"s3:DeleteObject", "s3:GetObject", "s3:PutObject"},
    },
}


def statements(stack: Deployed, holder: str) -> list[dict[str, Any]]:
    """Return what a function's role, or the operator's policy, allows, statement by statement."""
    if holder == "Operator":
        policies = [stack.properties("OperatorPolicy")]
    else:
        policies = stack.properties(f"{holder}FunctionRole")["Policies"]
    return [found for policy in policies for found in policy["PolicyDocument"]["Statement"]]


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("holder", RIGHTS)
def test_a_function_or_operator_has_exactly_the_rights_needed(stack: Deployed, holder: str) -> None:
    rights: dict[str, set[str]] = {}
    for statement in statements(stack, holder):
        assert statement["Effect"] == "Allow"
        for resource in as_list(statement["Resource"]):
            rights.setdefault(resource, set()).update(as_list(statement["Action"]))
    assert rights == RIGHTS[holder]


def test_every_function_of_the_stack_is_in_the_list_of_rights(stack: Deployed) -> None:
    functions = stack.of_type("AWS::Lambda::Function")
    assert set(functions) == {f"{holder}Function" for holder in RIGHTS.keys() - {"Operator"}}
    folders = {path.parent.name.title() for path in ROOT.glob("functions/*/app.py")}
    assert folders == RIGHTS.keys() - {"Operator"}


def test_no_role_is_shared_and_none_is_given_more_by_a_managed_policy(stack: Deployed) -> None:
    logs_only = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    roles = stack.of_type("AWS::IAM::Role")
    assert set(roles) == {f"{function}FunctionRole" for function in FUNCTIONS}
    assert all(role["ManagedPolicyArns"] == [logs_only] for role in roles.values())
    for function in FUNCTIONS:
        role = stack.properties(f"{function}Function")["Role"]
        assert role == f"{function}FunctionRole.Arn"


def test_no_action_is_a_wildcard(stack: Deployed) -> None:
    actions = {
        action
        for holder in RIGHTS
        for statement in statements(stack, holder)
        for action in as_list(statement["Action"])
    }
    assert not {action for action in actions if "*" in action}


def test_the_functions_reached_without_a_key_cannot_open_a_token_set(stack: Deployed) -> None:
    for function in ("Authorize", "Callback", "Connections"):
        for statement in statements(stack, function):
            assert "kms:Decrypt" not in as_list(statement["Action"])


def test_authorize_reads_of_a_connection_what_is_public_and_must_say_so(stack: Deployed) -> None:
    (condition,) = (
        statement["Condition"]
        for statement in statements(stack, "Authorize")
        if statement["Resource"] == "ConnectionsTable.Arn"
    )
    readable = condition["ForAllValues:StringEquals"]["dynamodb:Attributes"]
    assert sorted(readable) == sorted(PUBLIC)
    assert not {"token_set", "confirmation_hash"} & set(readable)
    # Without naming attributes a read would return all of them.
    assert condition["StringEqualsIfExists"] == {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"}


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_the_token_key_serves_the_stacks_own_environment_only(environment: str) -> None:
    stack = deployed(Environment=environment)
    for holder in ("Callback", "Token", "Refresh", "Operator"):
        (condition,) = (
            statement["Condition"]
            for statement in statements(stack, holder)
            if statement["Resource"] == "TokenKey.Arn"
        )
        assert condition == {
            "StringEquals": {"kms:EncryptionContext:environment": environment},
        }


def test_a_secret_of_the_operators_own_is_the_only_one_read() -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:akoya-AbCdEf"
    stack = deployed(ClientSecretArn=arn)
    assert "ClientSecret" not in stack.resources
    for function in ("Callback", "Token", "Refresh"):
        readable = [
            statement["Resource"]
            for statement in statements(stack, function)
            if statement["Action"] == "secretsmanager:GetSecretValue"
        ]
        assert readable == [arn]
        variables = stack.properties(f"{function}Function")["Environment"]["Variables"]
        assert variables["CLIENT_SECRET_ID"] == arn


def test_a_permissions_boundary_bounds_every_role() -> None:
    arn = "arn:aws:iam::123456789012:policy/boundary"
    bounded = deployed(PermissionsBoundaryArn=arn).of_type("AWS::IAM::Role")
    assert {role["PermissionsBoundary"] for role in bounded.values()} == {arn}
    unbounded = deployed().of_type("AWS::IAM::Role")
    assert not any("PermissionsBoundary" in role for role in unbounded.values())
