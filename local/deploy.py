"""Deploy the built template to the embedded AWS, and set what that one leaves out of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from botocore.exceptions import WaiterError
from samtranslator.yaml_helper import yaml_parse

from local.embedded_aws import client
from local.processes import NotStartedError

STACK = "akoya-token-broker"
ARTIFACTS = "artifacts"
CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


def deploy(built: Path, port: int, parameters: dict[str, str]) -> dict[str, str]:
    """Create the stack and return its outputs; raise NotStartedError saying what failed."""
    template = _uploaded(built, port)
    cloudformation = client("cloudformation", port)
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    try:
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )
    except WaiterError:
        raise NotStartedError(
            f"the template does not deploy:\n{_failures(cloudformation)}"
        ) from None
    (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    _complete(template, outputs, port)
    return outputs


def _failures(cloudformation: Any) -> str:
    events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
    return "\n".join(
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
        for event in events
        if event["ResourceStatus"].endswith("_FAILED")
    )


def _uploaded(built: Path, port: int) -> dict[str, Any]:
    """Upload every function and layer; return the template that points there."""
    s3 = client("s3", port)
    s3.create_bucket(Bucket=ARTIFACTS)
    template: dict[str, Any] = yaml_parse((built / "template.yaml").read_text())
    for resource in template["Resources"].values():
        if (name := CODE.get(resource["Type"])) is None:
            continue
        folder = built / resource["Properties"][name]
        key = f"{folder.name}.zip"
        s3.put_object(Bucket=ARTIFACTS, Key=key, Body=_zipped(folder))
        resource["Properties"][name] = {"Bucket": ARTIFACTS, "Key": key}
    return template


def _zipped(folder: Path) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return body.getvalue()


def _complete(template: dict[str, Any], outputs: dict[str, str], port: int) -> None:
    """Set what the template says and the embedded AWS's CloudFormation overlooks."""
    resources = template["Resources"]
    dynamodb = client("dynamodb", port)
    for table in ("ConnectionsTable", "AuthorizationsTable", "ControlTable"):
        dynamodb.update_time_to_live(
            TableName=outputs[f"{table}Name"],
            TimeToLiveSpecification=resources[table]["Properties"]["TimeToLiveSpecification"],
        )
        dynamodb.update_continuous_backups(
            TableName=outputs[f"{table}Name"],
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
    lifecycle = resources["EscrowBucket"]["Properties"]["LifecycleConfiguration"]
    client("s3", port).put_bucket_lifecycle_configuration(
        Bucket=outputs["EscrowBucketName"],
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": rule["Id"],
                    "Status": rule["Status"],
                    "Filter": {"Prefix": ""},
                    "Expiration": {"Days": rule["ExpirationInDays"]},
                }
                for rule in lifecycle["Rules"]
            ]
        },
    )
    apigateway = client("apigateway", port)
    for kind, answer in resources["Api"]["Properties"]["GatewayResponses"].items():
        headers = answer["ResponseParameters"]["Headers"]
        apigateway.put_gateway_response(
            restApiId=outputs["ApiId"],
            responseType=kind,
            responseParameters={
                f"gatewayresponse.header.{name}": value for name, value in headers.items()
            },
            responseTemplates=answer["ResponseTemplates"],
            **({"statusCode": answer["StatusCode"]} if "StatusCode" in answer else {}),
        )
    apigateway.create_deployment(restApiId=outputs["ApiId"], stageName="v1")


def put_client_secret(
    outputs: dict[str, str], port: int, *, client_id: str, client_secret: str
) -> None:
    """Fill the secret the stack has created, as an operator does after the first deploy."""
    client("secretsmanager", port).put_secret_value(
        SecretId=outputs["ClientSecretId"],
        SecretString=json.dumps({"client_id": client_id, "client_secret": client_secret}),
    )


def create_user(name: str, policy_arns: Collection[str], port: int) -> dict[str, str]:
    """Create a user who may do what some of the stack's policies say and nothing else."""
    iam = client("iam", port)
    iam.create_user(UserName=name)
    for policy_arn in policy_arns:
        iam.attach_user_policy(UserName=name, PolicyArn=policy_arn)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "aws_access_key_id": key["AccessKeyId"],
        "aws_secret_access_key": key["SecretAccessKey"],
    }
