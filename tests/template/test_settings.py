"""The template sets what the code reads, no more and no less, within the bounds the code checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.template.deployed import Deployed, deployed, refused, source
from token_broker.domain.authorization import CodeBinding
from token_broker.domain.errors import BrokerMisconfigured
from token_broker.domain.refresh_policy import SENDING_WINDOW
from token_broker.runtime import bootstrap, settings

POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}

BUILDERS: dict[str, Callable[[Mapping[str, str]], Any]] = {
    "Authorize": bootstrap.linking,
    "Callback": bootstrap.finishing,
    "Connections": bootstrap.connections_admin,
    "Token": bootstrap.handing_out,
    "Refresh": bootstrap.tending,
}


class Recorded(Mapping[str, str]):
    """An environment that remembers which of its variables were read."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def variables(stack: Deployed, function: str) -> dict[str, str]:
    found = stack.properties(f"{function}Function")["Environment"]["Variables"]
    return {name: str(value) for name, value in found.items()}


@pytest.mark.parametrize("function", BUILDERS)
def test_a_function_is_set_what_it_reads_and_reads_what_it_is_set(
    stack: Deployed, function: str
) -> None:
    given = Recorded(variables(stack, function))
    BUILDERS[function](given)
    assert given.read == set(given) - POWERTOOLS


def test_each_setting_is_of_one_variable_and_some_function_is_set_it(stack: Deployed) -> None:
    table = [one.variable for one in vars(settings).values() if isinstance(one, settings.Setting)]
    given = set().union(*(variables(stack, function) for function in BUILDERS))
    assert len(table) == len(set(table))
    assert set(table) == given - POWERTOOLS


def test_every_function_logs_and_counts_under_the_stacks_name(stack: Deployed) -> None:
    for function in BUILDERS:
        given = variables(stack, function)
        assert {name: given[name] for name in POWERTOOLS} == {
            "POWERTOOLS_SERVICE_NAME": "broker",
            "POWERTOOLS_METRICS_NAMESPACE": "AkoyaTokenBroker",
            "POWERTOOLS_LOG_LEVEL": "INFO",
        }


NUMBERS: dict[str, Callable[[Mapping[str, str]], int]] = {
    "RefreshMarginSeconds": settings.refresh_margin,
    "KeepAliveDays": settings.keep_alive,
    "QuarantineDays": settings.quarantine,
    "TombstoneDays": settings.tombstone,
    "EndAfterHours": settings.end_after,
    "RateLimitPerSecond": settings.rate_limit,
    "RefreshThreads": settings.refresh_threads,
}


@pytest.mark.parametrize("parameter", NUMBERS)
def test_template_and_code_agree_on_the_bounds_of_a_number(parameter: str) -> None:
    bounds = source()["Parameters"][parameter]
    low, high = int(bounds["MinValue"]), int(bounds["MaxValue"])

    def read(value: int) -> int:
        stack = deployed(**{parameter: str(value)})
        return NUMBERS[parameter](variables(stack, "Refresh"))

    assert read(low) < read(high)
    for beyond in (low - 1, high + 1):
        with pytest.raises(BrokerMisconfigured):
            read(beyond)


def test_threads_and_memory_of_a_run_are_the_operators(stack: Deployed) -> None:
    assert int(stack.properties("RefreshFunction")["MemorySize"]) == 512
    larger = deployed(RefreshThreads="96", RefreshMemory="1769")
    assert int(larger.properties("RefreshFunction")["MemorySize"]) == 1769
    _, tending = bootstrap.tending(variables(larger, "Refresh"))
    assert tending.threads == bootstrap.MOST_THREADS == 96


@pytest.mark.parametrize("rate", [1, 5, 100])
def test_the_lanes_together_have_four_fifths_of_the_rate(rate: int) -> None:
    _, tending = bootstrap.tending(variables(deployed(RateLimitPerSecond=str(rate)), "Refresh"))
    assert tending.rate == pytest.approx(0.8 * rate)
    assert tending.limit == int(0.8 * rate * SENDING_WINDOW)


