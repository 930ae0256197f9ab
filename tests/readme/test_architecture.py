"""docs/architecture.md speaks of the code as it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.readme.writes import BEGIN, END, PAGE, STORES, table
from token_broker.domain.connection import MOVES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "layers" / "token_broker" / "token_broker"
TEXT = PAGE.read_text()
WRITTEN = TEXT.partition(BEGIN)[0] + TEXT.partition(END)[2]  # all but what the code has said
ROOMS = "clients|examples|functions|operations|runtime|use_cases|adapters|store|domain|local|tests"
NAMED = re.findall(rf"`((?:{ROOMS})(?:/[\w./]+)?|\w+\.(?:toml|yaml))(?:::([\w.]+))?`", WRITTEN)


def file_of(path: str) -> Path:
    return next(
        (root / path for root in (ROOT, PACKAGE) if (root / path).exists()), Path("there is none")
    )


def names_in(body: list[ast.stmt], of: str = "") -> Iterator[str]:
    """List what a module or class defines: functions, classes, their methods, constants."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name):
                yield of + name
            case ast.ClassDef(name=name):
                yield of + name
                yield from names_in(node.body, f"{name}.")
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield of + name


def test_it_opens_with_five_guarantees_that_each_name_files_and_functions() -> None:
    first = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1]
    guarantees = re.split(r"^### ", first, flags=re.MULTILINE)[1:]
    assert first.startswith("Five guarantees\n")
    assert [one[:2] for one in guarantees] == ["1.", "2.", "3.", "4.", "5."]
    for one in guarantees:
        assert re.search(r"`\w+/\w+\.py::\w+", one)


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_every_file_and_name_on_the_page_exists(path: str, name: str) -> None:
    file = file_of(path)
    assert file.exists(), path
    if name:
        assert name in names_in(ast.parse(file.read_text()).body), f"{path}::{name}"


def test_every_folder_of_the_package_is_in_the_picture() -> None:
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    assert {room for room in rooms if f"| `{room}` |" not in TEXT} == set()


def test_the_arrows_of_the_state_diagram_are_the_moves_of_the_code() -> None:
    diagram = TEXT.partition("stateDiagram-v2")[2].partition("```")[0]
    arrows = set(re.findall(r"^ +(\w+) --> (\w+)", diagram, re.MULTILINE))
    assert arrows == {(one, after) for one, many in MOVES.items() for after in many}


def test_every_call_of_the_store_in_a_diagram_exists() -> None:
    known = {f"{store.__name__.lower()}.{name}" for store in STORES for name in dir(store)}
    diagrams = "".join(re.findall(r"```mermaid\n(.*?)```", TEXT, re.DOTALL))
    called = set(re.findall(r"\b((?:connections|authorizations)\.\w+)", diagrams))
    assert called
    assert called <= known


def test_the_table_of_writes_is_what_the_store_does() -> None:
    """`python -m tests.readme.writes` writes it."""
    assert TEXT.partition(BEGIN)[2].partition(END)[0] == table()
