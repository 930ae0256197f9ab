"""Measure what callers meet: bearers that expired in use, and how much of a run failed."""

from __future__ import annotations

from collections.abc import Collection

from token_broker.domain.errors import UpstreamUnavailable
from token_broker.domain.ports import Sending
from token_broker.domain.refresh_policy import ASKED_LATELY, BACK_OFF_LONGEST


def measure_expired(on: Sending) -> None:
    """Count the bearers that expired in use, and their share of those that need a refresh now.

    Looks at what is due or backs off from a failed attempt: due within BACK_OFF_LONGEST. What is
    suspect does not count, for its consent may be over. The share stays 0 where only one bearer has
    expired: that is the trouble of one connection, whose view says so.
    """
    now = on.clock()
    try:
        expiries = on.connections.expiries(
            due_until=now + BACK_OFF_LONGEST, asked_since=now - ASKED_LATELY
        )
    except UpstreamUnavailable:  # what cannot be measured is tended all the same
        return
    expired = sum(expires_at <= now for expires_at in expiries)
    on.record("bearers_expired", value=expired)
    share = 100 * expired // len(expiries) if expired > 1 else 0
    on.record("bearers_expired_share", value=share)


def measure_failed(on: Sending, *, failed: Collection[str], tended: Collection[str]) -> None:
    """Tell how many percent of what a run tended failed; nothing where nothing was due."""
    attempted = {*tended, *failed}
    if attempted:
        on.record("failed_share", value=100 * len(set(failed)) // len(attempted))
