"""Parts that are made when they are first used: a start makes only what every request needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

T = TypeVar("T")

_mutex = threading.RLock()  # boto3 makes one client at a time, and a run has many threads


class _OnDemand:
    """Stands for a part until one of its attributes is asked for."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = cache(make)

    def __getattr__(self, name: str) -> Any:
        with _mutex:
            return getattr(self._make(), name)


def on_demand(make: Callable[[], T]) -> T:
    """Return what will be made, once, when an attribute of it is first asked for."""
    return cast("T", _OnDemand(make))


def ready(part: object) -> None:
    """Make a part now, if it is one of these and not made yet."""
    if isinstance(part, _OnDemand):
        part._make()
