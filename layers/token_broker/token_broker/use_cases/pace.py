"""The pace of one run: its sends take turns, never more in a second than the rate allows."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Protocol

from token_broker.domain.ports import Pause


class Turns(Protocol):
    """Who may send when."""

    def first(self, connection_id: str) -> None:
        """Wait for the turn of a connection's first send, or of a revoke."""

    def again(self) -> None:
        """Wait for the turn of a send that follows another of the same connection."""

    def may_repeat(self, connection_id: str) -> bool:
        """Return whether an unanswered send may be repeated promptly."""


class AtOnce:
    """No turns: a caller's refresh is one alone."""

    def first(self, connection_id: str) -> None:
        """Wait for nothing."""

    def again(self) -> None:
        """Wait for nothing."""

    def may_repeat(self, connection_id: str) -> bool:
        """Return True."""
        del connection_id
        return True


AT_ONCE = AtOnce()


class Pace:
    """Turns at a rate; thread-safe. A repeat goes before every first send.

    Who has the turn waits 1/rate seconds and then sends, so that sends are as far apart. A repeat
    waits for the one before it at most: within 1 s from a rate of 2 on.
    """

    def __init__(self, rate: int, *, pause: Pause, has_answered: Callable[[], bool]) -> None:
        self._between = 1 / rate
        self._pause = pause
        self._has_answered = has_answered
        self._turn = Condition()
        self._is_taken = False
        self._repeats_waiting = 0
        self._canary: str | None = None

    def first(self, connection_id: str) -> None:
        """Wait for the turn of a connection's first send, or of a revoke."""
        with self._turn:
            self._turn.wait_for(lambda: not self._is_taken and not self._repeats_waiting)
            self._is_taken = True
            self._canary = self._canary or connection_id
        self._pass_on()

    def again(self) -> None:
        """Wait for the turn of a send that follows another of the same connection."""
        with self._turn:
            self._repeats_waiting += 1
            self._turn.wait_for(lambda: not self._is_taken)
            self._repeats_waiting -= 1
            self._is_taken = True
        self._pass_on()

    def may_repeat(self, connection_id: str) -> bool:
        """Return whether an unanswered send may be repeated: any once Akoya answers, else one's."""
        return self._has_answered() or connection_id == self._canary

    def _pass_on(self) -> None:
        try:
            self._pause(self._between)
        finally:
            with self._turn:
                self._is_taken = False
                self._turn.notify_all()
