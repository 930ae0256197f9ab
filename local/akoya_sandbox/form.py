"""A form body as the token and revoke endpoints read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl


@dataclass(frozen=True, slots=True)
class Form:
    """Parameters by name, and those that came more than once (forbidden by RFC 6749 3.1, 3.2)."""

    values: Mapping[str, str]
    repeated: frozenset[str]

    def get(self, name: str) -> str | None:
        """Return the value, or None; an empty value counts as missing (RFC 6749 3.1)."""
        return self.values.get(name) or None


def read_form(text: str) -> Form:
    """Parse `application/x-www-form-urlencoded` text; of a repeated name the first value counts."""
    values: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name in values:
            repeated.add(name)
        else:
            values[name] = value
    return Form(values, frozenset(repeated))
