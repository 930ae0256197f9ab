"""The pace of sends: they take turns, never more in a second than the rate allows.

Each run of the schedule has a pace of its own, and so has each process that refreshes for callers.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Protocol

from token_broker.domain.errors import UpstreamUnavailable
from token_broker.domain.ports import Pause, Ticks
from token_broker.domain.refresh_policy import WORTH_WAITING, share_of_rate


class Turns(Protocol):
    """Who may send when."""

    def first(self, connection_id: str) -> None:
        """Wait for the turn of a connection's first send, or of a revoke."""

    def again(self) -> None:
        """Wait for the turn of a send that follows another of the same connection."""

    def may_repeat(self, connection_id: str) -> bool:
        """Return whether an unanswered send may be repeated promptly."""


class AtOnce:
    """No turns: a code is sent as soon as its browser brings it."""

    def first(self, connection_id: str) -> None:
        """Wait for nothing."""

    def again(self) -> None:
        """Wait for nothing."""

    def may_repeat(self, connection_id: str) -> bool:
        """Return True."""
        del connection_id
        return True


AT_ONCE = AtOnce()


class Bucket:
    """Turns at a rate; thread-safe. A repeat goes before every first send.

    A turn comes 1/rate seconds after the one before, later while Akoya has asked to slow down. Who
    waits asks again when it may be free: a repeat waits for one turn at most, within 1 s from a
    rate of 1 on.
    """

    def __init__(
        self, rate: float, *, ticks: Ticks, pause: Pause, slow_for: Callable[[], int]
    ) -> None:
        """`rate`: sends a second, of this process or run alone: its share of what is allowed.

        `slow_for`: seconds until Akoya may be asked again; negative: since when it may.
        """
        self.between = 1 / rate
        self._ticks = ticks
        self._pause = pause
        self._slow_for = slow_for
        self._mutex = Lock()
        self._free_at = ticks()
        self._repeats_waiting = 0

    def first(self, connection_id: str) -> None:
        """Wait for the turn of a connection's first send, or of a revoke.

        Raises UpstreamUnavailable where Akoya has asked to wait for longer than WORTH_WAITING.
        """
        del connection_id
        while wait := self._until_turn():
            self._pause(wait)

    def again(self) -> None:
        """Wait for the turn of a send that follows another of the same connection."""
        with self._mutex:
            self._repeats_waiting += 1
        while wait := self._until_turn(repeat=True):
            self._pause(wait)

    def may_repeat(self, connection_id: str) -> bool:
        """Return whether an unanswered send may be repeated: not while Akoya asks to wait."""
        del connection_id
        return self._slow_for() <= 0

    def _until_turn(self, *, repeat: bool = False) -> float:
        """Take the turn if it is free and return 0, else the seconds until it may be."""
        with self._mutex:
            now, slow_for = self._ticks(), self._slow_for()
            if slow_for > 0 and not repeat:
                if slow_for > WORTH_WAITING:
                    raise UpstreamUnavailable(detail="Akoya asks to wait", retry_after=slow_for)
                return slow_for
            if now < self._free_at:
                return self._free_at - now
            if self._repeats_waiting and not repeat:
                return self.between
            self._repeats_waiting -= repeat
            self._free_at = now + self.between / share_of_rate(-slow_for)
            return 0


class Pace(Bucket):
    """The turns of one run of the schedule. While none has answered, its canary alone repeats."""

    def __init__(
        self,
        rate: float,
        *,
        ticks: Ticks,
        pause: Pause,
        slow_for: Callable[[], int],
        has_answered: Callable[[], bool],
    ) -> None:
        super().__init__(rate, ticks=ticks, pause=pause, slow_for=slow_for)
        self._has_answered = has_answered
        self._begun: dict[str, None] = {}  # in the order of their turns

    def first(self, connection_id: str) -> None:
        """Wait for the turn of a connection's first send; see Bucket."""
        super().first(connection_id)
        self._begun[connection_id] = None

    def may_repeat(self, connection_id: str) -> bool:
        """Return whether an unanswered send may be repeated: any once Akoya answers, else one's."""
        is_canary = connection_id == next(iter(self._begun), None)
        return super().may_repeat(connection_id) and (self._has_answered() or is_canary)

    def has_begun(self, connection_id: str) -> bool:
        """Return whether this connection had its turn."""
        return connection_id in self._begun

    def is_worth_waiting(self) -> bool:
        """Return whether a turn comes soon: Akoya has not asked to wait for long."""
        return self._slow_for() <= WORTH_WAITING
