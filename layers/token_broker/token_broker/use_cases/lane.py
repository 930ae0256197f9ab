"""Lanes: runs side by side, each with its part of the due index and its share of the rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from token_broker.store.connection_row import SHARDS

LANES_SHARE = 0.8  # of RateLimitPerSecond, all lanes together; callers' refreshes have the rest


@dataclass(frozen=True, slots=True)
class Lane:
    """One of the schedules that share what is due: which, of how many."""

    number: int = 0
    of: int = 1

    @property
    def shards(self) -> Sequence[int]:
        """Return its shards of the due index: each is one lane's, however many lanes there are."""
        return range(self.number, SHARDS, self.of)

    @property
    def watched(self) -> Sequence[int]:
        """Return the shards of the other lanes, which the first one measures beside its own."""
        return [shard for shard in range(SHARDS) if shard % self.of] if self.is_first else ()

    @property
    def is_first(self) -> bool:
        """Return whether it is the one that does what is done once for the whole table."""
        return self.number == 0


ALONE = Lane()
