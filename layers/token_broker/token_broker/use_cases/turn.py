"""The turn of a caller whose connection is stale: few go at once, many at the rate, oldest first.

The due index is the queue. Who has to wait gets a place in it: the row is due at the moment its
caller is told, so that the next ask finds it due and goes on, and the schedule sees to a row whose
caller does not come back. No caller needs more than the index says, and none counts the others.
"""

from __future__ import annotations

from collections import Counter

from token_broker.domain.connection import Connection
from token_broker.domain.errors import TurnToCome
from token_broker.use_cases.broker import Broker

HELD = 3  # seconds a caller waits within its request rather than come again
HORIZON = 3_600  # seconds for which turns are given
FIRST_READ = 60  # seconds of the rate: a place is near unless very many ask at once
MOST_READ = 20_000  # rows


def await_turn(broker: Broker, seen: Connection) -> None:
    """Return when a caller may have this connection refreshed; raise TurnToCome to say when.

    What is due goes at once, for its turn has come; what backs off says so when it is claimed.
    """
    now, door = broker.clock(), broker.door
    if seen.due_at is None or seen.due_at <= now or seen.failures or seen.lease:
        return
    if int(door.opens_at) <= now:  # within a second of the clock, as many as it has places for
        door.opens_at = max(door.opens_at, now) + door.one_in / door.rate
        return
    turn = _first_free(broker, from_=int(door.opens_at), now=now, rate=door.rate)
    if turn < seen.due_at:  # else it has a place already, and asks before that
        door.opens_at = max(door.opens_at, turn) + 1 / door.rate
        broker.connections.make_due(seen, due_at=turn)
        broker.record("turn_given", connection_id=seen.id)
    turn = min(turn, seen.due_at)
    if turn - now > HELD:
        raise TurnToCome(retry_after=turn - now)
    broker.pause(turn - now)


def _first_free(broker: Broker, *, from_: int, now: int, rate: int) -> int:
    """Return the first second by which all that is due until then, and one more, can be sent.

    Of the index it reads little beyond that second.
    """
    limit = min(rate * FIRST_READ, MOST_READ)
    while True:
        due = broker.connections.due(now=now + HORIZON, limit=limit)
        is_all = len(due) < limit or limit == MOST_READ
        known_until = now + HORIZON if is_all else due[-1].due_at
        falls = Counter(max(now, one.due_at) for one in due)
        waiting = falls[now]
        for second in range(now + 1, known_until):
            waiting += falls[second]
            if second >= from_ and waiting < rate:
                return second
            waiting = max(0, waiting - rate)
        if is_all:
            return now + HORIZON
        limit = min(4 * limit, MOST_READ)
