"""Whose the connections table is: its refresh tokens are its own broker's, for its own provider."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What binds a table to one broker."""

    table_id: str  # a copy or restore has another one
    environment: str
    client_id: str
    provider: str | None  # base URL of the identity provider; None: no token set has landed yet

    def unlike(self, other: Identity) -> list[str]:
        """Name the parts that differ, each with what it is here and there."""
        ours, theirs = asdict(self), asdict(other)
        return [
            f"{part}: {ours[part]}, not {theirs[part]}"
            for part in ours
            if ours[part] != theirs[part]
        ]
