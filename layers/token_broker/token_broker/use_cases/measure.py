"""Measure what callers meet, and whether a run went as it should: what the alarms are on."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

from token_broker.domain.errors import TokenBrokerError, UpstreamUnavailable
from token_broker.domain.refresh_policy import BACK_OFF_LONGEST
from token_broker.store.control import Trouble
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.lane import ALONE, Lane

LAG_ALLOWED = 900  # seconds the oldest due connection may wait
OUTAGE = 300  # of runs in vain: from then on the alarm on runs is on
OF_ONE_LANE = 120  # seconds in which another lane that is answered takes back what one met in vain
SPOKEN_FOR = 3_600  # an alarm stays on for so long, and the schedule catches up meanwhile


def measure_expired(broker: Broker) -> None:
    """Count the bearers that expired in use, and their share of those that need a refresh now.

    Looks at what is due or backs off from a failed attempt: due within BACK_OFF_LONGEST. What is
    suspect does not count, for its consent may be over. The share stays 0 where only one bearer has
    expired: that is the trouble of one connection, whose view says so. The share is not counted
    while nothing answers, nor while an alarm speaks for the cause.
    """
    now = broker.clock()
    try:
        expiries = broker.connections.expiries(due_until=now + BACK_OFF_LONGEST)
    except UpstreamUnavailable:  # the run tends what is due without the figure
        return
    expired = sum(expires_at <= now for expires_at in expiries)
    broker.record("bearers_expired", value=expired)
    share = 100 * expired // len(expiries) if expired > 1 else 0
    if not _is_explained(broker):
        broker.record("bearers_expired_share", value=share)


def measure_load(broker: Broker, *, due: int, capacity: int) -> None:
    """Tell how many percent of what a run of its lane can carry is due.

    100 where it is as much or more. Not while nothing answers, nor while an alarm speaks for the
    cause of what waits.
    """
    if not _is_explained(broker):
        broker.record("due_over_capacity", value=100 * min(due, capacity) // capacity)


def measure_failed(broker: Broker, *, failed: Collection[str], tended: Collection[str]) -> None:
    """Tell how many percent of what a run tended failed; nothing where nothing was due."""
    attempted = {*tended, *failed}
    if attempted:
        broker.record("failed_share", value=100 * len(set(failed)) // len(attempted))


def account_for(
    broker: Broker,
    *,
    lag: int,
    answered: bool,
    in_vain: bool,
    alarmed: bool,
    lane: Lane = ALONE,
) -> None:
    """Count a run that went as it should, or whose trouble has an alarm of its own (`alarmed`).

    `lag`: seconds the oldest due connection had waited. `in_vain`: it tried, and nothing answered.
    Runs that find nothing to try between such ones are in vain as well, so that a stack of one
    connection tells an outage as a large one does. The first lane alone counts its runs. What
    another lane meets is in vain from OF_ONE_LANE on; an answer to any lane ends it.
    """
    now, before = broker.clock(), broker.control.trouble()
    begins = now if lane.is_first else now + OF_ONE_LANE
    met = [before.in_vain_since, begins if in_vain else None]
    since = None if answered else min((one for one in met if one is not None), default=None)
    is_outage = since is not None and now - since >= OUTAGE
    after = Trouble(
        in_vain_since=since,
        explained_until=now + SPOKEN_FOR if alarmed or is_outage else before.explained_until,
    )
    if after != before:
        broker.control.note_trouble(after)
    may_lag = lag <= LAG_ALLOWED or after.explained_until > now
    if lane.is_first and may_lag and not after.is_in_vain(now):
        broker.record("run_accounted_for")


def account_for_failure(broker: Broker, lane: Lane = ALONE) -> None:
    """Count a run that failed and whose cause has an alarm, which speaks for what follows too."""
    with suppress(TokenBrokerError):  # the alarm is on whether or not this can be noted
        until = broker.clock() + SPOKEN_FOR
        broker.control.note_trouble(replace(broker.control.trouble(), explained_until=until))
    if lane.is_first:
        broker.record("run_accounted_for")


def _is_explained(broker: Broker) -> bool:
    """Return whether it is known why connections wait: nothing answers, or an alarm says why."""
    now, trouble = broker.clock(), broker.control.trouble()
    return trouble.is_in_vain(now) or trouble.explained_until > now
