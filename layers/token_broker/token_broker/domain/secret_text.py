"""A string that cannot be printed by accident: the type of every token, code and secret."""

from __future__ import annotations

from typing import NoReturn


class SecretText:
    """Text that only leaves through `reveal()`; all other ways are masked or refused."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError("a secret must be a non-empty string")
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; call it only where the secret goes over the wire or is sealed."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and self._text == other._text

    __hash__ = None  # type: ignore[assignment]  # a set or dict of secrets has no use here

    def __repr__(self) -> str:
        return "SecretText(***)"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied")
