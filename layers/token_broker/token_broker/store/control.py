"""What holds for many connections at once: the breaker, and whom a connector answers or not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from token_broker.domain.errors import StaleGeneration
from token_broker.domain.ports import Clock, Record
from token_broker.domain.suspicion import NOTED_EVERY, SUSPECT_STANDS, WITNESS_ASKED_EVERY, Witness
from token_broker.store.rows import (
    SCHEMA,
    Absent,
    AtMost,
    Condition,
    Equals,
    Row,
    Rows,
    Write,
    named,
    versioned,
)

SENDERS = "senders"
CACHED_FOR = 10
HOUR = 3_600
HANG_STANDS = 120  # seconds since its latest timeout: each minute's run tries it again
HANG_EXPLAINS = HOUR  # what it has due may wait for so long after: no lag
REFUSAL_NOTED_EVERY = 600
# The facts every sender reads, by what stands before a connector's name. What a later version adds,
# a fact or a member of one, is passed over: no broker that is rolled back stops for it.
FACTS: dict[str, Any] = {
    "open_until": int,
    "slow_until": int,
    "in_vain_since": int,
    "explained_until": int,
    "refused": int,
    "answered": {"id": str, "at": int},
    "hangs": {"at": int, "is_over": bool},
}


def fact_of(found: Any, kind: Any) -> Any:
    """Return a fact in the members this version knows; None where it does not read."""
    if not isinstance(kind, dict):
        return found if type(found) is kind else None
    members = found if isinstance(found, dict) else {}
    fact = {name: fact_of(members.get(name), of_member) for name, of_member in kind.items()}
    return None if None in fact.values() else fact


@named
def is_over(now: int) -> Condition:
    """It was never noted, or its time is over."""
    return Absent("id") | AtMost("expires_at", now)


@named
def is_open_until(seen: int) -> Condition:
    """It was not opened anew."""
    return Equals("open_until", seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What the schedule's runs have met lately that no connection is to blame for."""

    in_vain_since: int | None = (
        None  # no run is answered since then; to come: one lane alone says so
    )
    explained_until: int = 0  # until then an alarm speaks for lag and for expired bearers

    def is_in_vain(self, now: int) -> bool:
        """Return whether nothing answers the runs of any lane."""
        return self.in_vain_since is not None and self.in_vain_since <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """A connector let a send time out; no connection is to blame."""

    at: int  # the latest
    is_over: bool = False  # it has answered with a rotation since

    def stands(self, now: int) -> bool:
        """Return whether callers leave that connector to the schedule."""
        return not self.is_over and now - self.at < HANG_STANDS


