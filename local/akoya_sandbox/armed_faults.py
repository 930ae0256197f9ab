"""The faults now armed, and how one to arm is read."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .faults import FAULTS, NO_FAULT, Fault, Operation, Parameters
from .settings import InvalidSettingError


@dataclass(slots=True)
class Armed:
    """A fault that waits for its requests: of one login or all, `times` more or for ever.

    `disarmed` lets go of the requests it holds back.
    """

    fault: Fault
    on: tuple[Operation, ...] = ()
    login: str | None = None
    times: int | None = None
    parameters: Parameters = field(default_factory=Parameters)
    disarmed: threading.Event = field(default_factory=threading.Event)

    def view(self) -> dict[str, Any]:
        """Return what was armed, and how often it will still strike, as JSON-ready values."""
        return {
            "fault": self.fault.name,
            "on": list(self.on),
            "login": self.login,
            "times": self.times,
            "status": self.parameters.status,
            "seconds": self.parameters.seconds,
            "retry_after": self.parameters.retry_after,
        }


UNHARMED = Armed(NO_FAULT)


class ArmedFaults:
    """The faults now armed, the first that fits strikes; not thread-safe, its owner is."""

    def __init__(self) -> None:
        self._armed: list[Armed] = []

    def arm(self, armed: Armed) -> None:
        """Add one behind those already armed."""
        self._armed.append(armed)

    def disarm(self, login: str | None = None) -> None:
        """Take away those of one login, or all, and let go of what they hold back."""
        for armed in self._armed:
            if login is None or armed.login == login:
                armed.disarmed.set()
        self._armed = [armed for armed in self._armed if not armed.disarmed.is_set()]

    def strike(self, operation: Operation | None, login: str | None) -> Armed:
        """Return what this request meets, and count it."""
        for armed in self._armed:
            if armed.times != 0 and operation in armed.on and armed.login in (None, login):
                if armed.times is not None:
                    armed.times -= 1
                return armed
        return UNHARMED

    def view(self) -> list[dict[str, Any]]:
        """Return those that will still strike, in their order."""
        return [armed.view() for armed in self._armed if armed.times != 0]


def read_armed(body: Mapping[str, Any]) -> Armed:
    """Read a fault to arm from JSON; raises InvalidSettingError with what would be right."""
    known = ("fault", "login", "on", "times", "status", "seconds", "retry_after")
    unknown = [name for name in body if name not in known]
    if unknown:
        raise InvalidSettingError(f"a fault has no {unknown[0]}; it may have: {', '.join(known)}")
    fault = FAULTS.get(str(body.get("fault")))
    if fault is None:
        raise InvalidSettingError(f"fault must be one of: {', '.join(FAULTS)}")
    login = body.get("login")
    if login is not None and not isinstance(login, str):
        raise InvalidSettingError("login must be <connector>/<user name>, or left out for all")
    status = _number(body, "status", 500, least=500, most=599)
    times, retry_after = body.get("times"), body.get("retry_after")
    return Armed(
        fault=fault,
        on=_operations(fault, body.get("on")),
        login=login,
        times=None if times is None else int(_number(body, "times", 1, least=1)),
        parameters=Parameters(
            status=int(status),
            seconds=_number(body, "seconds", fault.seconds, least=0, most=3600),
            retry_after=None
            if retry_after is None
            else int(_number(body, "retry_after", 0, least=0)),
        ),
    )


def _operations(fault: Fault, wanted: object) -> tuple[Operation, ...]:
    if wanted is None:
        return fault.on[:1]
    operations = tuple(
        operation for operation in fault.on if isinstance(wanted, list) and operation in wanted
    )
    if not isinstance(wanted, list) or not wanted or len(operations) != len(wanted):
        raise InvalidSettingError(
            f"{fault.name}: on must be a list of one or more of: {', '.join(fault.on)}"
        )
    return operations


def _number(
    body: Mapping[str, Any], name: str, default: float, *, least: int, most: int | None = None
) -> float:
    value = body.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value < least or (most is not None and value > most):
        upper = "" if most is None else f", at most {most}"
        raise InvalidSettingError(f"{name} must be a number, at least {least}{upper}")
    return float(value)
