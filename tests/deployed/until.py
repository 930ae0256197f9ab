"""Waiting for what real processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")
PATIENCE = 60  # seconds; a loaded machine starts a process slowly


def until(look: Callable[[], Seen], what: str) -> Seen:
    """Look until there is something to see, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return seen
