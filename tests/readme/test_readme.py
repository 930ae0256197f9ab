"""The README speaks of what is there: targets, parameters, outputs, errors and files."""

from __future__ import annotations

import ast
import csv
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

from token_broker.domain import errors

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
CLIENT = ROOT / "clients" / "python" / "README.md"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    CLIENT,
    *sorted((ROOT / "docs").glob("*.md")),
]


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test", "test-all", "smoke", "check", "deploy"} <= named
    assert named <= targets


def test_every_parameter_is_explained_and_no_other() -> None:
    table = README.partition("## Configuration")[2].partition("\n## ")[0]
    explained = set(
        re.findall(r"`([A-Z]\w+)`", "\n".join(re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)))
    )
    assert explained == set(TEMPLATE["Parameters"])


def test_the_defaults_it_states_are_the_templates() -> None:
    for name, stated in re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", README, re.MULTILINE):
        if name in TEMPLATE["Parameters"]:
            assert str(TEMPLATE["Parameters"][name].get("Default", "")) == stated.strip(), name


def test_every_output_it_names_exists() -> None:
    for name in (
        "CallbackUrl",
        "ClientSecretId",
        "LinkPolicyArn",
        "BearerPolicyArn",
        "EndPolicyArn",
    ):
        assert f"`{name}`" in README
        assert name in TEMPLATE["Outputs"]


def test_every_error_a_caller_can_meet_is_explained() -> None:
    codes = {
        one.error
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, errors.TokenBrokerError)
    }
    assert {code for code in codes if f"`{code}`" not in README} == set()


def test_the_alarms_it_reckons_with_are_the_templates() -> None:
    kinds = [one["Type"] for one in TEMPLATE["Resources"].values()]
    alarms = kinds.count("AWS::CloudWatch::Alarm")
    assert f"{alarms} alarms ${alarms / 10:.2f}" in README
    assert alarms <= 8


PROMISES = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \|$",
    README.partition("## What it promises")[2].partition("\n## ")[0],
    re.MULTILINE,
)[1:]


def test_every_promise_stands_in_the_table_that_names_its_tests() -> None:
    assert len(PROMISES) >= 10


@pytest.mark.parametrize(("promise", "tests"), PROMISES)
def test_every_promise_names_a_test_that_exists(promise: str, tests: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)

    assert named, promise
    for file, name in named:
        functions = {
            node.name
            for node in ast.walk(ast.parse((ROOT / file).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_what_no_test_runs_is_said_to_be_so() -> None:
    deploy = README.partition("## Deploy to AWS")[2].partition("\n## ")[0]
    assert deploy.strip().startswith("Not run by a test")


def test_the_page_of_faults_says_that_nothing_was_lost_that_could_be_kept() -> None:
    page = (ROOT / "docs" / "faults.md").read_text()
    assert page.splitlines()[-1] == "lost though recoverable: 0"


def test_the_page_of_faults_opens_with_the_figures_of_its_data_file() -> None:
    figures = (ROOT / "docs" / "faults.md").read_text().partition("\n## ")[0]
    _, *rows = csv.reader((ROOT / "docs" / "faults.csv").read_text().splitlines())
    signs = Counter(sign for row in rows for sign in row[4:] if sign)
    stated = re.findall(r"^\| (?:calls cut|kept|lost, no way).*\| (\d+) \|$", figures, re.MULTILINE)
    assert [int(one) for one in stated] == [
        signs.total(),
        *(signs[sign] for sign in "kerAPC" if signs[sign]),
    ]


def test_contributing_names_every_kind_of_test() -> None:
    table = CONTRIBUTING.partition("## Which kind of test")[2].partition("\n## ")[0]
    kinds = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert set(re.findall(r"^\| `tests/(\w+)` \| \w", table, re.MULTILINE)) == kinds


def test_a_verb_that_is_not_used_is_not_another_acts_verb() -> None:
    table = CONTRIBUTING.partition("### One verb an act")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| ([^|]*) \|$", table, re.MULTILINE)[1:]
    verbs = [verb for verb, _ in rows]
    assert len(verbs) == len(set(verbs)) > 10
    assert all(verb not in rejected.split(", ") for verb, rejected in rows)
