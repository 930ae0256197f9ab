"""`python -m local.akoya_sandbox`, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("AKOYA_")}


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[dict[str, str]]:
    """Run the sandbox on a free port; yields what it printed, by its first word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "local.akoya_sandbox", "--port", "0", *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        printed: dict[str, str] = {}
        while "users" not in printed:
            line = process.stdout.readline()
            assert line, "it ended before it was ready"
            name, _, value = line.strip().partition(" ")
            printed[name] = value.strip()
        try:
            yield printed
        finally:
            process.terminate()
            rest = process.stdout.read()
    assert (process.returncode, rest) == (0, "")


def test_it_prints_what_an_app_needs_serves_it_and_ends_quietly() -> None:
    with running(
        "--redirect-uri", "http://localhost:9/a", "--connector", "summit=Summit"
    ) as printed:
        metadata = requests.get(
            f"{printed['issuer']}.well-known/openid-configuration", timeout=10
        ).json()
        page = requests.get(printed["issuer"], timeout=10).text

    assert metadata["issuer"] == printed["issuer"]
    assert printed["redirect_uri"] == "http://localhost:9/a"
    assert printed["connector"] == "summit (Summit)"
    assert printed["client_id"] in page
    assert "summit_1" in page


def test_it_never_prints_a_secret_of_ones_own() -> None:
    with running(AKOYA_CLIENT_SECRET="mine-and-nobody-elses") as printed:
        assert printed["client_secret"] == "(from AKOYA_CLIENT_SECRET)"
        assert "mine-and-nobody-elses" not in str(printed)


@pytest.mark.parametrize(
    "wrong", [["--id-token-lifetime", "0"], ["--dialect", "gen3"], ["--connector", "summit"]]
)
def test_a_wrong_option_is_explained(wrong: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "local.akoya_sandbox", *wrong],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert "error:" in ended.stderr
