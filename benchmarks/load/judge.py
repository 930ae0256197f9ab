"""What the bank's ledger and the callers' own notes say of a fleet: what expired, what was wasted.

A rotation is for nothing where the bearer it replaced was idle (no caller asked for it while it was
the newest), or where it came before the policy had it due. The first bearer of an import is renewed
within the hour, asked for or not, so its rotation is counted apart.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from token_broker.domain import refresh_policy
from token_broker.domain.connection import Connection, Status
from token_broker.domain.refresh_policy import RefreshPolicy
from token_broker.use_cases.token import SHORTEST_VALIDITY

PARTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call for a bearer, as its caller saw it; times in seconds since the epoch.

    `expires_at` is what the broker said, `dies_at` the bearer's own `exp`.
    """

    connection_id: str
    began: float
    ended: float
    generation: int = 0
    expires_at: int = 0
    dies_at: int = 0
    fingerprint: str = ""
    refusal: str | None = None


@dataclass(slots=True, kw_only=True)
class Bearer:
    """One id_token as the bank issued it, until the bank issued the next one."""

    connection_id: str
    number: int
    issued_at: float
    expires_at: int
    rotated_at: float | None = None
    is_asked_for: bool = False
    is_rotated_by_caller: bool = False

    def due_at(self, policy: RefreshPolicy, life: int) -> int:
        """Return when the broker's own policy has it due, given that it was asked for."""
        held = Connection(
            id=self.connection_id,
            subject="",
            connector="",
            status=Status.ACTIVE,
            linked_at=0,
            updated_at=0,
            generation=self.number,
            issued_at=self.expires_at - life,
            expires_at=self.expires_at,
        )
        return policy.due_at(held, now=0, ask=refresh_policy.Ask(at=0))


def bearers(
    ledger: Mapping[str, Any], asks: Iterable[Ask], *, connections: Mapping[str, str], life: int
) -> list[Bearer]:
    """Return the bearers of these connections (by login), with what became of each."""
    asked: dict[str, list[Ask]] = defaultdict(list)
    for ask in asks:
        asked[ask.connection_id].append(ask)
    found: dict[str, list[Bearer]] = defaultdict(list)
    known: dict[str, Bearer] = {}
    for entry in ledger["entries"]:
        if entry["event"] != "id_token.issued" or entry["login"] not in connections:
            continue
        one = Bearer(
            connection_id=connections[entry["login"]],
            number=entry["number"],
            issued_at=entry["at"],
            expires_at=int(entry["at"]) + life,
        )
        before = found[one.connection_id]
        if before:
            before[-1].rotated_at = one.issued_at
        before.append(one)
        known[entry["fingerprint"]] = one
    for one in known.values():
        for ask in asked[one.connection_id]:
            _tell(one, ask, known.get(ask.fingerprint))
    return list(known.values())


def _tell(one: Bearer, ask: Ask, handed_out: Bearer | None) -> None:
    """Note what one call means to a bearer: asked for, or rotated because of it."""
    if handed_out is one:
        one.expires_at = ask.expires_at
        one.is_asked_for |= one.rotated_at is None or ask.began <= one.rotated_at
    elif one.rotated_at is not None and ask.began <= one.rotated_at <= ask.ended:
        one.is_asked_for = True
        one.is_rotated_by_caller |= (handed_out or one).number == one.number + 1


def verdict(
    found: Collection[Bearer],
    asks: Sequence[Ask],
    *,
    in_use: Collection[str],
    policy: RefreshPolicy,
    life: int,
    until: float,
) -> dict[str, Any]:
    """Return what a run came to, as JSON-ready values; lists of seconds by their quantiles."""
    given = [ask for ask in asks if ask.refusal is None]
    rotated = [one for one in found if one.rotated_at is not None and one.number > 1]
    wanted = min(SHORTEST_VALIDITY, policy.longest_min_validity(life))
    late, left = [], []
    early = 0
    for one in rotated:
        assert one.rotated_at is not None  # noqa: S101 - chosen so
        due_at = one.due_at(policy, life)
        early += one.rotated_at < min(due_at, one.expires_at - wanted)
        late.append(one.rotated_at - due_at)
        left.append(one.expires_at - one.rotated_at)
    used = [one for one in found if one.connection_id in in_use]
    return {
        "hand_outs": len(given),
        "handed_out_expired": sum(ask.dies_at <= ask.ended for ask in given),
        "refused": dict(Counter(ask.refusal for ask in asks if ask.refusal)),
        "seconds_left_at_hand_out": spread([ask.dies_at - ask.ended for ask in given]),
        "seconds_to_answer": spread([ask.ended - ask.began for ask in asks]),
        "rotations": sum(one.rotated_at is not None for one in found),
        "rotations_of_an_import": sum(
            one.rotated_at is not None and one.number == 1 for one in found
        ),
        "rotations_of_idle_bearers": sum(not one.is_asked_for for one in rotated),
        "rotations_before_due": early,
        "rotations_by_callers": sum(one.is_rotated_by_caller for one in found),
        "bearers_expired_in_use": sum(
            one.is_asked_for and one.expires_at <= (one.rotated_at or until) for one in used
        ),
        "idle_lives": sum(
            not one.is_asked_for and (one.rotated_at or until) >= one.expires_at for one in used
        ),
        "seconds_rotated_after_due": spread(late),
        "seconds_left_when_rotated": spread(left),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return least, median, the 99th of a hundred and most, in thousandths; nothing of none."""
    if not values:
        return {}
    middle = statistics.quantiles(values, n=PARTS, method="inclusive") if len(values) > 1 else []
    return {
        "least": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "of_100_the_99th": round(middle[-1] if middle else values[0], 3),
        "most": round(max(values), 3),
    }
