"""The rules that hold the house together, as far as a test can see them."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "token_broker"
PACKAGE = LAYER / "token_broker"
FUNCTIONS = sorted(path.parent for path in (ROOT / "functions").glob("*/app.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
JUNK_DRAWERS = {"utils", "helpers", "common", "manager", "service", "lock", "misc"}
# A folder on sys.path must not hide a module of the standard library.
HIDING = {"token", "secrets", "types", "http", "logging"}


def run(code: str, *, env: dict[str, str] | None = None) -> str:
    """Run code in a fresh interpreter that finds nothing but what Lambda would."""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(LAYER), **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(LAYER).with_suffix("").parts).removesuffix(".__init__")


def test_importing_the_package_does_nothing() -> None:
    """No environment is read, nothing is printed, no client is made."""
    imports = "\n".join(f"import {dotted(path)}" for path in MODULES)
    watch = (
        "import sys, socket, os\n"
        "def forbidden(*a, **k): raise SystemExit('touched the outside at import')\n"
        "socket.socket.connect = forbidden\n"
    )
    made = "import boto3\nassert boto3.DEFAULT_SESSION is None\n"
    assert run(watch + imports + "\n" + made) == ""


WATCHED = """
import sys
import botocore.session
made, create = [], botocore.session.Session.create_client
def creating(self, service, *a, **k):
    made.append(service)
    return create(self, service, *a, **k)
botocore.session.Session.create_client = creating
from token_broker.runtime import bootstrap
"""
SENDS = {"requests", "jwt", "token_broker.adapters.akoya", "token_broker.adapters.deadline"}


def at_start() -> dict[str, str]:
    """Return the environment of a function that reaches nobody."""
    from tests.handlers.deployed import environment  # noqa: PLC0415
    from tests.tables import Aws  # noqa: PLC0415

    aws = Aws(dynamodb=None, s3=None, kms=None, secretsmanager=None, key_arn="arn:key")
    return environment(aws, "p") | {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "POWERTOOLS_SERVICE_NAME": "s",
        "POWERTOOLS_METRICS_NAMESPACE": "n",
    }


@pytest.mark.parametrize(
    ("builder", "clients", "absent"),
    [
        ("linking", ["dynamodb"], {"cryptography", "token_broker.use_cases.broker", *SENDS}),
        ("connections_admin", ["dynamodb"], {"cryptography", "token_broker.adapters.seal", *SENDS}),
        ("handing_out", ["dynamodb", "dynamodb", "kms"], SENDS),
        ("tending", ["dynamodb", "dynamodb", "kms"], {"token_broker.use_cases.authorize", *SENDS}),
        ("finishing", ["dynamodb", "dynamodb", "kms"], {"jwt", "pydantic", "aws_xray_sdk"}),
    ],
)
def test_a_function_loads_and_makes_at_its_start_only_what_all_its_requests_need(
    builder: str, clients: list[str], absent: set[str]
) -> None:
    code = f"bootstrap.{builder}()\nprint(*sorted(made))\nprint(*sys.modules)"
    made, loaded = run(WATCHED + code, env=at_start()).splitlines()
    assert made.split() == clients
    assert "token_broker.store.connections" in loaded.split()
    assert not absent & set(loaded.split())


def test_a_fresh_bearer_is_handed_out_without_what_only_a_refresh_needs() -> None:
    code = """
