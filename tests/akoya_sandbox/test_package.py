"""The sandbox installs alone from its folder, and one command runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "local"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    subprocess.run([*PIP, "install", *offline, "--target", str(target), str(LOCAL)], check=True)
    return target


def test_its_command_serves_a_page_and_tokens_without_this_repository(installed: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, installed / "bin" / "akoya-sandbox", "--port", "0", "--app-name", "Ours"],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(7)]
            (issuer,) = [line.split()[1] for line in lines if "issuer" in line]
            assert "Ours" in requests.get(issuer, timeout=10).text
            assert requests.get(f"{issuer}static/sandbox.css", timeout=10).ok
            assert requests.post(f"{issuer}token", timeout=10).status_code == 401
        finally:
            process.terminate()


def test_it_holds_the_sandbox_and_nothing_else_of_ours(installed: Path) -> None:
    held = {one.name for one in installed.iterdir() if not one.name.endswith(".dist-info")}
    assert held == {"akoya_sandbox", "bin"}
    modules = {one.name for one in (LOCAL / "akoya_sandbox").glob("*.py")}
    assert modules <= {one.name for one in (installed / "akoya_sandbox").iterdir()}
    assert (LOCAL / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_runs_on_what_is_tested_and_on_python_as_old_as_the_rest() -> None:
    project = tomllib.loads((LOCAL / "pyproject.toml").read_text())["project"]
    tested = (ROOT / "requirements" / "dev.txt").read_text().lower()
    for needed in project["dependencies"]:
        name = needed.partition(">=")[0]
        assert f"\n{name}==" in tested or f"\n{name}[" in tested
    rest = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]
    assert project["requires-python"] == f">={rest}"
