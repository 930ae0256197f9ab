"""What can still be read of a JSON object that was cut on its way: the members that came whole."""

from __future__ import annotations

import codecs
import json
from typing import Any

_BLANK = " \t\n\r"


def whole_members(body: bytes) -> dict[str, Any]:
    """Return the top-level members whose values ended before the cut; none of anything else.

    Each is read by `json` itself, and of doubled names the last counts, as there; one that stood in
    the part that never came cannot be known. A name whose value was cut counts as not there at all.
    """
    members: dict[str, Any] = {}
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(body)  # the last character may be cut
    except UnicodeDecodeError:
        return members
    at, opener = _next(text, 0), "{"
    while text[at : at + 1] == opener:
        at, opener = _next(text, at + 1), ","
        if text[at : at + 1] != '"':
            break
        try:
            name, at = _decoder.raw_decode(text, at)
        except ValueError:
            break  # the name itself was cut
        members.pop(name, None)
        at = _next(text, at)
        if text[at : at + 1] != ":":
            break
        try:
            value, at = _decoder.raw_decode(text, _next(text, at + 1))
        except (ValueError, RecursionError):
            break
        at = _next(text, at)
        closes_itself = isinstance(value, str | dict | list)  # 86 may be the beginning of 86399
        if text[at : at + 1] in (",", "}") or (closes_itself and not text[at:]):
            members[name] = value
    return members


def _next(text: str, at: int) -> int:
    """Return where the next character stands that is not blank."""
    while text[at : at + 1] and text[at] in _BLANK:
        at += 1
    return at


_decoder = json.JSONDecoder()
