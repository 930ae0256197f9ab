"""What ships is pinned, hashed, and the same that is tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.template.deployed import ROOT

LAYER = ROOT / "layers" / "dependencies" / "requirements.txt"
DEV = ROOT / "requirements" / "dev.txt"
PINNED = (LAYER, *sorted((ROOT / "requirements").glob("*.txt")))
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)")


def pins(path: Path) -> dict[str, str]:
    """Return the version of each package a file pins."""
    found = (PIN.match(line) for line in path.read_text().splitlines())
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PINNED, ids=relative)
def test_every_package_is_pinned_by_version_and_hash(path: Path) -> None:
    logical = path.read_text().replace("\\\n", "").splitlines()
    packages = [line for line in logical if line.strip() and not line.lstrip().startswith("#")]
    assert packages
    for line in packages:
        assert PIN.match(line), line
        assert "--hash=sha256:" in line, line


@pytest.mark.parametrize("path", PINNED, ids=relative)
def test_no_file_of_pins_names_an_index(path: Path) -> None:
    assert "://" not in path.read_text()


def test_the_layer_brings_no_boto3_for_the_runtime_has_it() -> None:
    assert not {"boto3", "botocore", "s3transfer"} & pins(LAYER).keys()


def test_tests_run_on_the_very_versions_that_ship() -> None:
    tested = pins(DEV)
    differing = {
        name: tested.get(name)
        for name, version in pins(LAYER).items()
        if tested.get(name) != version
    }
    assert differing == {}


def test_the_deploy_configuration_holds_choices_and_no_secrets() -> None:
    configuration = tomllib.loads((ROOT / "samconfig.toml").read_text())
    for name, section in configuration.items():
        if name == "version":
            continue
        parameters = section["deploy"]["parameters"]
        assert parameters["confirm_changeset"] is True
        overrides = parameters.get("parameter_overrides", "")
        assert {pair.partition("=")[0] for pair in overrides.split()} <= {"Environment"}