from dataclasses import replace
from types import SimpleNamespace
from token_broker.domain.connection import Connection, Status
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet, Verdict
from token_broker.use_cases import token
broker, _ = bootstrap.handing_out()
now = bootstrap.clock()
row = Connection(
    id="c", subject="s", connector="m", status=Status.ACTIVE, linked_at=now, updated_at=now,
    generation=1, issued_at=now, expires_at=now + 900, asked_at=now, verdict=Verdict.OK,
)
tokens = TokenSet(refresh_token=SecretText("r"), id_token=SecretText("i"))
broker = replace(
    broker,
    connections=SimpleNamespace(get=lambda _: row),
    seal=SimpleNamespace(open=lambda _: tokens),
    record=lambda *_, **__: None,
)
bearer = token.hand_out(
    broker, connection_id="c", min_validity=None, rejected=None, remaining=lambda: 100.0
)
print(bearer.id_token.reveal(), *made)
print(*sys.modules)
"""
    handed_out, loaded = run(WATCHED + code, env=at_start()).splitlines()
    assert handed_out == "i dynamodb dynamodb kms"
    assert not SENDS & set(loaded.split())


def test_every_function_is_one_short_file() -> None:
    assert [folder.name for folder in FUNCTIONS] == [
        "authorize",
        "callback",
        "connections",
        "refresh",
        "token",
    ]
    for folder in FUNCTIONS:
        files = [path.name for path in folder.iterdir() if path.name != "__pycache__"]
        assert files == ["app.py"]
        assert len((folder / "app.py").read_text().splitlines()) <= 70


def test_what_lies_in_a_layer_root_ships_so_nothing_else_lies_there() -> None:
    roots = {
        folder.name: {
            path.name
            for path in folder.iterdir()
            if path.name not in {"__pycache__", ".mypy_cache", ".pytest_cache"}
        }
        for folder in (ROOT / "layers").iterdir()
    }
    assert roots == {"dependencies": {"requirements.txt"}, "token_broker": {"token_broker"}}


def imported_by(file: Path) -> set[str]:
    """Return what a file imports, also inside a function, as dotted names; parts of modules too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    return names


def test_no_module_ships_that_none_of_the_functions_reaches() -> None:
    """What only an operator does lives in operations/."""
    by_name = {dotted(path): path for path in MODULES if path.name != "__init__.py"}
    reached: set[str] = set()
    ahead = [folder / "app.py" for folder in FUNCTIONS]
    while ahead:
        found = (imported_by(ahead.pop()) & by_name.keys()) - reached
        reached |= found
        ahead += [by_name[name] for name in found]

    assert by_name.keys() - reached == set()


def drawn(text: str) -> dict[str, str | None]:
    """Return a tree drawn with box characters: each name and its parent's."""
    found: dict[str, str | None] = {}
    above: list[str] = []
    for line in text.splitlines():
        if drawn := re.match(r"((?:[│ ]  )*)([├└] )(\w+)", line):
            depth = len(drawn[1]) // 3 + 1
            above[depth:] = [drawn[3]]
            found[drawn[3]] = above[depth - 1]
        elif re.fullmatch(r"\w+", line):
            above = [line]
            found[line] = None
    return found


def test_errors_are_one_tree_drawn_in_one_docstring_and_none_is_defined_outside_it() -> None:
    source = PACKAGE / "domain" / "errors.py"
    tree = ast.parse(source.read_text())
    defined = {
        node.name: None if ast.unparse(node.bases[0]) == "Exception" else ast.unparse(node.bases[0])
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    assert drawn(ast.get_docstring(tree) or "") == defined

    elsewhere = {
        f"{path.relative_to(ROOT)}: {node.name}"
        for folder in (LAYER, ROOT / "functions", ROOT / "operations")
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and path != source
        if {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        & {"Exception", *defined, *(name for name in vars(builtins) if name.endswith("Error"))}
    }
    assert elsewhere <= {"layers/token_broker/token_broker/adapters/dynamodb.py: Refused"}


def test_no_file_is_a_junk_drawer_or_hides_the_standard_library() -> None:
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    names = {part.removesuffix(".py") for path in tracked for part in Path(path).parts}
    assert not names & JUNK_DRAWERS
    roots = {path.stem for folder in (*FUNCTIONS, LAYER) for path in folder.glob("*.py")}
    assert not roots & HIDING


def test_a_refresh_token_is_sent_from_one_place() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if re.search(r"token_endpoint\.refresh\b", path.read_text())
    }
    assert found == {"use_cases/refresh.py"}
    posts = {path.name for path in MODULES if "get_adapter" in path.read_text()}
    assert posts == {"akoya.py"}


@pytest.mark.parametrize(
    ("act", "room"),
    [
        (r"\bpost\(", "attempt"),  # whatever is sent
        (r"token_endpoint\.exchange\b", "exchange"),
        (r"token_endpoint\.revoke\b", "revoke"),
        (r"= persist\(", "landing"),
        (r"escrow\.put\(", "persist"),
    ],
)
def test_there_is_one_way_to_send_and_one_to_land(act: str, room: str) -> None:
    found = {path.stem for path in MODULES if re.search(act, path.read_text())}
    assert found == {room}


def test_every_module_says_why_it_exists() -> None:
    for path in MODULES:
        assert path.read_text().startswith('"""'), path
