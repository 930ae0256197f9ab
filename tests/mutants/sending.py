"""The guards of a send: who may send a refresh token or a code, when, and how often."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "lease: a claim needs a free row",
        "store/connections.py::Connections.claim",
        "is_free(now)",
        "exists()",
    ),
    Guard(
        "lease: only its holder settles",
        "store/conditions.py::leased_as",
        "held_by(leased.lease.id if leased.lease else '')",
        "exists()",
    ),
    Guard(
        "lease: only its holder repeats a send",
        "use_cases/attempt.py::_has_time",
        "attempt.remaining() >= budget and leased_for >= budget",
        "attempt.remaining() >= budget",
    ),
    Guard(
        "lease: it outlives its holder's function",
        "domain/refresh_policy.py::lease_end",
        "now + math.ceil(ends_in) + CLOCK_SKEW",
        "now + math.ceil(ends_in) // 4",
    ),
    Guard(
        "attempt id: a landed write knows itself again",
        "store/connections.py::Connections._land",
        "row.attempt_id == landing.attempt_id and row.generation >= landing.generation",
        "not row",
    ),
    Guard(
        "attempt id: a claim knows itself again",
        "store/connections.py::Connections.claim",
        "row.lease and row.lease.id == lease.id",
        "not row",
    ),
    Guard(
        "lease: a renewal that was not sent releases its connection",
        "use_cases/exchange.py::Exchange._call_off",
        "if self.row.replaces:\n    self._release(self.row.replaces)",
        "pass",
    ),
    Guard(
        "repeat: once after a timeout of our own",
        "use_cases/attempt.py::REPEATS",
        "Reaction.REPEAT_ONCE: 1",
        "Reaction.REPEAT_ONCE: 0",
    ),
    Guard(
        "repeat: a set remembers that its predecessor was sent twice",
        "use_cases/refusal.py::refused",
        "sent.ambiguous or leased.unsettled > 1 or leased.predecessor_resent",
        "sent.ambiguous or leased.unsettled > 1",
    ),
    Guard(
        "lease: it outlives its holder by the skew of clocks, too",
        "domain/refresh_policy.py::lease_end",
        "now + math.ceil(ends_in) + CLOCK_SKEW",
        "now + math.ceil(ends_in)",
    ),
    Guard(
        "lease: nothing is sent under one that ends too soon",
        "use_cases/attempt.py::await_send",
        "not _has_time(broker, attempt, FIRST_BUDGET[attempt.grant])",
        "attempt.remaining() < FIRST_BUDGET[attempt.grant]",
    ),
    Guard(
        "repeat: a newer secret is tried only with the time of a send",
        "use_cases/attempt.py::send",
        "(newer, SEND_BUDGET)",
        "(newer, 0)",
    ),
    Guard(
        "repeat: it waits for its turn",
        "use_cases/attempt.py::send",
        "attempt.turns.again()",
        "None",
    ),
    Guard(
        "repeat: a set remembers an unsettled attempt before its own",
        "use_cases/refresh.py::_is_resent",
        "sent.ambiguous or leased.unsettled > 1 or is_same",
        "sent.ambiguous or is_same",
    ),
    Guard(
        "repeat: a set that keeps its refresh token keeps that memory",
        "use_cases/refresh.py::_is_resent",
        "sent.ambiguous or leased.unsettled > 1 or is_same",
        "sent.ambiguous or leased.unsettled > 1",
    ),
    Guard(
        "pre-flight: whatever happens, the lease is released",
        "use_cases/refresh.py::refresh_held",
        "Exception",
        "TokenBrokerError",
    ),
    Guard(
        "pre-flight: any failure reopens an unused code",
        "use_cases/exchange.py::Exchange.result",
        "Exception",
        "TokenBrokerError",
    ),
    Guard(
        "pre-flight: any failure of a revoke releases the lease",
        "use_cases/revoke.py::revoke",
        "Exception",
        "TokenBrokerError",
    ),
    Guard(
        "breaker: callers wait",
        "use_cases/attempt.py::ensure_sends_allowed",
        "now < until + CANARY_PATIENCE",
        "now < 0",
    ),
    Guard(
        "breaker: the schedule waits",
        "use_cases/schedule.py::tend_due",
        "paused_until > now",
        "now < 0",
    ),
    Guard(
        "breaker: a refused canary stops the run",
        "use_cases/schedule.py::_deferred",
        "until is not None and until > broker.clock() or (ours and (not run.answered))",
        "ours and (not run.answered)",
    ),
    Guard(
        "unreached: a run that meets nothing of Akoya stops",
        "use_cases/schedule.py::Run.is_open",
        "len(self.unreached) >= MOST_UNREACHED and (not self.answered)",
        "len(self.unreached) < 0",
    ),
    Guard(
        "unreached: not once Akoya has answered somebody",
        "use_cases/schedule.py::Run.is_open",
        "len(self.unreached) >= MOST_UNREACHED and (not self.answered)",
        "len(self.unreached) >= MOST_UNREACHED",
    ),
    Guard(
        "deadline: no refresh without time to persist its answer",
        "use_cases/attempt.py::FIRST_BUDGET",
        "Grant.REFRESH_TOKEN: REFRESH_BUDGET",
        "Grant.REFRESH_TOKEN: 0",
    ),
    Guard(
        "deadline: no exchange without time to persist its answer",
        "use_cases/attempt.py::FIRST_BUDGET",
        "Grant.AUTHORIZATION_CODE: SEND_BUDGET",
        "Grant.AUTHORIZATION_CODE: 0",
    ),
    Guard(
        "client secret: nobody is sent out whose code could not be exchanged",
        "use_cases/authorize.py::begin",
        "not broker.secret_presence.is_set()",
        "broker.secret_presence is None",
    ),
    Guard(
        "identity row: nothing is sent from a copy",
        "use_cases/home.py::ensure_home",
        "recorded.unlike(home)",
        "recorded.unlike(recorded)",
    ),
    Guard(
        "identity row: nothing is sent to another provider",
        "domain/identity.py::Identity.unlike",
        "(asdict(self), asdict(other))",
        "(asdict(self) | {'provider': ''}, asdict(other) | {'provider': ''})",
    ),
    Guard(
        "identity row: the first set that lands binds the table",
        "store/connections.py::Connections.land",
        "self._identity.bind()",
        "pass",
    ),
    Guard(
        "identity row: until then everything may be corrected",
        "store/identity.py::IdentityRow.recorded",
        "replace(home, provider=None)",
        "home",
    ),
    Guard(
        "deadline: the connection is shut at it, whatever of the answer has come",
        "adapters/deadline.py::Deadline.expire",
        "self._handle.shutdown(socket.SHUT_RD)",
        "self._handle.getpeername()",
    ),
    Guard(
        "trust: a certificate is required",
        "adapters/deadline.py::DeadlineAdapter.cert_verify",
        "conn.cert_reqs = 'CERT_REQUIRED'",
        "conn.cert_reqs = 'CERT_NONE'",
    ),
    Guard(
        "trust: what all connections share is not switched off for one",
        "adapters/deadline.py::DeadlineAdapter.cert_verify",
        "verify is not True or cert is not None",
        "verify is None",
    ),
    Guard(
        "deadline: nothing is sent after it",
        "adapters/deadline.py::Deadline.watch",
        "self.expired",
        "self._handle",
    ),
)
