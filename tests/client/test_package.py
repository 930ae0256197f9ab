"""The client is a package of its own: it is built and installed without the rest, or a download."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import akoya_token_broker_client as client

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = ("--no-index", "--no-deps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *PIP,
            "wheel",
            *OFFLINE,
            "--no-build-isolation",
            "--wheel-dir",
            str(folder),
            str(ROOT / "clients" / "python"),
        ],
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_its_types_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "clients" / "python" / "src" / client.__name__
    files = {one.name for one in source.iterdir() if one.is_file()}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert "py.typed" in files
    assert held == {f"{client.__name__}/{name}" for name in files}
    license_text = (ROOT / "LICENSE").read_bytes()
    assert (ROOT / "clients" / "python" / "LICENSE").read_bytes() == license_text
    assert wheel.name.startswith(f"akoya_token_broker_client-{client.__version__}-py3-none-any")


def test_what_was_installed_imports_without_this_repository(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([*PIP, "install", *OFFLINE, "--target", str(tmp_path), str(wheel)], check=True)
    code = (
        "import akoya_token_broker_client as client, sys; "
        "client.Broker('https://abc.execute-api.us-east-1.amazonaws.com/v1').auth('0' * 32); "
        "print(client.__file__, sorted(sys.modules.keys() & {'token_broker', 'boto3', 'local'}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == f"{tmp_path / client.__name__ / '__init__.py'} []\n"


def test_it_runs_on_what_is_tested_and_on_python_as_old_as_the_rest() -> None:
    project = tomllib.loads((ROOT / "clients" / "python" / "pyproject.toml").read_text())["project"]
    tested = (ROOT / "requirements" / "dev.txt").read_text()
    for needed in project["dependencies"]:
        assert f"\n{needed.partition('>=')[0]}==" in tested
    rest = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]
    assert project["requires-python"] == f">={rest}"
