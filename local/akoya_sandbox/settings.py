"""What can be chosen while the sandbox runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .dialects import DIALECTS, Dialect


class InvalidSettingError(ValueError):
    """A setting does not exist or has a value it cannot have; the message says which are right."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Lives and rules of the tokens; all lives in whole seconds.

    `refresh_token_lifetime` None means perpetual; with `refresh_token_expiry` "rolling" it counts
    from the last rotation, with "fixed" from the consent. `id_token_after_rotation` says whether
    the data API still takes an id_token once a newer one was issued. `reuse_window` None means the
    dialect's own. Requests above `requests_per_second` get 429; None means no limit.
    """

    dialect: str = "gen1"
    id_token_lifetime: int = 900
    refresh_token_lifetime: int | None = None
    refresh_token_expiry: str = "rolling"
    id_token_after_rotation: str = "valid"
    reuse_window: int | None = None
    requests_per_second: int | None = None

    def __post_init__(self) -> None:
        _one_of("dialect", self.dialect, tuple(DIALECTS))
        _seconds("id_token_lifetime", self.id_token_lifetime, least=1, most=86_400)
        if self.refresh_token_lifetime is not None:
            _seconds("refresh_token_lifetime", self.refresh_token_lifetime, least=1)
        _one_of("refresh_token_expiry", self.refresh_token_expiry, ("rolling", "fixed"))
        _one_of("id_token_after_rotation", self.id_token_after_rotation, ("valid", "revoked"))
        if self.reuse_window is not None:
            _seconds("reuse_window", self.reuse_window, least=0)
        if self.requests_per_second is not None:
            _whole("requests_per_second", self.requests_per_second, least=1)

    @property
    def rules(self) -> Dialect:
        """The chosen dialect, with the chosen reuse window."""
        dialect = DIALECTS[self.dialect]
        if self.reuse_window is None:
            return dialect
        return replace(dialect, reuse_window=self.reuse_window)

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """Return these settings with `changes` made; raises InvalidSettingError."""
        names = [field.name for field in fields(self)]
        for name in changes:
            _one_of("setting", name, tuple(names))
        return replace(self, **changes)

    def view(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return asdict(self)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise InvalidSettingError(f"{name} must be one of: {', '.join(allowed)}")


def _seconds(name: str, value: object, *, least: int, most: int | None = None) -> None:
    _whole(name, value, least=least, most=most, what="whole seconds")


def _whole(
    name: str, value: object, *, least: int, most: int | None = None, what: str = "a whole number"
) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        upper = "" if most is None else f", at most {most}"
        raise InvalidSettingError(f"{name} must be {what}, at least {least}{upper}")
