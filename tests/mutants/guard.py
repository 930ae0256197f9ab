"""A guard: a piece of a function that keeps a connection, and what stands there when it is off.

A piece is looked for in the syntax tree of its function. So it is found however the lines are
broken, and whatever else the function or the file says.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CORE = "layers/token_broker/token_broker/"
Piece = Sequence[ast.expr | ast.stmt | ast.keyword]


@dataclass(frozen=True)
class Guard:
    """A guard; `on` and `off` are an expression, statements, a named argument or an item."""

    name: str
    where: str  # a file of the core (or else of the checkout) :: function, Class.method or constant
    on: str
    off: str

    @property
    def file(self) -> str:
        """The file it stands in."""
        path = self.where.partition("::")[0]
        return path if path.startswith(("functions/", "operations/")) else CORE + path

    def switched_off(self, text: str) -> str:
        """Return a file's text without the guard; raise ValueError unless it stands there once."""
        wanted = [[*map(ast.dump, piece)] for piece in _readings(self.on, self.off)]
        found = [
            piece
            for tree in _named(self.where.partition("::")[2], ast.parse(text))
            for parts in _sequences(tree)
            for size in {len(piece) for piece in wanted}
            for piece in (parts[at : at + size] for at in range(len(parts) - size + 1))
            if [*map(ast.dump, piece)] in wanted
        ]
        if len(found) != 1:
            raise ValueError(f"{self.name}: stands {len(found)} times in {self.where}")
        return _replaced(text, found[0], self.off)


def _readings(on: str, off: str) -> Iterator[Piece]:
    """Read a piece in each way it can be meant."""
    match _parsed(f"{{{on}}}"):
        case [ast.Expr(ast.Dict([ast.expr() as key], [value]))]:
            yield [key, value]
    match _parsed(on), _parsed(off):
        case [ast.Expr(value)], [ast.Expr()]:
            yield [value]
        case [ast.Assign([ast.Name(name)], value)] as statements, _:
            yield statements
            yield [ast.keyword(name, value)]
        case [_, *_] as statements, _:
            yield statements


def _parsed(text: str) -> list[ast.stmt]:
    """Read statements; text that is none reads as none."""
    try:
        return ast.parse(text).body
    except SyntaxError:
        return []


def _named(path: str, tree: ast.AST) -> Iterator[ast.AST]:
    """Find a function, method or constant."""
    name, _, rest = path.partition(".")
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef(found) | ast.ClassDef(found) if found == name:
                yield from _named(rest, node) if rest else [node]
            case ast.Assign(targets=[ast.Name(found)]) | ast.AnnAssign(target=ast.Name(found)) if (
                found == name
            ):
                yield ast.Module([node], [])


def _sequences(tree: ast.AST) -> Iterator[Piece]:
    """List all that stands side by side: statements, arguments, key and value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            items = zip(node.keys, node.values, strict=True)
            yield from ([key, value] for key, value in items if key)
            continue
        for _, part in ast.iter_fields(node):
            parts = part if isinstance(part, list) else [part]
            if all(isinstance(one, ast.expr | ast.stmt | ast.keyword) for one in parts):
                yield parts


def _replaced(text: str, piece: Piece, off: str) -> str:
    first, last = piece[0], piece[-1]
    assert last.end_lineno
    lines = text.encode().splitlines(keepends=True)
    before, after = lines[: first.lineno], lines[last.end_lineno - 1 :]
    before[-1] = before[-1][: first.col_offset]
    after[0] = after[0][last.end_col_offset :]
    if len(piece) == 1 and isinstance(first, ast.expr):
        off = f"({off})"
    off = textwrap.indent(off, " " * first.col_offset).lstrip()
    return b"".join([*before, off.encode(), *after]).decode()
