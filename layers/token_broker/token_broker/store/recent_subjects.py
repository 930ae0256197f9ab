"""Which different people met something lately: one row of the control table, hashes alone."""

from __future__ import annotations

from token_broker.domain.authorization import subject_hash
from token_broker.store.moments import Moments, recount
from token_broker.store.rows import Rows

MOST_REMEMBERED = 50


class RecentSubjects:
    """Rows `met#<event>` of the control table."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def met(self, event: str, *, subject: str, now: int, within: int) -> int:
        """Note that a subject met an event; return how many did within so many seconds.

        Raises UpstreamUnavailable.
        """

        def count(seen: Moments) -> Moments:
            recent = {who: at for who, at in seen.items() if at > now - within}
            recent[subject_hash(subject)] = now
            return dict(sorted(recent.items(), key=lambda one: one[1])[-MOST_REMEMBERED:])

        return len(recount(self._rows, f"met#{event}", count, kept_for=within))
