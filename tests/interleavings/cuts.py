"""Cutting a flow at every step it makes at the ports.

A step is one call at a port. `steps_of` finds them by running the flow once, so that a step added
to the code is cut without anyone remembering; `cut` makes one step fail in one way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from tests.world import World
from token_broker.domain.errors import UpstreamUnavailable
from token_broker.domain.outcome import Answer, Outcome

PORTS = ("connections", "escrow", "control", "seal", "client_secret", "token_endpoint")
Flow = Callable[[World], object]


class Fault(StrEnum):
    """What can happen to one call."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    REFUSED = "refused"  # no effect, and the caller is told
    LOST = "answer lost"  # full effect, and the caller is told of a failure


class KilledError(BaseException):
    """The process is gone; nothing of it may catch this."""


@dataclass
class Cutter:
    """Counts the steps of one flow and makes one of them fail."""

    at: int | None = None
    fault: Fault | None = None
    dead: bool = False

    def __post_init__(self) -> None:
        self.steps: list[str] = []

    def call(self, name: str, act: Callable[[], Any]) -> Any:
        if self.dead:
            raise KilledError
        self.steps.append(name)
        if len(self.steps) - 1 != self.at:
            return act()
        match self.fault:
            case Fault.KILLED_BEFORE:
                self.dead = True
                raise KilledError
            case Fault.KILLED_AFTER:
                act()
                self.dead = True
                raise KilledError
            case Fault.REFUSED:
                if name.startswith("token_endpoint."):
                    return Answer(outcome=Outcome.UNREACHABLE, detail="cut")
                raise UpstreamUnavailable(detail="cut")
            case _:
                act()
                if name.startswith("token_endpoint."):
                    return Answer(outcome=Outcome.TIMEOUT, detail="cut")
                raise UpstreamUnavailable(detail="cut")


class Stepped:
    """A port whose every call is a step."""

    def __init__(self, port: Any, name: str, cutter: Cutter) -> None:
        self._port, self._name, self._cutter = port, name, cutter

    def __getattr__(self, method: str) -> Callable[..., Any]:
        target = getattr(self._port, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._cutter.call(f"{self._name}.{method}", lambda: target(*args, **kwargs))

        return call


def under(world: World, cutter: Cutter) -> World:
    """Return the same world as a process whose steps are counted, and one of them cut, sees it."""
    stepped: dict[str, Any] = {
        name: Stepped(getattr(world.on, name), name, cutter) for name in PORTS
    }
    on = replace(world.on, **stepped)
    authorizations: Any = Stepped(world.finishing.authorizations, "authorizations", cutter)
    finishing = replace(world.finishing, authorizations=authorizations)
    shared = {field.name: getattr(world, field.name) for field in fields(world)}
    return World(**shared | {"on": on, "finishing": finishing})


def steps_of(world: World, flow: Flow) -> list[str]:
    """Return the steps a flow makes when nothing goes wrong."""
    cutter = Cutter()
    flow(under(world, cutter))
    return cutter.steps


def cut(world: World, flow: Flow, at: int, fault: Fault) -> str | None:
    """Run a flow with one step cut; return the step's name, None if it was not reached."""
    cutter = Cutter(at=at, fault=fault)
    with suppress(KilledError, UpstreamUnavailable):
        flow(under(world, cutter))
    return cutter.steps[at] if at < len(cutter.steps) else None