@pytest.mark.parametrize(
    ("parameter", "accepted"),
    [
        ("Environment", set(settings.IDENTITY_PROVIDER_URLS)),
        ("IdTokenVerification", set(settings.IdTokenVerification)),
        ("SendPkce", {"true", "false"}),
        ("CodeBinding", set(CodeBinding)),
        ("RequireSubject", {"true", "false"}),
    ],
)
def test_template_and_code_agree_on_the_words_of_a_choice(
    parameter: str, accepted: set[str]
) -> None:
    assert set(source()["Parameters"][parameter]["AllowedValues"]) == accepted
    for value in accepted:
        for function in ("Callback", "Connections", "Token"):
            BUILDERS[function](variables(deployed(**{parameter: value}), function))


def test_every_parameter_is_described_and_bounded_or_free_for_a_reason() -> None:
    for name, parameter in source()["Parameters"].items():
        assert parameter["Description"].endswith((".", ")")), name
        bounded = {"AllowedValues", "AllowedPattern", "MinValue"} & parameter.keys()
        assert bounded or name in FREE, name


# CloudFormation refuses a wrong ARN by itself; hosts are a list the code compares with.
FREE = {"AlarmTopicArn", "PermissionsBoundaryArn", "IdentityProviderAllowedHosts"}


def test_a_deploy_is_told_what_it_needs(stack: Deployed) -> None:
    outputs = {name: output["Value"] for name, output in stack.outputs.items()}
    own = "https://Api.execute-api.us-east-1.amazonaws.com/v1"
    assert outputs["ApiUrl"] == own
    assert outputs["CallbackUrl"] == f"{own}/callback"
    assert outputs["OperatorAuditLogGroupName"] == "OperatorAuditLogGroup"
    assert outputs["ClientSecretId"] == "ClientSecret.Id"


def test_the_callback_lies_under_the_public_base_url() -> None:
    stack = deployed(PublicBaseUrl="https://connect.example")
    assert stack.outputs["CallbackUrl"]["Value"] == "https://connect.example/callback"


def test_a_code_is_bound_to_its_browser_unless_somebody_says_otherwise() -> None:
    parameters = source()["Parameters"]
    assert parameters["SendPkce"]["Default"] == "true"
    assert parameters["CodeBinding"]["Default"] == CodeBinding.NONCE


def test_what_is_not_sent_is_not_deployed_as_what_binds() -> None:
    assert not refused(CodeBinding=CodeBinding.PKCE, SendPkce="true")
    assert not refused(CodeBinding=CodeBinding.NONCE, SendPkce="false")
    (said,) = refused(CodeBinding=CodeBinding.PKCE, SendPkce="false")
    assert "SendPkce=true" in said


@pytest.mark.parametrize("lanes", source()["Parameters"]["Lanes"]["AllowedValues"])
def test_no_lane_is_deployed_whose_repeats_would_wait_longer_than_those_of_the_slowest_stack(
    lanes: int,
) -> None:
    for rate in (*range(1, 41), 100, 2_000):
        said = refused(Lanes=str(lanes), RateLimitPerSecond=str(rate))
        assert bool(said) == (rate < lanes), (lanes, rate)
        assert all("RateLimitPerSecond must be at least Lanes" in one for one in said)


@pytest.mark.parametrize(
    ("parameter", "refused"),
    [
        ("Scopes", "openid profile"),
        ("Scopes", "profile offline_access"),
        ("Scopes", "openid,offline_access"),
        ("Scopes", "openid2 offline_access"),
        ("ReturnToAllowList", "app.example/return"),
        ("ReturnToAllowList", "http://app.example/"),
        ("ReturnToAllowList", "https://app.example/, other.example/"),
        ("ReturnToAllowList", "https://app.example/,"),
    ],
)
def test_what_cannot_work_is_refused_at_deployment(parameter: str, refused: str) -> None:
    stated = source()["Parameters"][parameter]
    assert not re.fullmatch(stated["AllowedPattern"], refused)
    assert stated["ConstraintDescription"]


@pytest.mark.parametrize(
    ("parameter", "accepted"),
    [
        ("Scopes", "openid profile offline_access"),
        ("Scopes", "offline_access openid"),
        ("ReturnToAllowList", "https://app.example/"),
        ("ReturnToAllowList", "https://app.example/a, https://b.example/ ,http://localhost:8903/"),
    ],
)
def test_what_works_is_not_refused_at_deployment(parameter: str, accepted: str) -> None:
    assert re.fullmatch(source()["Parameters"][parameter]["AllowedPattern"], accepted)
