"""Cutting a flow at every step it makes at the ports.

A step is one call at a port. A flow that is run without a fault shows its steps, so that a step
added to the code is cut without anyone remembering; `cut` makes steps fail, each in one way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from tests.clock import FixedClock
from tests.world import World
from token_broker.domain.errors import (
    BrokerMisconfigured,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.outcome import Answer, Outcome
from token_broker.domain.refresh_policy import CONNECT_TIMEOUT, READ_TIMEOUT
from token_broker.use_cases.persist import ESCROW_TRY, TABLE_TRY

PORTS = ("connections", "escrow", "control", "seal", "client_secret", "token_endpoint")
Flow = Callable[[World], object]


class Fault(StrEnum):
    """What can happen to one call."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    REFUSED = "refused"  # no effect: no permission, or our credentials are wrong
    THROTTLED = "throttled"  # no effect
    TIMED_OUT_BEFORE = "timed out, no effect"
    TIMED_OUT_AFTER = "timed out, with effect"
    TIMED_OUT_LATE = "timed out, effect later"  # when the process has long done something else
    CUT_OFF_BEFORE = "cut off, no effect"  # the connection breaks: nobody is at it any more
    CUT_OFF_AFTER = "cut off, with effect"
    DUPLICATED = "duplicated"  # delivered twice; the second one's answer is seen
    RACED = "raced"  # a run of the schedule and a caller come in between
    LINKED = "linked again"  # somebody links the same bank login in between, and is confirmed
    RENEWED = "renewed"  # its person renews the consent in between
    DEADLINE = "deadline"  # so slow that the function's time is nearly up
    AWAY = "away from now on"  # for longer than the process lives
    AWAY_KILLED = "away, then killed"  # 30 s into an outage


TIMEOUTS = frozenset({Fault.TIMED_OUT_BEFORE, Fault.TIMED_OUT_AFTER, Fault.TIMED_OUT_LATE})
OUTAGES = frozenset({Fault.AWAY, Fault.AWAY_KILLED})


class KilledError(BaseException):
    """The process is gone; nothing of it may catch this."""


OURS_TIMEOUT = 5  # of a call to AWS
ONE_TRY = {"connections.land": TABLE_TRY, "escrow.put": ESCROW_TRY}
LAST_SECONDS = 5
SLOWEST_ANSWER = CONNECT_TIMEOUT + READ_TIMEOUT  # the send's own deadline
OUTAGE = 30  # seconds until who meets it is killed
HELD_LONG = 5  # seconds in which whoever holds a set must have made it durable
DURABLE = frozenset({"connections", "escrow"})
CODE_OUT = frozenset(  # until its use is recorded
    {
        "authorizations.mark_sent",
        "token_endpoint.exchange",
        "client_secret.reread",
        "authorizations.reopen",
    }
)
ROTATING = frozenset({"token_endpoint.refresh", "token_endpoint.exchange"})
NO_CALLS = frozenset({"connections.login_key"})  # known since the identity was read, before a send


