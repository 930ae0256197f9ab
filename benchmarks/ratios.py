"""What a comparison finds: a ratio a turn, by what is measured and what it is compared with."""

from __future__ import annotations

Ratios = dict[tuple[str, str], list[float]]
