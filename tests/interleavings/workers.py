"""Processes that stop before every call at a port, so that many of them can be interleaved.

Each is a greenlet: whoever drives it decides which one goes on, what its next call meets, and when
it dies. Nothing is left to the operating system, so every schedule can be run again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from greenlet import getcurrent, greenlet

from local.akoya_sandbox.ledger import fingerprint
from tests.clock import FixedClock
from tests.interleavings.cuts import (
    Cutter,
    Fault,
    Flow,
    KilledError,
    is_send,
    process_in,
)
from tests.world import World
from token_broker.domain.errors import TokenBrokerError
from token_broker.domain.outcome import Answer, Outcome
from token_broker.domain.refresh_policy import CONNECT_TIMEOUT

# How long after a caller has given up what it asked for may still happen.
AKOYAS_DELAY = 50
OURS_DELAY = 10


@dataclass
class Late:
    """A request nobody waits for any more, and which still takes effect."""

    by: float
    act: Callable[[], object]
    token: str | None = None
    sender: object = None

    def lands(self) -> None:
        with suppress(TokenBrokerError):
            self.act()


@dataclass
class Traffic:
    """What is under way between all processes and the outside."""

    clock: FixedClock
    complaints: list[str] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    arrived_late: set[str] = field(default_factory=set)  # tokens that came unheard
    while_late: Callable[[], AbstractContextManager[None]] = nullcontext
    _awaited: dict[str, float] = field(default_factory=dict)  # token: until when at the most

    def begins(self, token: str, *, until: float, sender: object) -> None:
        """Note that a refresh token leaves for Akoya; only its own sender may have it there."""
        awaited = self._awaited.get(token, 0) > self.clock.now
        if awaited or any(late.token == token and late.sender != sender for late in self.late):
            self.complaints.append("two sends of one refresh token overlapped")
        self._awaited[token] = until

    def ends(self, token: str) -> None:
        """Note that its sender has its answer, or does not wait for it any more."""
        self._awaited.pop(token, None)

    def is_late(self, late: Late) -> None:
        """Note a request that its sender has given up, and that arrives all the same."""
        self.late.append(late)

    def lands(self, *, before: float) -> None:
        """Let what is late by then take effect."""
        for late in [one for one in self.late if one.by <= before]:
            self.late.remove(late)
            with self.while_late():
                late.lands()
            self.arrived_late |= {late.token} if late.token else set()


@dataclass
class Worker(Cutter):
    """One process; it stands still until it is told to go on."""

    traffic: Traffic = field(kw_only=True)
    does: str = field(kw_only=True)
    wants: str = ""  # the step it is about to make
    received: list[str] = field(default_factory=list)  # refresh tokens whose answer arrived here
    failure: BaseException | None = None
    _body: greenlet | None = None
    _late: Late = field(default_factory=lambda: Late(by=0, act=lambda: None))

    @classmethod
    def of(
        cls,
        world: World,
        flow: Flow,
        traffic: Traffic,
        *,
        does: str,
        timeout: float,
        skew: int,
    ) -> Worker:
        """Start a process on a machine whose clock is wrong by `skew` seconds."""
        worker = cls(
            clock=world.clock, ends_at=world.clock.now + timeout, traffic=traffic, does=does
        )
        process = process_in(world, worker)
        process.broker = replace(process.broker, clock=lambda: int(world.clock.now + skew))
        worker._body = greenlet(lambda: worker._run(lambda: flow(process)))
        worker.goes_on()
        return worker

    @property
    def is_over(self) -> bool:
        return self._body is None or self._body.dead

    def goes_on(self, fault: Fault | None = None, *, late: bool = False) -> None:
        """Make the next step, which meets a fault if one is given."""
        if self.is_over or self._body is None:
            return
        fault = Fault.TIMED_OUT_LATE if late else fault
        self.faults = {len(self.steps): fault} if fault else {}
        self._body.switch()

    def dies(self) -> None:
        """End here, whatever is under way."""
        self.dead = True
        self.goes_on()

    def call(self, name: str, act: Callable[[], Any], *what: Any, **how: Any) -> Any:
        self.wants = name
        if name.partition(".")[0] not in self.away:  # who knocks in vain need not be watched
            self._stands()
        self._late = Late(by=0, act=act, sender=id(self))
        if name == "token_endpoint.refresh":
            token = self._late.token = fingerprint(what[0].reveal())
            waits = CONNECT_TIMEOUT + how["read_timeout"]
            return super().call(name, lambda: self._sent(token, act, waits), **how)
        if name == "token_endpoint.exchange":
            self.clock.advance(1)  # no two consents of a person's are given in one second
        return super().call(name, act, **how)

    def _run(self, flow: Callable[[], object]) -> None:
        try:
            flow()
        except (KilledError, TokenBrokerError):
            pass
        except Exception as exc:  # noqa: BLE001 - told to whoever drives
            self.failure = exc

    def _stands(self) -> None:
        parent = getcurrent().parent
        assert parent is not None
        parent.switch()
        if self.dead:
            raise KilledError

    def _sent(self, token: str, act: Callable[[], Answer], waits: float) -> Answer:
        """Send; Akoya acts at once, and its answer takes as long as it is let."""
        gives_up_at = self.clock.now + waits
        until = min(gives_up_at, self.ends_at)
        self.traffic.begins(token, until=until, sender=id(self))
        try:
            answer = act()
            self._stands()
        finally:
            self.traffic.ends(token)
        if self.clock.now > gives_up_at:
            return Answer(outcome=Outcome.TIMEOUT, detail="too late")
        return answer

    def _seen(self, name: str, result: Any) -> Any:
        if isinstance(result, Answer) and result.refresh_token:
            self.received.append(fingerprint(result.refresh_token.reveal()))
        return super()._seen(name, result)

    def _cut(self, name: str, act: Callable[[], Any], fault: Fault) -> Any:
        if fault is Fault.TIMED_OUT_LATE:
            delay = AKOYAS_DELAY if is_send(name) else OURS_DELAY
            self._late.by = self.clock.now + self._waits + delay
            self.traffic.is_late(self._late)
        return super()._cut(name, act, fault)
