"""What the broker tells; times are whole seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from akoya_token_broker_client.errors import BrokerFailed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Told = TypeVar("Told", bound="DataclassInstance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An attempt to connect; the first to open `start_url` goes to the bank, so do not log it."""

    connection_id: str
    start_url: str = field(repr=False)
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One person's authorization at one bank; what does not apply is None."""

    connection_id: str
    subject: str
    connector: str
    status: str
    health: str
    degraded: str | None = None
    reason: str | None = None
    superseded_by: str | None = None
    generation: int
    grant_id: str | None = None
    interaction_id: str | None = None
    accounts: int | None = None
    products: Sequence[str] = ()
    terms_since: int | None = None
    expires_at: int | None = None
    due_at: int | None = None
    linked_at: int | None = None
    asked_at: int | None = None
    updated_at: int | None = None
    last_event: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page of a list."""

    connections: list[dict[str, Any]]
    next: str | None = None


def read(kind: type[Told], content: Mapping[str, Any]) -> Told:
    """Return what an answer tells; a member that this version does not know is left out.

    Raises BrokerFailed if one is missing: something else answered.
    """
    known = {one.name for one in fields(kind)}
    try:
        return kind(**{name: value for name, value in content.items() if name in known})
    except TypeError:
        raise BrokerFailed(f"The answer is no {kind.__name__}.") from None