@dataclass
class Cutter:
    """Counts the steps of one process and makes some of them fail."""

    clock: FixedClock
    ends_at: float  # when Lambda ends the process
    faults: Mapping[int, Fault] = field(default_factory=dict)  # by the number of the step
    rival: Callable[[Fault], object] = lambda _: None
    dead: bool = False
    away: frozenset[str] = frozenset()  # the ports that do not answer any more
    killed_at: float = math.inf
    late: list[Callable[[], object]] = field(default_factory=list)  # nobody waits for it any more
    rotates_late: bool = False
    steps: list[str] = field(default_factory=list)
    had_answer: bool = False  # a rotation took effect for this process
    answer_lost: bool = False  # and the last one's answer reached nobody
    only_copy: bool = False  # the process holds an answer that is not durable yet
    held_since: float = 0  # when that answer came
    died_at: float = math.inf
    ended_at: float = math.inf
    _waits: float = 0  # for how long the step under way is waited for

    @property
    def ended_at_send(self) -> bool:
        """Whether a request to Akoya is the last thing the process did."""
        return bool(self.steps) and is_send(self.steps[-1])

    @property
    def could_have_kept(self) -> bool:
        """Whether it held a set for long while a durable place answered, or gave up early."""
        if self.ended_at < self.ends_at - LAST_SECONDS and not self.dead:
            return self.only_copy
        held = min(self.died_at, self.ended_at) - self.held_since
        return self.only_copy and held > HELD_LONG and not self.away >= DURABLE

    @property
    def code_may_be_sent(self) -> bool:
        """Whether its end, or an outage, kept it from saying that a code was not used."""
        if "authorizations.mark_sent" not in self.steps:
            return False
        return (self.dead and self.steps[-1] in CODE_OUT) or "authorizations" in self.away

    def call(self, name: str, act: Callable[[], Any], *_what: Any, **how: Any) -> Any:
        self._go_on()
        self.steps.append(name)
        usual = how.get("read_timeout", READ_TIMEOUT) if is_send(name) else OURS_TIMEOUT
        self._waits = ONE_TRY.get(name, usual)
        if fault := self.faults.get(len(self.steps) - 1):
            return self._cut(name, act, fault)
        if name.partition(".")[0] in self.away:
            return self._failure(name, Fault.AWAY)
        return self._seen(name, act())

    def _seen(self, name: str, result: Any) -> Any:
        """Keep an eye on where the only copy of a token set is."""
        if name in ROTATING:
            self.only_copy = result.outcome is Outcome.SUCCESS
            self.held_since = self.clock.now
            if self.only_copy:
                self.had_answer, self.answer_lost = True, False
        elif name in {"connections.land", "escrow.put"}:
            self.only_copy = False
        return result

    def _cut(self, name: str, act: Callable[[], Any], fault: Fault) -> Any:
        match fault:
            case Fault.KILLED_BEFORE:
                self._die()
            case Fault.KILLED_AFTER:
                self._seen(name, act())
                self._die()
            case Fault.DUPLICATED:
                self._unheard(name, act())
                return self._seen(name, act())
            case Fault.RACED | Fault.LINKED | Fault.RENEWED:
                self.rival(fault)
                return self._seen(name, act())
            case Fault.DEADLINE:
                self.clock.now = (
                    min(self.clock.now + SLOWEST_ANSWER, self.ends_at)
                    if is_send(name)
                    else max(self.clock.now, self.ends_at - LAST_SECONDS)
                )
                return self._seen(name, act())
            case Fault.AWAY | Fault.AWAY_KILLED:
                self.away |= {name.partition(".")[0]}
                if fault is Fault.AWAY_KILLED:
                    self.killed_at = self.clock.now + OUTAGE
            case Fault.TIMED_OUT_LATE:
                self.late.append(act)
                self.rotates_late |= name in ROTATING
            case Fault.TIMED_OUT_AFTER | Fault.CUT_OFF_AFTER:
                self._unheard(name, act())
        return self._failure(name, fault)

    def _unheard(self, name: str, result: Any) -> None:
        """Note a rotation whose answer reaches nobody."""
        if is_send(name) and result.refresh_token:
            self.had_answer = self.answer_lost = True

    def _go_on(self) -> None:
        if self.dead or self.clock.now >= min(self.ends_at, self.killed_at):
            self._die()

    def _die(self) -> None:
        if not self.dead:
            self.dead, self.died_at = True, min(self.clock.now, self.killed_at, self.ends_at)
        raise KilledError

    def _failure(self, name: str, fault: Fault) -> Any:
        if fault in TIMEOUTS or (fault in OUTAGES and not is_send(name)):
            self.clock.advance(self._waits)
        elif fault in OUTAGES:
            self.clock.advance(CONNECT_TIMEOUT)
        self._go_on()
        if not is_send(name) and fault is Fault.REFUSED:
            raise BrokerMisconfigured(detail="cut")
        if not is_send(name):
            raise UpstreamUnavailable(detail="cut")
        outcome = {
            Fault.REFUSED: Outcome.CLIENT_AUTH,
            Fault.THROTTLED: Outcome.THROTTLED,
            **dict.fromkeys(OUTAGES, Outcome.UNREACHABLE),
            **dict.fromkeys(TIMEOUTS, Outcome.TIMEOUT),
        }.get(fault, Outcome.UPSTREAM)
        return Answer(outcome=outcome, detail="cut")


def is_send(name: str) -> bool:
    """Tell whether a step goes to Akoya."""
    return name.startswith("token_endpoint.")


class Stepped:
    """A port whose every call is a step."""

    def __init__(self, port: Any, name: str, cutter: Cutter) -> None:
        self._port, self._name, self._cutter = port, name, cutter

    def __getattr__(self, method: str) -> Callable[..., Any]:
        target: Callable[..., Any] = getattr(self._port, method)
        if f"{self._name}.{method}" in NO_CALLS:
            return target

        def call(*args: Any, **kwargs: Any) -> Any:
            step = f"{self._name}.{method}"
            return self._cutter.call(step, lambda: target(*args, **kwargs), *args, **kwargs)

        return call


@dataclass
class Process(World):
    """The world as one process sees it: its steps are counted, and its time runs out."""

    cutter: Cutter | None = None

    def remaining(self) -> float:
        assert self.cutter is not None
        return self.cutter.ends_at - self.clock.now


def process_in(world: World, cutter: Cutter) -> Process:
    """Start a process in the world."""
    stepped: dict[str, Any] = {
        name: Stepped(getattr(world.broker, name), name, cutter) for name in PORTS
    }
    broker = replace(world.broker, **stepped)
    authorizations: Any = Stepped(world.finishing.authorizations, "authorizations", cutter)
    finishing = replace(world.finishing, authorizations=authorizations)
    shared = {field.name: getattr(world, field.name) for field in fields(World)}
    return Process(**shared | {"broker": broker, "finishing": finishing}, cutter=cutter)


def cut(
    world: World,
    flow: Flow,
    faults: Mapping[int, Fault],
    *,
    timeout: float,
    rival: Callable[[Fault], object] = lambda _: None,
    while_late: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[Cutter, bool]:
    """Run a flow in which steps fail; return its steps and whether it came through all the same."""
    cutter = Cutter(
        clock=world.clock, ends_at=world.clock.now + timeout, faults=faults, rival=rival
    )
    came_through = False
    with suppress(KilledError, TokenBrokerError):
        flow(process_in(world, cutter))
        came_through = True
    cutter.ended_at = world.clock.now
    for late in cutter.late:
        with suppress(TokenBrokerError), while_late():
            late()
    if cutter.rotates_late:  # or is what a provider without grace ends the consent for
        cutter.had_answer = cutter.answer_lost = True
    return cutter, came_through