class Control:
    """Rows of the control table; what every sender reads stands in one of them.

    That one holds the breaker and, by connector, when it refused somebody last (`refused#…`),
    whom it answered since (`answered#…`) and when it let a send time out (`hangs#…`).
    """

    def __init__(self, rows: Rows, *, clock: Clock, record: Record) -> None:
        self._rows = rows
        self._clock = clock
        self._record = record
        self._known: Row | None = None  # what every sender reads, as this process knows it
        self._read_at = 0
        self._answered: dict[str, Row] = {}  # by connector, in this process
        self._unreadable: set[str] = set()  # facts this process has reported

    def breaker(self) -> int | None:
        """Return until when all sends pause, or None; up to 10 s old."""
        return self._known_lately().get("open_until")

    def trouble(self) -> Trouble:
        """Return what the runs before have met; up to 10 s old."""
        known = self._known_lately()
        return Trouble(
            in_vain_since=known.get("in_vain_since"),
            explained_until=known.get("explained_until", 0),
        )

    def note_trouble(self, trouble: Trouble) -> None:
        """Leave to the runs that follow what they have to know; another lane's news stay."""
        known = asdict(self.trouble())
        self._set({name: new for name, new in asdict(trouble).items() if new != known[name]})

    def slow_for(self) -> int:
        """Return for how long Akoya asks all sends to wait; negative: since when no longer.

        As this process knows it, which is up to 10 s old wherever a send is begun.
        """
        until: int = (self._known or {}).get("slow_until", 0)
        return until - self._clock()

    def slow_down(self, *, until: int) -> None:
        """Let all sends wait until then, and begin slowly: Akoya has too many of them."""
        if until > self._clock() + self.slow_for():
            self._set({"slow_until": until})

    def open_breaker(self, *, until: int) -> None:
        """Pause all sends: our credentials are refused. After `until` a canary may try."""
        self._set({"open_until": until})

    def close_breaker(self, seen: int) -> bool:
        """Let sends go on; return False where it was opened anew since it was `seen` open."""
        with suppress(StaleGeneration):
            self._set({"open_until": None}, condition=is_open_until(seen))
            return True
        return False

    def hangs(self) -> dict[str, Hang]:
        """Return the connectors that let a send time out within the hour; up to 10 s old."""
        now, known = self._clock(), self._known_lately()
        hangs = {name: Hang(**one) for name, one in known.items() if name.startswith("hangs#")}
        return {
            name.removeprefix("hangs#"): hang
            for name, hang in hangs.items()
            if now - hang.at < HANG_EXPLAINS
        }

    def hang_met(self, *, connector: str, sent_at: int) -> bool:
        """Note that a connector let a send time out; return False where that proves nothing.

        So it is where this process has met a rotation of that connector since the send: then one
        connection hangs, not its bank.
        """
        if self._answered.get(connector, {"at": 0})["at"] >= sent_at:
            return False
        now = self._clock()
        past = {
            name: None
            for name, one in (self._known or {}).items()
            if name.startswith("hangs#") and now - one["at"] >= HANG_EXPLAINS
        }
        self._set(past | {f"hangs#{connector}": asdict(Hang(at=now))})
        return True

    def refusal_met(self, *, connector: str, earlier_at: int | None) -> int:
        """Note that this connector refused a connection, which is suspect from now on.

        Returns how many of its connections were refused within the clock hour; one that was
        counted `earlier_at` in the same hour counts once.
        """
        now = self._clock()
        known = self._known if self._known is not None else self._read_known()
        if now - known.get(f"refused#{connector}", 0) >= REFUSAL_NOTED_EVERY:
            stale = {
                name: None
                for name, at in known.items()
                if name.startswith("refused#") and now - at >= 2 * SUSPECT_STANDS
            }
            self._set(stale | {f"refused#{connector}": now} | self._to_be_noted(connector))
        hour = now // HOUR
        is_again = earlier_at is not None and earlier_at // HOUR == hour
        counted = Write(
            f"refused#{connector}#{hour}",
            {"schema": SCHEMA, "expires_at": now + 2 * HOUR},
            adds={"count": 0 if is_again else 1},
        )
        return int(self._rows.update(counted)["count"])

    def rotation_met(self, *, connector: str, by: str) -> bool:
        """Note which connection was answered with a rotation, where a suspect of its connector is.

        At most once in NOTED_EVERY seconds, and that its connector hangs no more; elsewhere it
        makes no call. Returns whether the connector hung.
        """
        now, known = self._clock(), self._known or {}
        self._answered[connector] = {"id": by, "at": now}
        is_asked = now - known.get(f"refused#{connector}", 0) < SUSPECT_STANDS
        noted = self._to_be_noted(connector) if is_asked else {}
        hang = known.get(f"hangs#{connector}")
        if has_hung := hang is not None and not hang["is_over"]:
            noted |= {f"hangs#{connector}": {**hang, "is_over": True}}
        if noted:
            self._set(noted)
        return has_hung

    def witness(self, connector: str) -> Witness | None:
        """Return which connection of a connector was answered last, as far as it was noted."""
        found = self._read_known().get(f"answered#{connector}")
        return Witness(connection_id=found["id"], answered_at=found["at"]) if found else None

    def ask_witness(self, connector: str) -> bool:
        """Return whether a witness may be asked for: once in WITNESS_ASKED_EVERY seconds."""
        now = self._clock()
        asked = {"id": f"witness#{connector}", "expires_at": now + WITNESS_ASKED_EVERY}
        with suppress(StaleGeneration):
            self._rows.put(versioned(asked), condition=is_over(now))
            return True
        return False

    def _to_be_noted(self, connector: str) -> Row:
        """Return whom this process saw answered last, if that is due to be noted."""
        found = self._answered.get(connector)
        known = (self._known or {}).get(f"answered#{connector}")
        is_due = found and (known is None or found["at"] - known["at"] >= NOTED_EVERY)
        return {f"answered#{connector}": found} if is_due else {}

    def _known_lately(self) -> Row:
        """Return what holds for all senders, up to 10 s old."""
        if self._known is None or self._clock() - self._read_at >= CACHED_FOR:
            return self._read_known()
        return self._known

    def _read_known(self) -> Row:
        """Read what holds for all senders, as it is now; what does not read counts as absent."""
        row = self._rows.get(SENDERS) or {}
        facts = {
            name: fact_of(found, FACTS[name.partition("#")[0]])
            for name, found in row.items()
            if name.partition("#")[0] in FACTS
        }
        self._known = {name: fact for name, fact in facts.items() if fact is not None}
        self._read_at = self._clock()
        for name in facts.keys() - self._known.keys() - self._unreadable:
            self._unreadable.add(name)
            self._record("fact_unreadable", detail=name)
        return self._known

    def _set(self, changes: Row, condition: Condition | None = None) -> None:
        """Set attributes of what holds for all senders; None removes one."""
        self._rows.transact(Write(SENDERS, {"schema": SCHEMA} | changes, condition))
        merged = (self._known or {}) | changes
        self._known = {name: value for name, value in merged.items() if value is not None}
