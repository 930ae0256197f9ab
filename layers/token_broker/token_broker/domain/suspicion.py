"""When a refused connection is looked at again, and when refusals amount to the end of a consent.

A refusal alone cannot tell an ended consent from a fault at Akoya or at the bank. What can is a
witness: another connection of the same connector that Akoya answers well in the meantime.
All times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from token_broker.domain.connection import Reason, Suspect
from token_broker.domain.refresh_policy import jitter

LOOKS_AFTER = (60, 300, 900)  # the first refusal
LOOK_EVERY = 3_300  # from then on, less a spread: so that each hour sees one
LOOK_SPREAD = 600
UNBROKEN_FOR = 900  # for so long at least every look was refused before a connection may end
WITNESS_AFTER = 600  # a fault that is over by then has answered nobody later than that
WITNESS_RIPE = 90  # a bank that comes back answers some before it answers others
WITNESS_ASKED_EVERY = 900  # by connector
WITNESS_AWAITED = 180  # until the next look where one is on its way
SUSPECT_STANDS = 7_200  # after the last refusal of a connector, who is answered is noted
NOTED_EVERY = 300  # of a busy bank too, so that what was noted has time to ripen

ENDED_BY_REFUSAL = frozenset({Reason.GRANT_DEAD, Reason.ROTATION_LOST})
TRIED_EVERY = 86_400  # an ended connection that still has its set
TRIED_SPREAD = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The connection of a connector that Akoya answered with a rotation last, as far as noted."""

    connection_id: str
    answered_at: int


def refused(earlier: Suspect | None, *, generation: int, lost: bool, now: int) -> Suspect:
    """Return the suspicion after one more refused look."""
    if earlier is None:
        reason = Reason.ROTATION_LOST if lost else Reason.GRANT_DEAD
        return Suspect(generation=generation, reason=reason, since=now, streak_since=now)
    return replace(
        earlier,
        reason=Reason.ROTATION_LOST if lost else earlier.reason,
        streak_since=earlier.streak_since if earlier.streak_since is not None else now,
        looks=earlier.looks + 1,
    )


def unanswered(suspect: Suspect | None) -> Suspect | None:
    """Return the suspicion after a look that was neither refused nor answered well."""
    return replace(suspect, streak_since=None) if suspect else None


def next_look(suspect: Suspect, connection_id: str, *, now: int) -> int:
    """Return when Akoya is asked again."""
    for after in LOOKS_AFTER:
        if suspect.since + after > now:
            return suspect.since + after
    return now + LOOK_EVERY - jitter(f"{connection_id}/{suspect.looks}", LOOK_SPREAD)


def is_unbroken(suspect: Suspect, *, sent_at: int) -> bool:
    """Return whether every look was refused for long enough, the one sent at `sent_at` included."""
    return suspect.streak_since is not None and sent_at - suspect.streak_since >= UNBROKEN_FOR


def is_borne_out(
    suspect: Suspect, connection_id: str, witness: Witness | None, *, sent_at: int
) -> bool:
    """Return whether the witness shows that Akoya was well while it refused this connection."""
    if witness is None or suspect.streak_since is None or witness.connection_id == connection_id:
        return False
    earliest = suspect.streak_since + WITNESS_AFTER
    return earliest <= witness.answered_at <= sent_at - WITNESS_RIPE


def next_try(connection_id: str, *, now: int, keep_until: int) -> int:
    """Return when the sealed set of a connection that ended by refusal is tried again."""
    spread = jitter(f"{connection_id}/{now // TRIED_EVERY}", TRIED_SPREAD)
    return min(keep_until, now + TRIED_EVERY - spread)
