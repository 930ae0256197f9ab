"""What happens outside a checkout: workflows run what a person runs, and one version is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse

import akoya_token_broker_client
import token_broker
from operations.__main__ import main

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_runs_make_targets_alone_with_pinned_actions_and_may_only_read(
    file: Path,
) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"]
        targets = job.get("strategy", {}).get("matrix", {}).get("target", [])
        assert set(targets) <= TARGETS
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
            else:
                target = step["run"].removeprefix("make ")
                assert target in TARGETS or target == "${{ matrix.target }}"


def test_there_is_one_version(capsys: pytest.CaptureFixture[str]) -> None:
    version = token_broker.__version__
    template = yaml_parse((ROOT / "template.yaml").read_text())
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == version
    assert template["Outputs"]["Version"]["Value"] == version
    assert akoya_token_broker_client.__version__ == version
    assert newest
    assert newest.group(1) == version
