"""The connections table in DynamoDB: which condition guards which write.

A lease guards sends, the generation guards writes of a token set. Every update names the attributes
it touches, so that no writer can overwrite another's. SDK retries may deliver a write twice; each
write that must count once carries the attempt's id and recognises itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.adapters.answers import member
from token_broker.adapters.dynamodb import (
    SCHEMA,
    Refused,
    Row,
    ensure_readable,
    from_wire,
    key,
    refused,
    to_wire,
    unavailable,
)
from token_broker.adapters.identity_row import IdentityRow
from token_broker.domain.connection import (
    MOVES,
    Connection,
    Landing,
    Lease,
    Owner,
    Reason,
    Status,
    Suspect,
)
from token_broker.domain.errors import (
    ConfirmationInvalid,
    ConnectionGone,
    ConnectionNotFound,
    NotConfirmed,
    RefreshInProgress,
    RowUnreadable,
    StaleGeneration,
    UpstreamUnavailable,
)
from token_broker.domain.identity import Identity
from token_broker.domain.ports import Clock
from token_broker.domain.refresh_policy import CLOCK_SKEW, CONFIRM_WITHIN, FORGET_AFTER
from token_broker.domain.token_set import Verdict

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SHARDS = 8
MEASURED = 500  # rows of a shard whose expiry a run looks at
PUBLIC = (
    "id",
    "schema",
    "subject",
    "connector",
    "status",
    "reason",
    "generation",
    "issued_at",
    "iat",
    "expires_at",
    "verdict",
    "due_at",
    "asked_at",
    "linked_at",
    "updated_at",
    "lease_id",
    "lease_until",
    "lease_since",
    "attempt_id",
    "consent",
    "unsettled",
    "predecessor_resent",
    "failures",
    "suspect",
    "rejected",
    "refused",
    "proved_at",
    "unreadable",
    "login",
    "hold_until",
    "keep_until",
    "last_event",
)
OF_THE_SET = (
    "token_set",
    "login",
    "issued_at",
    "iat",
    "expires_at",
    "verdict",
    "attempt_id",
    "consent",
    "predecessor_resent",
)


def _only(*attributes: str) -> Any:
    """Return how a read names the attributes it wants; a policy may allow it no others."""
    return {
        "ProjectionExpression": ", ".join(f"#{name}" for name in attributes),
        "ExpressionAttributeNames": {f"#{name}": name for name in attributes},
    }


_PUBLICLY = _only(*PUBLIC)
OF_AN_ATTEMPT = (
    "lease_id",
    "lease_until",
    "lease_since",
    "suspect",
    "rejected",
    "refused",
    "proved_at",
    "unreadable",
)


IS_FREE = "attribute_not_exists(lease_until) OR lease_until <= :now"


def shard_of(connection_id: str) -> int:
    """Return the part of the due index a connection lives in."""
    return zlib.crc32(connection_id.encode()) % SHARDS


class DynamoConnectionTable:
    """Rows of the connections table."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        *,
        clock: Clock,
        impatient: DynamoDBClient | None = None,
    ) -> None:
        """Use `impatient`, a client without retries, where the caller retries by itself."""
        self._client = client
        self._impatient = impatient or client
        self._table = table_name
        self._identity = IdentityRow(client, table_name, clock=clock, impatient=self._impatient)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def create(self, connection: Connection) -> None:
        """Add a LINKING row; over an earlier one that never held a set; else StaleGeneration."""
        try:
            self._client.put_item(
                TableName=self._table,
                Item=to_wire(_row(connection)),
                ConditionExpression="attribute_not_exists(id) OR (#status = :linking AND "
                "generation = :none)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_wire({":linking": Status.LINKING.value, ":none": 0}),
            )
        except (ClientError, BotoCoreError) as exc:
            if refused(exc):
                raise StaleGeneration from None
            raise unavailable(exc) from None

    def get(self, connection_id: str) -> Connection:
        """Read one row, strongly consistent."""
        return self._read(connection_id)

    def look(self, connection_id: str) -> Connection:
        """Read one row without its token set, strongly consistent."""
        return self._read(connection_id, **_PUBLICLY)

    def _read(self, connection_id: str, **how: Any) -> Connection:
        try:
            answer = self._client.get_item(
                TableName=self._table, Key=key(connection_id), ConsistentRead=True, **how
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        if "Item" not in answer:
            raise ConnectionNotFound
        return _connection(from_wire(answer["Item"]))

    def of_subject(self, subject: str) -> list[Connection]:
        """List a subject's connections without their token sets, newest first; may lag."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="subject",
            KeyConditionExpression="subject = :subject",
            ExpressionAttributeValues=to_wire({":subject": subject}),
            ScanIndexForward=False,
        )
        try:
            return [
                _connection(from_wire(item))
                for page in pages
                for item in member(page, "Items", of="DynamoDB")
            ]
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None

    def due(self, *, now: int, limit: int) -> list[tuple[str, int]]:
        """List (id, due_at) of what is due, oldest first, at most `limit`; may lag."""
        try:
            shards = [self._due_in(shard, now=now, limit=limit) for shard in range(SHARDS)]
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        return list(islice(merge(*shards, key=lambda entry: entry[1]), limit))

    def _due_in(self, shard: int, *, now: int, limit: int) -> list[tuple[str, int]]:
        answer = self._client.query(
            TableName=self._table,
            IndexName="due",
            KeyConditionExpression="#shard = :shard AND due_at <= :now",
            ExpressionAttributeNames={"#shard": "shard"},
            ExpressionAttributeValues=to_wire({":shard": shard, ":now": now}),
            Limit=limit,
        )
        items = map(from_wire, member(answer, "Items", of="DynamoDB"))
        return [(str(item["id"]), int(item["due_at"])) for item in items]

    def expiries(self, *, due_until: int, asked_since: int) -> list[int]:
        """List when bearers in use expire that are due until then; some thousands at most."""
        try:
            return [
                expires_at
                for shard in range(SHARDS)
                for expires_at in self._expiries_in(shard, due_until, asked_since)
            ]
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None

    def _expiries_in(self, shard: int, due_until: int, asked_since: int) -> list[int]:
        answer = self._client.query(
            TableName=self._table,
            IndexName="due",
            KeyConditionExpression="#shard = :shard AND due_at <= :until",
            FilterExpression="#status = :active AND asked_at >= :since AND "
            "attribute_exists(expires_at) AND attribute_not_exists(suspect)",
            ProjectionExpression="expires_at",
            ExpressionAttributeNames={"#shard": "shard", "#status": "status"},
            ExpressionAttributeValues=to_wire(
                {
                    ":shard": shard,
                    ":until": due_until,
                    ":active": Status.ACTIVE.value,
                    ":since": asked_since,
                }
            ),
            Limit=MEASURED,
        )
        items = map(from_wire, member(answer, "Items", of="DynamoDB"))
        return [int(item["expires_at"]) for item in items]

    # ── one attempt ──────────────────────────────────────────────────────────────────────────────

    def claim(
        self,
        connection_id: str,
        *,
        lease: Lease,
        now: int,
        due_at: int,
        statuses: Collection[Status],
        generation: int | None = None,
        rejected: bool = False,
        even_resting: bool = False,
    ) -> Connection:
        """Take the lease and count an unsettled attempt."""
        is_due = "due_at <= :now"
        if generation is not None:
            is_rested = f"failures = :zero OR attribute_not_exists(failures) OR {is_due}"
            is_due = "generation = :generation"
            if not even_resting:
                is_due += f" AND ({is_rested})"
        is_free = f"({IS_FREE})"
        if not even_resting:
            is_free += " AND (attribute_not_exists(hold_until) OR hold_until <= :now)"
        wanted = {f":status{n}": status.value for n, status in enumerate(sorted(statuses))}
        is_live = f"#status IN ({', '.join(wanted)})"
        values = {
            ":lease": lease.id,
            ":until": lease.until,
            ":due": due_at,
            ":now": now,
            ":zero": 0,
            ":one": 1,
            **({":generation": generation} if generation is not None else {}),
            **wanted,
        }
        try:
            return self._update(
                connection_id,
                "SET lease_id = :lease, lease_until = :until, lease_since = :now, due_at = :due, "
                "unsettled = if_not_exists(unsettled, :zero) + :one"
                + (", rejected = :generation" if rejected else "")
                + (" REMOVE rejected, refused, proved_at" if even_resting else ""),
                condition=f"{is_live} AND {is_free} AND {is_due}",
                values=values,
            )
        except Refused as said_no:
            row = _found(said_no)
        if row.lease and row.lease.id == lease.id:
            return row  # an earlier delivery of this very claim
        if row.leased(now) and row.lease:
            raise RefreshInProgress(retry_after=_soon(row.lease.until - now))
        if generation is not None and (row.hold_until or 0) > now:
            raise UpstreamUnavailable(
                detail="on hold while the same login is linked again",
                retry_after=(row.hold_until or 0) - now,
            )
        if row.status in statuses and row.generation == generation and row.due_at:
            raise UpstreamUnavailable(
                detail="resting after a failed attempt", retry_after=max(1, row.due_at - now)
            )
        raise StaleGeneration

    def land(self, landing: Landing, *, lease_id: str, status: Status, due_at: int) -> Connection:
        """Store a token set as the generation it names, if the row holds the one before it."""
        landed = self._land(landing, lease_id=lease_id, status=status, due_at=due_at)
        self._identity.bind()
        return landed

    def _land(self, landing: Landing, *, lease_id: str, status: Status, due_at: int) -> Connection:
        the_set = {
            "token_set": landing.sealed,
            "login": landing.login,
            "issued_at": landing.issued_at,
            "iat": landing.iat,
            "expires_at": landing.expires_at,
            "verdict": landing.verdict.value,
            "attempt_id": landing.attempt_id,
            "generation": landing.generation,
            "updated_at": landing.issued_at,
            "predecessor_resent": landing.predecessor_resent or None,
            "unsettled": 0,
            "failures": 0,
            "last_event": "token_refreshed" if landing.generation > 1 else "token_received",
            **({"consent": landing.consent} if landing.consent else {}),
        }
        suspect = {"suspect": _suspect_to_row(landing.suspect)}
        before = {":before": landing.generation - 1}
        movable = {s for s, after in MOVES.items() if status in after} | {status}
        origins = {f":from{n}": origin.value for n, origin in enumerate(sorted(movable))}
        try:
            return self._set(
                landing.connection_id,
                the_set
                | suspect
                | {"status": status.value, "due_at": due_at, "lease_id": None, "lease_until": None}
                | _of_the_move(landing, status, due_at),
                condition="generation = :before AND lease_id = :lease AND "
                f"#status IN ({', '.join(origins)})",
                values=before | origins | {":lease": lease_id},
                impatient=True,
            )
        except Refused as said_no:
            row = _found(said_no)
        if row.attempt_id == landing.attempt_id and row.generation >= landing.generation:
            return row  # an earlier delivery of this very write
        if row.generation != landing.generation - 1:
            raise StaleGeneration
        return self._land_late(landing, the_set | suspect, row, status=status, due_at=due_at)

    def _land_late(
        self, landing: Landing, the_set: Row, row: Connection, *, status: Status, due_at: int
    ) -> Connection:
        """Land where the row moved on meanwhile: keep the set, leave the rest as it is.

        Except a row that waits for its first set, and one whose end came before this set did: it is
        due again.
        """
        moved: Row = {}
        if row.status is Status.LINKING:
            moved = {"status": status.value, "due_at": due_at}
            moved |= _of_the_move(landing, status, due_at)
        if row.status is Status.SUPERSEDED:
            moved = {"due_at": landing.issued_at}  # the schedule erases it
        if row.status is Status.REVOKED:
            moved = {
                "status": Status.REVOKE_PENDING.value,
                "due_at": landing.issued_at,
                "keep_until": landing.issued_at,
                "shard": shard_of(row.id),
            }
        try:
            return self._set(
                landing.connection_id,
                the_set | moved,
                condition="generation = :before AND #status = :was",
                values={":before": landing.generation - 1, ":was": row.status.value},
                impatient=True,
            )
        except Refused:
            raise UpstreamUnavailable(detail="the row moves; landing again") from None

    def settle(
        self,
        held: Connection,
        *,
        due_at: int,
        settled: bool,
        failures: int,
        event: str,
        now: int,
        suspect: Suspect | None = None,
    ) -> None:
        """End the lease of `held`; `settled`: the attempt is known to have changed nothing."""
        changes: Row = {
            "lease_id": None,
            "lease_until": None,
            "due_at": due_at,
            "failures": failures,
            "last_event": event,
            "updated_at": now,
            "unsettled": max(0, held.unsettled - 1) if settled else held.unsettled,
        }
        if suspect:
            changes |= {"suspect": _suspect_to_row(suspect)}
        was = {":was": held.status.value}
        try:
            self._under_lease(held, changes, also="#status = :was", values=was)
        except StaleGeneration:  # it moved meanwhile: what that says of it stays
            for name in ("due_at", "last_event", "updated_at"):
                del changes[name]
            with suppress(StaleGeneration):
                self._under_lease(held, changes)

    def judge(self, landed: Connection, verdict: Verdict) -> None:
        """Note what checking the bearer came to, if that generation is still held."""
        self._if_generation(landed, {"verdict": verdict.value})

    def note_unreadable(self, seen: Connection) -> None:
        """Note that the token set seen does not open, if that generation is still held."""
        self._if_generation(seen, {"unreadable": seen.generation})

    def note_refused(self, seen: Connection) -> None:
        """Note that the bearer seen was refused upon another, if that generation is still held."""
        self._if_generation(seen, {"refused": seen.generation})

    def note_proof(self, landed: Connection, *, now: int) -> None:
        """Note that the predecessor was refused upon another, and that the consent lives."""
        self._if_generation(landed, {"refused": landed.generation - 1, "proved_at": now})

    def note_asked(self, seen: Connection, *, now: int, due_at: int) -> None:
        """Note that the bearer was asked for, and make the row due no later than `due_at`."""
        self._if_generation(seen, {"asked_at": now})
        if seen.due_at is not None and due_at < seen.due_at:
            self.make_due(seen, due_at=due_at)

    def make_due(self, seen: Connection, *, due_at: int) -> None:
        """Make an ACTIVE row that nobody claims due by then, if it still holds what was seen."""
        self._if_generation(
            seen,
            {"due_at": due_at},
            also="attribute_not_exists(lease_id) AND due_at > :due_at AND #status = :active",
            values={":active": Status.ACTIVE.value},
        )

    # ── moves ────────────────────────────────────────────────────────────────────────────────────

    def end(
        self, held: Connection, *, reason: Reason, due_at: int, keep_until: int, now: int
    ) -> None:
        """Make an ACTIVE connection REAUTH_REQUIRED, under its lease; StaleGeneration."""
        try:
            self._set(
                held.id,
                {
                    "status": Status.REAUTH_REQUIRED.value,
                    "reason": reason.value,
                    "due_at": due_at,
                    "keep_until": keep_until,
                    "lease_id": None,
                    "lease_until": None,
                    "unsettled": 0,
                    "failures": 0,
                    "last_event": "reauthorization_required",
                    "updated_at": now,
                },
                condition="lease_id = :held_lease AND #status = :active AND "
                "generation = :generation AND "
                "(attribute_not_exists(hold_until) OR hold_until <= :now)",
                values={
                    ":held_lease": held.lease.id if held.lease else "",
                    ":active": Status.ACTIVE.value,
                    ":generation": held.generation,
                    ":now": now,
                },
            )
        except Refused as said_no:
            row = _found(said_no)
            if (row.status, row.reason, row.updated_at) != (Status.REAUTH_REQUIRED, reason, now):
                raise StaleGeneration from None  # else an earlier delivery of this very write

    def bring_back(self, seen: Connection, *, now: int) -> Connection:
        """Make a REAUTH_REQUIRED connection that still has its set ACTIVE and due now."""
        try:
            return self._set(
                seen.id,
                {
                    "status": Status.ACTIVE.value,
                    "reason": None,
                    "keep_until": None,
                    "suspect": None,
                    "due_at": now,
                    "updated_at": now,
                    "last_event": "brought_back",
                },
                condition="#status = :ended AND generation = :seen AND "
                "attribute_exists(token_set) AND "
                "(attribute_not_exists(lease_until) OR lease_until <= :now)",
                values={
                    ":ended": Status.REAUTH_REQUIRED.value,
                    ":seen": seen.generation,
                    ":now": now,
                },
            )
        except Refused:
            raise StaleGeneration from None

    def bring_in(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        """Add an ACTIVE row that holds a set and owns its login, in one transaction."""
        row = _row(connection)
        del row["id"]
        self._transact(
            self._change(connection.id, row, expected={"id": None}),
            *self._ownership(connection, owner, now=now),
        )
        self._identity.bind()

    def every(self) -> Iterator[Connection]:
        """Read all rows without their token sets, in no order; may lag."""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table, FilterExpression="attribute_exists(subject)", **_PUBLICLY
        )
        try:
            for page in pages:
                items = member(page, "Items", of="DynamoDB")
                yield from (_connection(from_wire(item)) for item in items)
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None

    def confirm(
        self,
        connection_id: str,
        *,
        subject: str,
        confirmation_hash: str,
        owner: Owner | None,
        due_at: int,
        now: int,
    ) -> Connection:
        """Make a pending connection ACTIVE and the owner of its login, in one transaction."""
        changes = {
            "status": Status.ACTIVE.value,
            "due_at": due_at,
            "keep_until": None,
            "unsettled": 0,
            "asked_at": now,
            "last_event": "confirmed",
            "updated_at": now,
        }
        row = self._read(connection_id, **_only(*PUBLIC, "confirmation_hash"))
        if row.subject != subject or row.confirmation_hash != confirmation_hash:
            raise ConfirmationInvalid
        match row.status:
            case Status.ACTIVE:
                return replace(row, confirmation_hash=None)
            case Status.LINKING:
                raise NotConfirmed
            case Status.PENDING_CONFIRMATION:
                if row.keep_until is not None and row.keep_until - CLOCK_SKEW <= now:
                    raise ConnectionNotFound
                expected = {
                    "status": row.status.value,
                    "generation": row.generation,
                    "confirmation_hash": confirmation_hash,
                }
                winner = self._change(connection_id, changes, expected=expected)
                self._transact(winner, *self._ownership(row, owner, now=now))
                return self.look(connection_id)
            case _:
                raise ConnectionGone

    # ── the owner of a login ─────────────────────────────────────────────────────────────────────

    def owner_of(self, login: str) -> Owner | None:
        """Return who owns a login, without the token set."""
        try:
            answer = self._client.get_item(
                TableName=self._table,
                Key=key(_pointer(login)),
                ConsistentRead=True,
                **_only("owner"),
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        if "Item" not in answer:
            return None
        owner = str(from_wire(answer["Item"])["owner"])
        try:
            return Owner(id=owner, connection=self.look(owner))
        except ConnectionNotFound:
            return Owner(id=owner, connection=None)

    def hold(self, connection_id: str, *, until: int) -> None:
        """Let no refresh token of an ACTIVE connection be sent until then."""
        with suppress(Refused):
            self._set(
                connection_id,
                {"hold_until": until, "due_at": until},
                condition="#status = :active",
                values={":active": Status.ACTIVE.value},
            )

    def take_over(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        """Make an ACTIVE connection the owner of its login, in one transaction."""
        if items := self._ownership(connection, owner, now=now):
            still = {"status": Status.ACTIVE.value, "generation": connection.generation}
            self._transact(self._change(connection.id, {"updated_at": now}, expected=still), *items)

    def give_way(self, connection: Connection, *, now: int) -> None:
        """Make an ACTIVE connection SUPERSEDED, its set to be erased; StaleGeneration."""
        try:
            self._set(
                connection.id,
                _superseded(now),
                condition=f"#status = :active AND generation = :seen AND ({IS_FREE})",
                values={
                    ":active": Status.ACTIVE.value,
                    ":seen": connection.generation,
                    ":now": now,
                },
            )
        except Refused:
            raise StaleGeneration from None

    def forget_login(self, connection: Connection) -> None:
        """Remove the pointer of a login this connection owns."""
        if connection.login is None:
            return
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=key(_pointer(connection.login)),
                ConditionExpression="#owner = :me",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues=to_wire({":me": connection.id}),
            )
        except (ClientError, BotoCoreError) as exc:
            if not refused(exc):
                raise unavailable(exc) from None

    def _ownership(
        self, winner: Connection, owner: Owner | None, *, now: int
    ) -> list[dict[str, Any]]:
        """Return the writes that move a login's pointer and supersede who had it.

        Refused where the loser holds another set than it was judged by, or may be getting one.
        """
        if winner.login is None or (owner and owner.id == winner.id):
            return []
        pointer = self._change(
            _pointer(winner.login),
            {"owner": winner.id, "schema": SCHEMA},
            expected={"owner": owner.id if owner else None},
        )
        loser = owner.connection if owner else None
        if loser is None or loser.status not in {Status.ACTIVE, Status.REAUTH_REQUIRED}:
            return [pointer]
        return [
            pointer,
            self._change(
                loser.id,
                _superseded(now),
                expected={"status": loser.status.value, "generation": loser.generation},
                free_at=now,
            ),
        ]

    def _transact(self, *writes: dict[str, Any]) -> None:
        try:
            self._client.transact_write_items(
                TransactItems=[{"Update": write} for write in writes]  # type: ignore[typeddict-item]
            )
        except (ClientError, BotoCoreError) as exc:
            if isinstance(exc, ClientError) and _moved(exc):
                raise StaleGeneration from None
            raise unavailable(exc) from None

    def _change(
        self, row_id: str, changes: Row, *, expected: Row, free_at: int | None = None
    ) -> dict[str, Any]:
        """Return one write of a transaction; an expected None means the attribute is absent.

        `free_at`: the row must have no live lease then.
        """
        kept = {name: value for name, value in changes.items() if value is not None}
        gone = [name for name, value in changes.items() if value is None]
        terms = [
            f"attribute_not_exists(#{name})" if value is None else f"#{name} = :was_{name}"
            for name, value in expected.items()
        ]
        values = {f":{name}": value for name, value in kept.items()}
        values |= {f":was_{name}": value for name, value in expected.items() if value is not None}
        if free_at is not None:
            terms.append(f"({IS_FREE})")
            values[":now"] = free_at
        return {
            "TableName": self._table,
            "Key": key(row_id),
            "UpdateExpression": "SET "
            + ", ".join(f"#{name} = :{name}" for name in kept)
            + (" REMOVE " + ", ".join(f"#{name}" for name in gone) if gone else ""),
            "ConditionExpression": " AND ".join(terms),
            "ExpressionAttributeNames": {f"#{name}": name for name in {*changes, *expected}},
            "ExpressionAttributeValues": to_wire(values),
        }

    def ask_revoke(self, connection_id: str, *, now: int) -> Connection:
        """Make the row REVOKE_PENDING and due now; a tombstone stays one."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=key(connection_id),
                UpdateExpression="SET #status = :pending, due_at = :now, keep_until = :now, "
                "updated_at = :now, last_event = :event",
                ConditionExpression="attribute_exists(id) AND NOT #status IN (:pending, :revoked)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_wire(
                    {
                        ":pending": Status.REVOKE_PENDING.value,
                        ":revoked": Status.REVOKED.value,
                        ":now": now,
                        ":event": "disconnect_asked",
                    }
                ),
                ReturnValues="NONE",
            )
        except (ClientError, BotoCoreError) as exc:
            if not refused(exc):
                raise unavailable(exc) from None
        return self.look(connection_id)

    def entomb(self, held: Connection, *, now: int, event: str = "revoked") -> None:
        """Erase all but the fact that the connection was: REVOKED; under its lease."""
        gone = dict.fromkeys(
            (
                *OF_THE_SET,
                *OF_AN_ATTEMPT,
                "shard",
                "due_at",
                "asked_at",
                "reason",
                "confirmation_hash",
                "hold_until",
                "keep_until",
            )
        )
        self._under_lease(
            held,
            gone
            | {
                "status": Status.REVOKED.value,
                "unsettled": 0,
                "failures": 0,
                "last_event": event,
                "updated_at": now,
            },
        )

    def erase_token_set(self, held: Connection, *, due_at: int, now: int) -> None:
        """Erase the token set and keep the row; under its lease."""
        self._under_lease(
            held,
            {
                "token_set": None,
                "lease_id": None,
                "lease_until": None,
                "due_at": due_at,
                "keep_until": due_at,
                "unsettled": 0,
                "last_event": "token_set_erased",
                "updated_at": now,
            },
        )

    def delete(self, held: Connection) -> None:
        """Remove a row that never became a connection; under its lease."""
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=key(held.id),
                ConditionExpression="lease_id = :lease AND generation = :generation AND "
                "#status IN (:linking, :pending)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_wire(
                    {
                        ":lease": held.lease.id if held.lease else "",
                        ":generation": held.generation,
                        ":linking": Status.LINKING.value,
                        ":pending": Status.PENDING_CONFIRMATION.value,
                    }
                ),
            )
        except (ClientError, BotoCoreError) as exc:
            if not refused(exc):  # refused: a set landed, or somebody else holds the row
                raise unavailable(exc) from None

    def postpone(self, connection_id: str, *, due_at: int) -> None:
        """Push back a row that cannot be read, so that it does not block those behind it."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=key(connection_id),
                UpdateExpression="SET due_at = :due",
                ConditionExpression="attribute_exists(id) AND due_at < :due",
                ExpressionAttributeValues=to_wire({":due": due_at}),
            )
        except (ClientError, BotoCoreError) as exc:
            if not refused(exc):
                raise unavailable(exc) from None

    # ── identity ─────────────────────────────────────────────────────────────────────────────────

    def table_id(self) -> str:
        """Return what tells this very table from its copies and restores."""
        return self._identity.table_id()

    def recorded_identity(self, home: Identity) -> Identity:
        """Return the identity recorded in the table; until a set has landed it follows `home`."""
        return self._identity.recorded(home)

    def adopt(self, home: Identity) -> None:
        """Record another identity, by the operator's word."""
        self._identity.adopt(home)

    # ── how a write is made ──────────────────────────────────────────────────────────────────────

    def _under_lease(
        self,
        held: Connection,
        changes: Row,
        *,
        also: str = "",
        values: Row | None = None,
    ) -> None:
        try:
            self._set(
                held.id,
                changes,
                condition="lease_id = :held_lease" + (f" AND {also}" if also else ""),
                values={":held_lease": held.lease.id if held.lease else "", **(values or {})},
            )
        except Refused:
            raise StaleGeneration from None

    def _if_generation(
        self, seen: Connection, changes: Row, *, also: str = "", values: Row | None = None
    ) -> None:
        with suppress(Refused):  # it moved on; what was seen no longer matters
            self._set(
                seen.id,
                changes,
                condition="generation = :seen" + (f" AND {also}" if also else ""),
                values={":seen": seen.generation, **(values or {})},
            )

    def _set(
        self,
        connection_id: str,
        changes: Row,
        *,
        condition: str,
        values: Row,
        impatient: bool = False,
    ) -> Connection:
        """Set each attribute of `changes`; None removes it."""
        kept = {name: value for name, value in changes.items() if value is not None}
        gone = [name for name, value in changes.items() if value is None]
        expression = "SET " + ", ".join(f"#{name} = :{name}" for name in kept)
        if gone:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in gone)
        names = {f"#{name}": name for name in changes}
        if "#status" in condition:
            names["#status"] = "status"
        return self._update(
            connection_id,
            expression,
            condition=condition,
            values={f":{name}": value for name, value in kept.items()} | values,
            names=names,
            impatient=impatient,
        )

    def _update(
        self,
        connection_id: str,
        expression: str,
        *,
        condition: str,
        values: Row,
        names: Mapping[str, str] | None = None,
        impatient: bool = False,
    ) -> Connection:
        client = self._impatient if impatient else self._client
        try:
            answer = client.update_item(
                TableName=self._table,
                Key=key(connection_id),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeNames=names or {"#status": "status"},
                ExpressionAttributeValues=to_wire(values),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as exc:
            if refused(exc):
                row: dict[str, Any] = exc.response.get("Item", {})  # type: ignore[assignment]
                raise Refused(from_wire(row)) from None
            raise unavailable(exc) from None
        except BotoCoreError as exc:
            raise unavailable(exc) from None
        return _connection(from_wire(member(answer, "Attributes", of="DynamoDB")))


def _of_the_move(landing: Landing, status: Status, due_at: int) -> Row:
    """Return what a set changes beside itself where it lands under its own lease."""
    match status:
        case Status.ACTIVE:
            lifted = {"hold_until": None} if landing.consent else {}
            return {"reason": None, "keep_until": None, **lifted}
        case Status.PENDING_CONFIRMATION:
            return {"keep_until": due_at + CONFIRM_WITHIN}
        case _:
            return {}


def _superseded(now: int) -> Row:
    """Return what changes in a row whose login another one goes on with.

    Not the token set: whoever confirms has no right to it. The row is due at once, and the schedule
    looks into escrow and erases it.
    """
    gone = dict.fromkeys(("hold_until", *OF_AN_ATTEMPT))
    return gone | {
        "status": Status.SUPERSEDED.value,
        "reason": Reason.SUPERSEDED.value,
        "due_at": now,
        "keep_until": now + FORGET_AFTER,
        "last_event": "superseded",
        "updated_at": now,
    }


def _moved(exc: ClientError) -> bool:
    """Tell whether a transaction was cancelled because a row is not as it was seen."""
    reasons: Any = exc.response.get("CancellationReasons", [])
    codes = {reason.get("Code") for reason in reasons}
    return bool(codes & {"ConditionalCheckFailed", "TransactionConflict"})


def _pointer(login: str) -> str:
    """Return the id of the row that says which connection owns a login."""
    return f"login#{login}"


def _found(said_no: Refused) -> Connection:
    """Read the row that refused a write; raise ConnectionNotFound if there is none."""
    if not said_no.row:
        raise ConnectionNotFound from None
    return _connection(said_no.row)


def _soon(seconds: int) -> int:
    """Return when asking again is worth it: a lease mostly ends long before its limit."""
    return min(max(1, seconds), 2)


def _row(connection: Connection) -> Row:
    lease = connection.lease
    row = {
        "id": connection.id,
        "schema": SCHEMA,
        "shard": shard_of(connection.id),
        "subject": connection.subject,
        "connector": connection.connector,
        "status": connection.status.value,
        "reason": connection.reason.value if connection.reason else None,
        "generation": connection.generation,
        "token_set": connection.sealed,
        "login": connection.login,
        "issued_at": connection.issued_at,
        "iat": connection.iat,
        "expires_at": connection.expires_at,
        "verdict": connection.verdict.value,
        "linked_at": connection.linked_at,
        "updated_at": connection.updated_at,
        "due_at": connection.due_at,
        "asked_at": connection.asked_at,
        "lease_id": lease.id if lease else None,
        "lease_until": lease.until if lease else None,
        "lease_since": lease.since if lease else None,
        "attempt_id": connection.attempt_id,
        "consent": connection.consent,
        "unsettled": connection.unsettled,
        "predecessor_resent": connection.predecessor_resent or None,
        "failures": connection.failures,
        "suspect": _suspect_to_row(connection.suspect),
        "rejected": connection.rejected,
        "refused": connection.refused,
        "proved_at": connection.proved_at,
        "unreadable": connection.unreadable,
        "hold_until": connection.hold_until,
        "keep_until": connection.keep_until,
        "confirmation_hash": connection.confirmation_hash,
        "last_event": connection.last_event,
    }
    return {name: value for name, value in row.items() if value is not None}


def _connection(row: Row) -> Connection:
    """Read a row; raise RowUnreadable if it makes no sense."""
    ensure_readable(row)
    try:
        return Connection(
            id=_text(row["id"]),
            subject=_text(row["subject"]),
            connector=_text(row["connector"]),
            status=Status(row["status"]),
            reason=Reason(row["reason"]) if "reason" in row else None,
            generation=int(row["generation"]),
            sealed=bytes(row["token_set"]) if "token_set" in row else None,
            login=row.get("login"),
            hold_until=_whole(row, "hold_until"),
            keep_until=_whole(row, "keep_until"),
            issued_at=_whole(row, "issued_at"),
            iat=_whole(row, "iat"),
            expires_at=_whole(row, "expires_at"),
            verdict=Verdict(row.get("verdict", Verdict.UNVERIFIED)),
            linked_at=int(row["linked_at"]),
            updated_at=int(row["updated_at"]),
            due_at=_whole(row, "due_at"),
            asked_at=_whole(row, "asked_at"),
            lease=Lease(
                id=row["lease_id"],
                until=int(row["lease_until"]),
                since=_whole(row, "lease_since"),
            )
            if "lease_id" in row
            else None,
            attempt_id=row.get("attempt_id"),
            consent=row.get("consent"),
            unsettled=int(row.get("unsettled", 0)),
            predecessor_resent=bool(row.get("predecessor_resent", False)),
            failures=int(row.get("failures", 0)),
            suspect=_suspect_of_row(row["suspect"]) if "suspect" in row else None,
            rejected=_whole(row, "rejected"),
            refused=_whole(row, "refused"),
            proved_at=_whole(row, "proved_at"),
            unreadable=_whole(row, "unreadable"),
            confirmation_hash=row.get("confirmation_hash"),
            last_event=row.get("last_event"),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
        raise RowUnreadable(
            detail=f"the row does not read as a connection ({type(exc).__name__})"
        ) from None


def _suspect_to_row(suspect: Suspect | None) -> Row | None:
    return asdict(suspect) | {"reason": suspect.reason.value} if suspect else None


def _suspect_of_row(row: Row) -> Suspect:
    return Suspect(
        generation=int(row["generation"]),
        reason=Reason(row["reason"]),
        since=int(row["since"]),
        streak_since=int(row["streak_since"]) if row["streak_since"] is not None else None,
        looks=int(row["looks"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


def _whole(row: Row, name: str) -> int | None:
    return int(row[name]) if name in row else None
