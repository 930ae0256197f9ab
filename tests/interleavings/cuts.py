"""Cutting a flow at every step it makes at the ports.

A step is one call at a port. `steps_of` finds them by running the flow once, so that a step added
to the code is cut without anyone remembering; `cut` makes one step fail in one way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from tests.world import FixedClock, World
from token_broker.domain.errors import (
    BrokerMisconfigured,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.outcome import Answer, Outcome
from token_broker.domain.refresh_policy import CONNECT_TIMEOUT
from token_broker.use_cases.refresh import LONGEST_WRITE

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


TIMEOUTS = frozenset({Fault.TIMED_OUT_BEFORE, Fault.TIMED_OUT_AFTER, Fault.TIMED_OUT_LATE})


class KilledError(BaseException):
    """The process is gone; nothing of it may catch this."""


OURS_TIMEOUT = 5  # of a call to AWS
AKOYAS_TIMEOUT = 30
LAST_SECONDS = 5
SLOWEST_ANSWER = 35  # the send's own deadline


@dataclass
class Cutter:
    """Counts the steps of one process and makes one of them fail."""

    clock: FixedClock
    ends_at: float  # when Lambda ends the process
    at: int | None = None
    fault: Fault | None = None
    rival: Callable[[], object] = lambda: None
    dead: bool = False
    away: str = ""  # the port that does not answer any more
    late: Callable[[], object] = lambda: None  # what takes effect when nobody waits for it
    steps: list[str] = field(default_factory=list)
    answer_lost: bool = False  # a rotation took effect and its answer reached nobody
    only_copy: bool = False  # the process holds an answer that is not durable yet

    def call(self, name: str, act: Callable[[], Any], *_what: Any) -> Any:
        if self.dead or self.clock.now >= self.ends_at:
            self.dead = True
            raise KilledError
        self.steps.append(name)
        if len(self.steps) - 1 == self.at:
            return self._cut(name, act)
        if self.away and name.startswith(self.away):
            return self._failure(name)
        return self._seen(name, act())

    def _seen(self, name: str, result: Any) -> Any:
        """Keep an eye on where the only copy of a token set is."""
        if name in {"token_endpoint.refresh", "token_endpoint.exchange"}:
            self.only_copy = result.outcome is Outcome.SUCCESS
        elif name in {"connections.land", "escrow.put"}:
            self.only_copy = False
        return result

    def _cut(self, name: str, act: Callable[[], Any]) -> Any:
        match self.fault:
            case Fault.KILLED_BEFORE:
                self._die()
            case Fault.KILLED_AFTER:
                self._seen(name, act())
                self._die()
            case Fault.DUPLICATED:
                first = act()
                self.answer_lost = name.startswith("token_endpoint.") and bool(first.refresh_token)
                return self._seen(name, act())
            case Fault.RACED | Fault.LINKED | Fault.RENEWED:
                self.rival()
                return self._seen(name, act())
            case Fault.DEADLINE:
                slow = name.startswith("token_endpoint.")
                self.clock.now = (
                    min(self.clock.now + SLOWEST_ANSWER, self.ends_at)
                    if slow
                    else max(self.clock.now, self.ends_at - LAST_SECONDS)
                )
                return self._seen(name, act())
        if self.fault is Fault.AWAY:
            self.away = name.partition(".")[0]
        if self.fault is Fault.TIMED_OUT_LATE:
            self.late = act
        if self.fault in {Fault.TIMED_OUT_AFTER, Fault.CUT_OFF_AFTER}:
            result = act()
            if name.startswith("token_endpoint."):
                self.answer_lost = bool(result.refresh_token)
        return self._failure(name)

    def _die(self) -> None:
        self.dead = True
        raise KilledError

    def _failure(self, name: str) -> Any:
        ours = not name.startswith("token_endpoint.")
        if self.fault in TIMEOUTS:
            self.clock.advance(OURS_TIMEOUT if ours else AKOYAS_TIMEOUT)
        if self.fault is Fault.AWAY:
            self.clock.advance(LONGEST_WRITE if ours else CONNECT_TIMEOUT)
        if ours and self.fault is Fault.REFUSED:
            raise BrokerMisconfigured(detail="cut")
        if ours:
            raise UpstreamUnavailable(detail="cut")
        outcome = {
            Fault.REFUSED: Outcome.CLIENT_AUTH,
            Fault.THROTTLED: Outcome.THROTTLED,
            Fault.AWAY: Outcome.UNREACHABLE,
            **dict.fromkeys(TIMEOUTS, Outcome.TIMEOUT),
        }.get(self.fault or Fault.CUT_OFF_BEFORE, Outcome.UPSTREAM)
        return Answer(outcome=outcome, detail="cut")


class Stepped:
    """A port whose every call is a step."""

    def __init__(self, port: Any, name: str, cutter: Cutter) -> None:
        self._port, self._name, self._cutter = port, name, cutter

    def __getattr__(self, method: str) -> Callable[..., Any]:
        target = getattr(self._port, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            step = f"{self._name}.{method}"
            return self._cutter.call(step, lambda: target(*args, **kwargs), *args)

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
        name: Stepped(getattr(world.on, name), name, cutter) for name in PORTS
    }
    on = replace(world.on, **stepped)
    authorizations: Any = Stepped(world.finishing.authorizations, "authorizations", cutter)
    finishing = replace(world.finishing, authorizations=authorizations)
    shared = {field.name: getattr(world, field.name) for field in fields(World)}
    return Process(**shared | {"on": on, "finishing": finishing}, cutter=cutter)


def steps_of(world: World, flow: Flow, *, timeout: float) -> list[str]:
    """Return the steps a flow makes when nothing goes wrong."""
    cutter = Cutter(clock=world.clock, ends_at=world.clock.now + timeout)
    flow(process_in(world, cutter))
    return cutter.steps


def cut(
    world: World,
    flow: Flow,
    at: int,
    fault: Fault,
    *,
    timeout: float,
    rival: Callable[[], object] = lambda: None,
) -> tuple[Cutter, bool]:
    """Run a flow with one step cut; tell too whether the flow came through all the same."""
    cutter = Cutter(
        clock=world.clock, ends_at=world.clock.now + timeout, at=at, fault=fault, rival=rival
    )
    came_through = False
    with suppress(KilledError, TokenBrokerError):
        flow(process_in(world, cutter))
        came_through = True
    with suppress(TokenBrokerError):
        answer = cutter.late()
        cutter.answer_lost |= isinstance(answer, Answer) and bool(answer.refresh_token)
    return cutter, came_through
