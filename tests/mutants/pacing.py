"""The guards of the pace: how fast sends follow each other, and what a bank that hangs may hold."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "repeat: while nothing has answered in a run, its canary alone",
        "use_cases/pace.py::Pace.may_repeat",
        "self._has_answered() or is_canary",
        "True",
    ),
    Guard(
        "pace: a repeat goes before every first send",
        "use_cases/pace.py::Bucket._until_turn",
        "self._repeats_waiting and not repeat",
        "self._repeats_waiting < 0",
    ),
    Guard(
        "pace: one has the turn at a time",
        "use_cases/pace.py::Bucket._until_turn",
        "now + self.between / share_of_rate(-slow_for)",
        "now",
    ),
    Guard(
        "pace: no first send once the next run is near",
        "use_cases/schedule.py::tend_due",
        "max(remaining() - SENDING_WINDOW, REFRESH_BUDGET + WRAP_UP)",
        "REFRESH_BUDGET + WRAP_UP",
    ),
    Guard(
        "pace: no lease waits long for its turn",
        "use_cases/schedule.py::tend_due",
        "awaiting_turn * pace.between >= BEGUN_AHEAD",
        "awaiting_turn < 0",
    ),
    Guard(
        "pace: the refreshes of callers take turns in their process",
        "use_cases/refresh.py::ensure_fresh",
        "refresh_held(broker, leased, remaining, turns=broker.turns, ask=ask)",
        "refresh_held(broker, leased, remaining)",
    ),
    Guard(
        "slow: a 429 is heard by all senders",
        "use_cases/attempt.py::send",
        "answer.is_for_all",
        "answer.is_for_all is None",
    ),
    Guard(
        "slow: a 503 that names a time concerns its connection alone",
        "adapters/akoya.py::classify",
        "is_for_all=wire.status == HTTPStatus.TOO_MANY_REQUESTS",
        "is_for_all=True",
    ),
    Guard(
        "slow: no 429 stops all for longer than five minutes",
        "use_cases/attempt.py::_slow_down",
        "min(answer.retry_after or SLOW_FOR, SLOW_AT_MOST)",
        "answer.retry_after or SLOW_FOR",
    ),
    Guard(
        "slow: callers wait as well",
        "use_cases/attempt.py::ensure_sends_allowed",
        "broker.control.slow_for()",
        "0",
    ),
    Guard(
        "slow: a run begins nothing while Akoya asks to wait for long",
        "use_cases/schedule.py::tend_due",
        "run.is_open(remaining) and pace.is_worth_waiting()",
        "run.is_open(remaining)",
    ),
    Guard(
        "slow: sends begin slowly after it",
        "use_cases/pace.py::Bucket._until_turn",
        "self.between / share_of_rate(-slow_for)",
        "self.between",
    ),
    Guard(
        "slow: no first send before its time",
        "use_cases/pace.py::Bucket._until_turn",
        "slow_for > 0 and not repeat",
        "slow_for > 10**9",
    ),
    Guard(
        "slow: nothing is repeated meanwhile",
        "use_cases/pace.py::Bucket.may_repeat",
        "self._slow_for() <= 0",
        "True",
    ),
    Guard(
        "slow: a shorter wait replaces no longer one",
        "store/control.py::Control.slow_down",
        "until > self._clock() + self.slow_for()",
        "until > 0",
    ),
    Guard(
        "bulkhead: two threads until a connector has answered",
        "use_cases/bulkhead.py::Bulkhead._most",
        "min(UNHEARD, half)",
        "half",
    ),
    Guard(
        "bulkhead: half of the threads at most",
        "use_cases/bulkhead.py::Bulkhead._most",
        "max(1, self._threads // 2)",
        "self._threads",
    ),
    Guard(
        "bulkhead: one connection that hangs is not its bank",
        "use_cases/bulkhead.py::Bulkhead._most",
        "min(UNHEARD, half)",
        "1",
    ),
    Guard(
        "bulkhead: the canary is not of a bank that hangs, or holds a thread",
        "use_cases/bulkhead.py::Bulkhead._order",
        "not self._heard and may_hang",
        "False",
    ),
    Guard(
        "bulkhead: what hangs hides nothing of another bank",
        "use_cases/schedule.py::_due",
        "if crowds:\n"
        "    due += broker.connections.due("
        "now=now, limit=limit, beside=crowds, shards=lane.shards)",
        "pass",
    ),
    Guard(
        "bulkhead: what hangs is no lag",
        "use_cases/schedule.py::tend_due",
        "one.connector not in hangs",
        "True",
    ),
    Guard(
        "bulkhead: callers leave a bank that hangs to the schedule",
        "use_cases/refresh.py::ensure_fresh",
        "ensure_not_hanging(broker, seen.connector)",
        "None",
    ),
    Guard(
        "bulkhead: a timeout is noted",
        "use_cases/attempt.py::send",
        "answer.outcome is Outcome.TIMEOUT",
        "False",
    ),
    Guard(
        "bulkhead: one of many that hangs is not noted",
        "store/control.py::Control.hang_met",
        "self._answered.get(connector, {'at': 0})['at'] >= sent_at",
        "False",
    ),
    Guard(
        "bulkhead: a rotation ends it",
        "store/control.py::Control.rotation_met",
        "hang is not None and not hang['is_over']",
        "False",
    ),
    Guard(
        "bulkhead: it ends by itself where nobody tries",
        "store/control.py::Hang.stands",
        "not self.is_over and now - self.at < HANG_STANDS",
        "not self.is_over",
    ),
    Guard(
        "control: what a later version adds to a fact is passed over",
        "store/control.py::fact_of",
        "{name: fact_of(members.get(name), of_member) for name, of_member in kind.items()}",
        "dict(members)",
    ),
    Guard(
        "control: a fact that does not read counts as absent",
        "store/control.py::Control._read_known",
        "{name: fact for name, fact in facts.items() if fact is not None}",
        "facts",
    ),
)
