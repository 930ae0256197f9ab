"""Bearers in the memory of one process: asked for once, kept for their life, never shown."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import NoReturn

MARGIN = 60  # seconds before its end from which a bearer is not used any more
MOST = 1_000  # bearers held at once; each is some kilobytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """What the data API takes (`Authorization: Bearer`); no repr or pickle holds its `id_token`."""

    id_token: str = field(repr=False)
    expires_at: int
    generation: int
    connector: str

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a bearer stays in the memory of one process")


Key = tuple[str, str | None]  # the connection, and the subject it was asked for
Ask = Callable[[], Bearer]


class Bearers:
    """One bearer a connection and subject; of threads that want one at once, one asks for it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, Bearer] = OrderedDict()
        self._asking: dict[Key, Future[Bearer]] = {}

    def get(self, key: Key, ask: Ask, *, rejected: int | None = None) -> Bearer:
        """Return the held bearer, or what `ask` or another thread's `ask` returns or raises.

        `rejected` is the generation that the data API refused: only a newer one is returned.
        """
        while True:
            with self._lock:
                held = self._held.get(key)
                if held and is_newer(held, rejected) and self._lives(held):
                    return held
                under_way = self._asking.get(key)
                if under_way is None:
                    mine = self._asking[key] = Future()
            if under_way is None:
                return self._ask(key, ask, mine)
            try:
                found = under_way.result()
            except CancelledError:  # the thread that asked was interrupted
                continue
            if is_newer(found, rejected):
                return found

    def forget(self, connection_id: str) -> None:
        """Drop what is held of a connection."""
        with self._lock:
            for key in [key for key in self._held if key[0] == connection_id]:
                del self._held[key]

    def _ask(self, key: Key, ask: Ask, mine: Future[Bearer]) -> Bearer:
        try:
            bearer = ask()
        except Exception as exc:
            mine.set_exception(exc)
            raise
        else:
            mine.set_result(bearer)
            self._keep(key, bearer)
            return bearer
        finally:
            with self._lock:
                del self._asking[key]
            mine.cancel()  # without effect where it has a result

    def _keep(self, key: Key, bearer: Bearer) -> None:
        with self._lock:
            self._held[key] = bearer
            self._held.move_to_end(key)
            while self._held and (len(self._held) > MOST or not self._lives(self._oldest())):
                self._held.popitem(last=False)

    def _oldest(self) -> Bearer:
        return next(iter(self._held.values()))

    def _lives(self, bearer: Bearer) -> bool:
        return self._clock() < bearer.expires_at - MARGIN


def is_newer(bearer: Bearer, rejected: int | None) -> bool:
    """Return whether a bearer is of a later generation than the rejected one, if any was."""
    return rejected is None or bearer.generation > rejected
