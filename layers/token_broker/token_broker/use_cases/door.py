"""What a process lets through by itself of the refreshes that callers wait for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Door:
    """It opens for one caller in so many places of the rate; who comes in between queues up."""

    rate: int = 1_000  # sends a second, of all that send
    one_in: int = 0  # 0: it is never closed
    opens_at: float = 0
