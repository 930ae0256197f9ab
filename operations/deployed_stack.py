"""A deployed stack's settings, so that a command runs with exactly what the functions run with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from token_broker.domain.errors import BrokerMisconfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedStack:
    """What a command needs to know of a stack."""

    environ: Mapping[str, str]  # its refresh function's, which has all that is needed
    audit_log_group: str


def look_at(stack_name: str) -> DeployedStack:
    """Read a stack's outputs and settings; raises BrokerMisconfigured."""
    try:
        (stack,) = boto3.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
        function = boto3.client("lambda").get_function_configuration(
            FunctionName=outputs["RefreshFunctionName"]
        )
        audit_log_group = outputs["OperatorAuditLogGroupName"]
    except (ClientError, BotoCoreError) as exc:
        raise BrokerMisconfigured(
            detail=f"cannot read stack {stack_name} ({_code(exc)}): check --stack-name, the AWS "
            "region, and that your credentials have the policy of its output OperatorPolicyArn"
        ) from None
    except KeyError:
        raise BrokerMisconfigured(detail=f"{stack_name} is not a stack of this template") from None
    return DeployedStack(
        environ=function["Environment"]["Variables"], audit_log_group=audit_log_group
    )


def _code(exc: ClientError | BotoCoreError) -> str:
    return exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
