"""What holds for every test: loopback only, no AWS account in reach, skips that can be refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_socket
from hypothesis import settings
from moto import mock_aws

from local.build import EMBEDDED_PYTHON, SAM
from local.stack import Stack
from tests.tables import Aws
from tests.world import World

STACK_PORTS = int(os.environ.get("TEST_PORT_BASE", "9100"))  # two checkouts may run side by side

# The same schedules on every run of the tests; `make soak` walks new ones.
settings.register_profile("tests", max_examples=200, derandomize=True, deadline=None)
settings.register_profile(
    "soak", max_examples=int(os.environ.get("SCHEDULES", "5000")), deadline=None
)
settings.load_profile("tests")

# Nothing a developer has configured may reach, or be reached by, a test.
for name in [name for name in os.environ if name.startswith(("AWS_", "AKOYA_", "POWERTOOLS_"))]:
    if name != "AWS_CA_BUNDLE":
        del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "akoya-token-broker",
    "POWERTOOLS_METRICS_NAMESPACE": "AkoyaTokenBroker",
}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    del item
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With REQUIRE_ALL=1 (make test-all) a skipped test is a failed one, unless it is optional."""
    del call
    report = yield
    required = os.environ.get("REQUIRE_ALL") == "1" and not item.get_closest_marker("optional")
    if required and report.skipped:  # type: ignore[attr-defined]
        report.outcome = "failed"  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """An in-memory AWS, shared by the worlds of a module."""
    with mock_aws():
        yield Aws.connect()


@pytest.fixture
def world(aws: Aws) -> World:
    """A whole broker in one process: in-memory AWS, the Akoya sandbox, a clock of its own."""
    return World.on_aws(aws)


@pytest.fixture
def memory() -> World:
    """The same on fakes: for what takes many steps."""
    return World.in_memory()


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, Any]]:
    """The whole product deployed on this machine, for the tests of a session."""
    if not (SAM.exists() and EMBEDDED_PYTHON.exists()):
        pytest.skip("needs the local stack's environments: make setup")
    running = Stack("tests", STACK_PORTS)
    try:
        yield running.start(os.environ, say=lambda _: None)
    finally:
        running.stop()
