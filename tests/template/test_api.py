"""Who may reach which route, what API Gateway itself says, and what it never writes down."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.template.deployed import Deployed, deployed

PUBLIC_ROUTES = {("GET", "/start/{ticket}"), ("GET", "/callback")}
IAM_ROUTES = {
    ("POST", "/connections"),
    ("GET", "/connections"),
    ("GET", "/connections/{id}"),
    ("DELETE", "/connections/{id}"),
    ("POST", "/connections/{id}/confirm"),
    ("POST", "/connections/{id}/token"),
}


def operations(stack: Deployed) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the API does, by method and path."""
    paths = stack.properties("Api")["Body"]["paths"]
    return {
        (method.upper(), path): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_two_routes_are_public_and_every_other_one_needs_a_signature(stack: Deployed) -> None:
    security = {route: found["security"] for route, found in operations(stack).items()}
    public = {route for route, schemes in security.items() if schemes == [{"NONE": []}]}
    signed = {route for route, schemes in security.items() if schemes == [{"AWS_IAM": []}]}
    assert public == PUBLIC_ROUTES
    assert signed == IAM_ROUTES
    assert security.keys() == public | signed


def test_a_callers_right_to_the_api_suffices(stack: Deployed) -> None:
    """With SAM's default the caller's own credentials invoke the function, and need the right."""
    for operation in operations(stack).values():
        assert "credentials" not in operation["x-amazon-apigateway-integration"]


READING = {("GET", "/connections"), ("GET", "/connections/{id}")}
BY_ACT = {
    "LinkPolicy": {("POST", "/connections"), ("POST", "/connections/{id}/confirm"), *READING},
    "BearerPolicy": {("POST", "/connections/{id}/token")},
    "EndPolicy": {("DELETE", "/connections/{id}"), *READING},
}


@pytest.mark.parametrize("policy", BY_ACT)
def test_a_callers_policy_allows_the_routes_of_its_act_alone(stack: Deployed, policy: str) -> None:
    (statement,) = stack.properties(policy)["PolicyDocument"]["Statement"]
    assert statement["Action"] == "execute-api:Invoke"
    assert set(statement["Resource"]) == {
        f"arn:aws:execute-api:us-east-1:123456789012:Api/v1/{method}{path.replace('{id}', '*')}"
        for method, path in BY_ACT[policy]
    }
    assert stack.outputs[f"{policy}Arn"]["Value"] == policy


def test_the_policies_by_act_allow_the_signed_routes_together_and_no_other() -> None:
    assert set().union(*BY_ACT.values()) == IAM_ROUTES
    # A role that asks for bearers cannot end a connection, nor the other way round.
    assert not BY_ACT["BearerPolicy"] & (BY_ACT["LinkPolicy"] | BY_ACT["EndPolicy"])


def test_the_api_is_regional(stack: Deployed) -> None:
    assert stack.properties("Api")["EndpointConfiguration"] == {"Types": ["REGIONAL"]}


def test_the_access_log_holds_the_route_never_the_path_or_the_query(stack: Deployed) -> None:
    setting = stack.properties("Apiv1Stage")["AccessLogSetting"]
    assert setting["DestinationArn"] == "ApiAccessLogGroup.Arn"
    assert set(re.findall(r"\$context\.([\w.]+)", setting["Format"])) == {
        "requestId",
        "requestTime",
        "httpMethod",
        "resourcePath",
        "status",
        "responseLatency",
        "error.responseType",
        "identity.sourceIp",
        "identity.userArn",
    }
    log = json.loads(setting["Format"])
    # The audit lines name it, too: http_api takes it from requestContext.requestId.
    assert log["requestId"] == "$context.requestId"
    assert log["caller"] == "$context.identity.userArn"


def test_requests_are_throttled_and_their_content_is_not_logged(stack: Deployed) -> None:
    (setting,) = stack.properties("Apiv1Stage")["MethodSettings"]
    assert (setting["ResourcePath"], setting["HttpMethod"]) == ("/*", "*")
    assert int(setting["ThrottlingRateLimit"]) == 100
    assert int(setting["ThrottlingBurstLimit"]) == 200
    larger = deployed(ApiRateLimit="1000", ApiBurstLimit="2000").properties("Apiv1Stage")
    (setting,) = larger["MethodSettings"]
    assert int(setting["ThrottlingRateLimit"]) == 1_000
    assert int(setting["ThrottlingBurstLimit"]) == 2_000
    assert setting["LoggingLevel"] == "OFF"
    assert setting["DataTraceEnabled"] is False
    assert not stack.properties("Apiv1Stage").get("TracingEnabled")


@pytest.mark.parametrize("kind", ["DEFAULT_4XX", "DEFAULT_5XX", "THROTTLED", "INTEGRATION_TIMEOUT"])
def test_what_the_gateway_answers_itself_has_the_brokers_form(stack: Deployed, kind: str) -> None:
    answer = stack.properties("Api")["Body"]["x-amazon-apigateway-gateway-responses"][kind]
    headers = answer["responseParameters"]
    assert headers["gatewayresponse.header.Cache-Control"] == "'no-store'"
    assert headers["gatewayresponse.header.Referrer-Policy"] == "'no-referrer'"
    template = answer["responseTemplates"]["application/json"]
    body = json.loads(template.replace("$context.error.messageString", '"Forbidden"'))
    assert set(body) == {"error", "error_description"}


def test_a_cut_answer_tells_to_ask_again(stack: Deployed) -> None:
    answer = stack.properties("Api")["Body"]["x-amazon-apigateway-gateway-responses"][
        "INTEGRATION_TIMEOUT"
    ]
    assert str(answer["statusCode"]) == "504"
    assert answer["responseParameters"]["gatewayresponse.header.Retry-After"] == "'5'"
    body = json.loads(answer["responseTemplates"]["application/json"])
    assert body["error"] == "temporarily_unavailable"
    assert "Repeat the request, or reload this page" in body["error_description"]


def test_who_is_throttled_is_told_so_and_when_to_ask_again(stack: Deployed) -> None:
    answer = stack.properties("Api")["Body"]["x-amazon-apigateway-gateway-responses"]["THROTTLED"]
    assert str(answer["statusCode"]) == "429"
    assert answer["responseParameters"]["gatewayresponse.header.Retry-After"] == "'2'"
    body = json.loads(answer["responseTemplates"]["application/json"])
    assert body["error"] == "too_many_requests"


def test_the_answers_of_the_gateway_are_deployed_with_the_api(stack: Deployed) -> None:
    """One resource of its own each would take effect only with some later deployment."""
    assert not stack.of_type("AWS::ApiGateway::GatewayResponse")


def test_the_accounts_log_role_is_created_only_when_asked_for_and_before_the_api() -> None:
    assert not {"ApiAccount", "ApiLogRole"} & deployed().resources.keys()
    stack = deployed(CreateApiLogRole="true")
    assert stack.properties("ApiAccount")["CloudWatchRoleArn"] == "ApiLogRole.Arn"
    for name in ("ApiAccount", "ApiLogRole"):
        assert stack.resources[name]["DeletionPolicy"] == "Retain"
    assert stack.resources["Api"]["DependsOn"] == "ApiAccount"  # and so does its stage
