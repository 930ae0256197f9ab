"""When a connection is due, and how long an attempt may take."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from token_broker.domain.connection import Connection, Landing

# One attempt's times, in seconds. A lease ends CLOCK_SKEW after its holder's function, so a process
# that still holds an answer cannot meet another holder's send.
CLOCK_SKEW = 10  # for so much another machine's clock may be ahead
CONNECT_TIMEOUT = 3
READ_TIMEOUT = 40  # the bank may be in the path (Akoya: sections on refresh latency)
REPEAT_READ_TIMEOUT = 25  # of a prompt repeat
PERSIST_BUDGET = 10  # for the table; after it escrow is enough, if the set is there
SEND_BUDGET = CONNECT_TIMEOUT + READ_TIMEOUT + PERSIST_BUDGET  # for what is sent once
REPEAT_BUDGET = CONNECT_TIMEOUT + REPEAT_READ_TIMEOUT + PERSIST_BUDGET
REFRESH_BUDGET = SEND_BUDGET + CONNECT_TIMEOUT + REPEAT_READ_TIMEOUT  # a send, then one repeat
PROMPT_REPEATS = 2  # after a reset or a garbled answer; one after an own timeout
SENDING_WINDOW = 55  # of a run: the schedule fires each 60 s, so first sends of two never overlap
CANARY_HEARD_WITHIN = 10  # one that hangs for longer does not keep a run's next one waiting
BRIEFLY = 60  # the lease of a holder that sends nothing

SLOW_FOR = 5  # where a 429 names no time
SLOW_AT_MOST = 300  # for all; the connection that met it waits for as long as it was told
RAMP_UP = 60  # after it, from SLOWEST to the whole rate
SLOWEST = 1 / 4
WORTH_WAITING = 10  # a longer pause ends a run

UNSETTLED_DELAY = 60
BACK_OFF_FIRST = 60
BACK_OFF_LONGEST = 900
REJECTED_SOON = 120  # after its issue, or a quarter of its life: such a rejection is no normal end
PROOF_INTERVAL = 3_600  # Akoya is asked so often whether a consent lives whose bearers are refused
BREAKER_PAUSE = 45  # less than the minute between runs, so that every run tries one
CANARY_PATIENCE = 75  # how long after that callers still leave the first try to the schedule

CONFIRM_WITHIN = 600  # some runs less than it takes to end a connection whose tokens a link ended
NEXT_USE_WITHIN = 366 * 86_400
ENDED_ROW_KEPT = 365 * 86_400  # without a token set
ESCROW_PATIENCE = 3_600  # an older object in escrow is reported as stranded
ESCROW_SWEPT_EVERY = 900


def jitter(key: str, width: int) -> int:
    """Return a number below `width` that only depends on `key`, so that a fleet spreads out."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") % width if width > 0 else 0


def lease_end(now: int, ends_in: float) -> int:
    """Return until when a lease lasts whose holder is ended from outside in so many seconds."""
    return now + math.ceil(ends_in) + CLOCK_SKEW


def back_off(connection_id: str, failures: int) -> int:
    """Return the seconds to wait after so many failures in a row: doubling, bounded, spread."""
    wait = min(BACK_OFF_LONGEST, BACK_OFF_FIRST * 2 ** min(failures, 10))
    return int(wait) - jitter(f"{connection_id}/{failures}", wait // 4)


def share_of_rate(since: int) -> float:
    """Return how much of a rate may be used so many seconds after Akoya's wait was over."""
    return min(1, SLOWEST + (1 - SLOWEST) * max(0, since) / RAMP_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A caller's asking for a bearer, and when it will ask again, if it says so."""

    at: int
    next_use: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshPolicy:
    """When a connection must be looked at next. All values in seconds."""

    margin: int
    keep_alive: int

    def early(self, life: int) -> int:
        """Return how long before its expiry a bearer of this life counts as stale."""
        return min(self.margin, life // 4)

    def longest_min_validity(self, life: int) -> int:
        """Return what a caller may ask for at most, lest asking forces endless refreshes."""
        return life // 2

    def asked_at(self, held: Connection | Landing, ask: Ask | None) -> int | None:
        """Return since when a bearer is in use, so that it is renewed before it expires.

        None where no caller asked for it, or the one that did will ask again only when it is over.
        """
        issued, expires_at = held.issued_at or 0, held.expires_at or 0
        lasts_until = expires_at - self.early(expires_at - issued)
        if ask is None or (ask.next_use is not None and ask.next_use > lasts_until):
            return None
        return ask.at

    def due_at(self, held: Connection | Landing, *, now: int, ask: Ask | None) -> int:
        """Return when a set is due: before its bearer expires, or is asked for again, or to live.

        `ask` asked for this very set. The bearer's life counts from `issued_at`, on our clock.
        """
        key, issued, expires_at = held.set_id, held.issued_at or 0, held.expires_at or 0
        if expires_at <= issued:  # a rotation without a bearer: fetch one soon
            return now + UNSETTLED_DELAY
        early = self.early(expires_at - issued)
        to_live = now + self.keep_alive - jitter(key, self.keep_alive // 10)
        if self.asked_at(held, ask) is not None:
            return max(now + 1, expires_at - early - jitter(key, early // 2))
        if ask is None or ask.next_use is None:
            return to_live
        spread = self.longest_min_validity(expires_at - issued) - early
        return min(to_live, max(now + 1, ask.next_use - early - jitter(key, spread)))
