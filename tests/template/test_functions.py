"""What every function runs on, how long it may, where it logs, and who learns of its failure."""

from __future__ import annotations

import json

import pytest

from tests.template.deployed import ROOT, Deployed, deployed, source
from token_broker.domain.refresh_policy import REFRESH_BUDGET, SENDING_WINDOW
from token_broker.store.connection_row import SHARDS

MINUTE = 60
API_GATEWAY_TIMEOUT = 29
AUDITED = {"Authorize", "Connections", "Token"}  # their logs say who asked for what
FUNCTIONS = ("Authorize", "Callback", "Connections", "Token", "Refresh")


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_function_is_one_file_on_the_two_layers(stack: Deployed, function: str) -> None:
    properties = stack.properties(f"{function}Function")
    assert properties["Handler"] == "app.lambda_handler"
    assert properties["Runtime"] == "python3.13"
    assert properties["Architectures"] == ["arm64"]
    dependencies, broker = properties["Layers"]
    assert dependencies.startswith("DependenciesLayer")
    assert broker.startswith("TokenBrokerLayer")
    folder = ROOT / "functions" / function.lower()
    assert properties["Code"]["S3Key"] == f"functions/{folder.name}"
    assert [path.name for path in folder.iterdir() if path.name != "__pycache__"] == ["app.py"]


def test_a_function_logs_json_into_a_group_with_an_end(stack: Deployed, function: str) -> None:
    group = stack.properties(f"{function}LogGroup")
    assert group["LogGroupName"] == f"/aws/lambda/{function}Function"
    assert int(group["RetentionInDays"]) == (400 if function in AUDITED else 90)
    assert stack.properties(f"{function}Function")["LoggingConfig"] == {"LogFormat": "JSON"}


def test_a_functions_log_group_follows_it_in_the_template(function: str) -> None:
    names = list(source()["Resources"])
    assert names[names.index(f"{function}Function") + 1] == f"{function}LogGroup"


PREPARING = 10  # seconds for what comes before a send: cold start, table, key, secret


@pytest.mark.parametrize("sender", ["Callback", "Token"])
def test_who_sends_lives_to_keep_a_late_answer_and_that_of_a_repeat(
    stack: Deployed, sender: str
) -> None:
    timeout = stack.properties(f"{sender}Function")["Timeout"]
    assert timeout > API_GATEWAY_TIMEOUT
    assert timeout >= PREPARING + REFRESH_BUDGET


def test_a_refresh_begun_at_the_end_of_a_runs_window_still_ends_in_its_time(
    stack: Deployed,
) -> None:
    timeout = stack.properties("RefreshFunction")["Timeout"]
    assert timeout >= SENDING_WINDOW + REFRESH_BUDGET + PREPARING
    assert SENDING_WINDOW < MINUTE  # first sends of two runs never overlap: rates do not add


@pytest.mark.parametrize("quick", ["Authorize", "Connections"])
def test_who_does_not_send_ends_before_the_gateway_gives_up(stack: Deployed, quick: str) -> None:
    assert stack.properties(f"{quick}Function")["Timeout"] < API_GATEWAY_TIMEOUT


def test_refresh_is_started_every_minute_and_the_next_minute_is_the_retry(
    stack: Deployed,
) -> None:
    for rule in stack.of_type("AWS::Events::Rule").values():
        assert rule["ScheduleExpression"] == "rate(1 minute)"
        (target,) = rule["Targets"]
        assert target["Arn"] == "RefreshFunction.Arn"
        assert target["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
        assert "DeadLetterConfig" not in target
    invoke = stack.properties("RefreshFunctionEventInvokeConfig")
    assert (invoke["MaximumRetryAttempts"], invoke["MaximumEventAgeInSeconds"]) == (0, 60)
    assert not invoke.get("DestinationConfig")
    assert stack.of_type("AWS::SQS::Queue") == {}


@pytest.mark.parametrize("lanes", source()["Parameters"]["Lanes"]["AllowedValues"])
@pytest.mark.parametrize("state", ["ENABLED", "DISABLED"])
def test_there_is_one_schedule_a_lane_and_it_says_which(lanes: int, state: str) -> None:
    rules = deployed(Lanes=str(lanes), ScheduleState=state).of_type("AWS::Events::Rule").values()
    on = [json.loads(rule["Targets"][0]["Input"]) for rule in rules if rule["State"] == "ENABLED"]

    expected = range(lanes) if state == "ENABLED" else ()
    assert sorted(on, key=lambda one: one["lane"]) == [{"lane": n, "of": lanes} for n in expected]
    assert {rule["State"] for rule in rules} <= {"ENABLED", "DISABLED"}


def test_there_are_shards_enough_for_all_lanes() -> None:
    assert max(source()["Parameters"]["Lanes"]["AllowedValues"]) == SHARDS


def test_only_the_schedule_starts_refresh_and_only_the_api_the_others(stack: Deployed) -> None:
    principals: dict[str, set[str]] = {}
    for permission in stack.of_type("AWS::Lambda::Permission").values():
        assert permission["SourceArn"]
        principals.setdefault(permission["FunctionName"], set()).add(permission["Principal"])
    assert principals.pop("RefreshFunction") == {"events.amazonaws.com"}
    assert principals == {
        f"{function}Function": {"apigateway.amazonaws.com"}
        for function in FUNCTIONS
        if function != "Refresh"
    }


@pytest.mark.parametrize("layer", ["DependenciesLayer", "TokenBrokerLayer"])
def test_a_layer_is_built_for_what_the_functions_run_on(layer: str) -> None:
    """Without BuildArchitecture the build takes this machine's binaries and says it succeeded."""
    template = source()
    everywhere = template["Globals"]["Function"]
    described = template["Resources"][layer]
    assert [described["Metadata"]["BuildArchitecture"]] == everywhere["Architectures"]
    assert described["Metadata"]["BuildMethod"] == everywhere["Runtime"]
    assert described["Properties"]["CompatibleArchitectures"] == everywhere["Architectures"]
    assert described["Properties"]["CompatibleRuntimes"] == [everywhere["Runtime"]]


def test_nothing_is_traced(stack: Deployed) -> None:
    """A trace keeps addresses, and ours carry tickets, codes and states."""
    assert not any(
        "TracingConfig" in one for one in stack.of_type("AWS::Lambda::Function").values()
    )


def test_the_layer_roots_are_bare() -> None:
    """What lies in a layer's root ships."""
    roots = {layer: list((ROOT / "layers" / layer).iterdir()) for layer in LAYER_ROOTS}
    found = {layer: {path.name for path in paths} for layer, paths in roots.items()}
    assert found == LAYER_ROOTS


LAYER_ROOTS = {"dependencies": {"requirements.txt"}, "token_broker": {"token_broker"}}
