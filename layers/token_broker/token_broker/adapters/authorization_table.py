"""The table of attempts to connect: single use is a conditional write, forgetting is a TTL."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.adapters.dynamodb import (
    Row,
    ensure_readable,
    from_wire,
    key,
    refused,
    to_wire,
    unavailable,
    versioned,
)
from token_broker.domain.authorization import (
    Authorization,
    Progress,
    Result,
    StoredOpening,
    subject_hash,
)
from token_broker.domain.connection import Lease
from token_broker.domain.errors import RowUnreadable, StaleGeneration, UpstreamUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TRIES = 5
KEPT_AFTER_EXPIRY = 3_600  # so that a late redirect is still told what became of it


class DynamoAuthorizationTable:
    """Rows of the authorizations table."""

    def __init__(self, client: DynamoDBClient, table_name: str) -> None:
        self._client = client
        self._table = table_name

    def create(self, authorization: Authorization) -> None:
        """Add a row."""
        row: Row = {
            "id": authorization.id,
            "connection_id": authorization.connection_id,
            "subject": authorization.subject,
            "connector": authorization.connector,
            "return_to": authorization.return_to,
            "redirect_uri": authorization.redirect_uri,
            "valid_until": authorization.expires_at,
            "expires_at": authorization.expires_at + KEPT_AFTER_EXPIRY,
            "progress": authorization.progress.value,
            "openings": {},
        }
        if authorization.replaces:
            row["replaces"] = authorization.replaces
        try:
            self._client.put_item(
                TableName=self._table,
                Item=versioned(row),
                ConditionExpression="attribute_not_exists(id)",
            )
        except (ClientError, BotoCoreError) as exc:
            if not refused(exc):  # refused: an earlier delivery of this very write
                raise unavailable(exc) from None

    def get(self, authorization_id: str) -> Authorization | None:
        """Read one row, strongly consistent."""
        try:
            answer = self._client.get_item(
                TableName=self._table, Key=key(authorization_id), ConsistentRead=True
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        return _authorization(from_wire(answer["Item"])) if "Item" in answer else None

    def add_opening(
        self,
        authorization_id: str,
        *,
        state_hash: str,
        opening: StoredOpening,
        now: int,
        most: int,
    ) -> bool:
        """Add an opening while OPEN, unexpired and below `most`; tell whether it was added."""
        return self._update(
            authorization_id,
            "SET openings.#state = :opening",
            "progress = :open AND valid_until > :now AND size(openings) < :most",
            {
                ":opening": {"cookie_hash": opening.cookie_hash, "sent_pkce": opening.sent_pkce},
                ":open": Progress.OPEN.value,
                ":now": now,
                ":most": most,
            },
            names={"#state": state_hash},
        )

    def begin_exchange(self, authorization_id: str, *, attempt: Lease, now: int) -> bool:
        """OPEN and unexpired → EXCHANGING; tell whether this attempt is the one winner."""
        return self._update(
            authorization_id,
            "SET progress = :exchanging, attempt_id = :attempt, attempt_until = :until",
            "(valid_until > :now AND (progress = :open OR "
            "(progress = :exchanging AND attempt_until <= :now))) OR "
            "(progress = :exchanging AND attempt_id = :attempt)",
            {
                ":exchanging": Progress.EXCHANGING.value,
                ":attempt": attempt.id,
                ":until": attempt.until,
                ":open": Progress.OPEN.value,
                ":now": now,
            },
        )

    def mark_sent(self, authorization_id: str, *, attempt: Lease) -> bool:
        """EXCHANGING by this attempt → SENT, before the code is; tell whether it was."""
        return self._update(
            authorization_id,
            "SET progress = :sent",
            "progress IN (:exchanging, :sent) AND attempt_id = :attempt",
            {
                ":exchanging": Progress.EXCHANGING.value,
                ":sent": Progress.SENT.value,
                ":attempt": attempt.id,
            },
        )

    def reopen(self, authorization_id: str, *, attempt: Lease) -> None:
        """EXCHANGING or SENT by this attempt → OPEN: nothing was sent, or nothing used up."""
        self._update(
            authorization_id,
            "SET progress = :open REMOVE attempt_id, attempt_until",
            "progress IN (:exchanging, :sent) AND attempt_id = :attempt",
            {
                ":open": Progress.OPEN.value,
                ":exchanging": Progress.EXCHANGING.value,
                ":sent": Progress.SENT.value,
                ":attempt": attempt.id,
            },
        )

    def finish(self, authorization_id: str, *, result: Result, finished_by: str) -> Result:
        """→ DONE with the result; return the one that stands, which may be an earlier one."""
        outcome = {
            "status": result.status,
            "connection_id": result.connection_id,
            "error": result.error,
            "previous_connection_id": result.previous_connection_id,
        }
        if self._update(
            authorization_id,
            "SET progress = :done, outcome = :outcome, finished_by = :by",
            "attribute_exists(id) AND progress <> :done",
            {
                ":done": Progress.DONE.value,
                ":outcome": {name: text for name, text in outcome.items() if text is not None},
                ":by": finished_by,
            },
        ):
            return result
        stands = self.get(authorization_id)
        if stands is None or stands.result is None:
            raise StaleGeneration
        return stands.result

    def reserve(self, authorization: Authorization, *, now: int, most: int) -> int | None:
        """Count an attempt among its subject's open ones; None, or when one of those expires."""
        row_id = _attempts_of(authorization)
        for _ in range(TRIES):
            counted, writes = self._attempts(row_id)
            still_open = {one: until for one, until in counted.items() if until > now}
            if len(still_open) >= most and authorization.id not in still_open:
                return min(still_open.values())
            still_open[authorization.id] = authorization.expires_at
            if self._count(row_id, still_open, writes):
                return None
        raise UpstreamUnavailable(
            detail="its subject begins many at the same moment", retry_after=1
        )

    def vacate(self, authorization: Authorization) -> None:
        """Count an attempt that has ended no more."""
        self._update(
            _attempts_of(authorization),
            "REMOVE attempts.#id ADD writes :one",
            "attribute_exists(attempts.#id)",
            {":one": 1},
            names={"#id": authorization.id},
        )

    def _attempts(self, row_id: str) -> tuple[dict[str, int], int]:
        try:
            answer = self._client.get_item(
                TableName=self._table, Key=key(row_id), ConsistentRead=True
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        row: Row = {"attempts": {}, "writes": 0}
        if "Item" in answer:
            row = from_wire(answer["Item"])
        return {one: int(until) for one, until in row["attempts"].items()}, int(row["writes"])

    def _count(self, row_id: str, attempts: dict[str, int], writes: int) -> bool:
        row = {
            "id": row_id,
            "attempts": attempts,
            "writes": writes + 1,
            "expires_at": max(attempts.values()),
        }
        try:
            self._client.put_item(
                TableName=self._table,
                Item=versioned(row),
                ConditionExpression="attribute_not_exists(id) OR writes = :seen",
                ExpressionAttributeValues=to_wire({":seen": writes}),
            )
        except (ClientError, BotoCoreError) as exc:
            if refused(exc):
                return False
            raise unavailable(exc) from None
        return True

    def _update(
        self,
        authorization_id: str,
        expression: str,
        condition: str,
        values: Row,
        *,
        names: dict[str, str] | None = None,
    ) -> bool:
        how: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
        try:
            self._client.update_item(
                TableName=self._table,
                Key=key(authorization_id),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeValues=to_wire(values),
                **how,
            )
        except (ClientError, BotoCoreError) as exc:
            if refused(exc):
                return False
            raise unavailable(exc) from None
        return True


def _attempts_of(authorization: Authorization) -> str:
    return f"subject#{subject_hash(authorization.subject)}"


def _authorization(row: Row) -> Authorization:
    ensure_readable(row)
    attempt = None
    with suppress(KeyError):
        attempt = Lease(id=row["attempt_id"], until=int(row["attempt_until"]))
    try:
        return Authorization(
            id=row["id"],
            connection_id=row["connection_id"],
            replaces=row.get("replaces"),
            subject=row["subject"],
            connector=row["connector"],
            return_to=row["return_to"],
            redirect_uri=row["redirect_uri"],
            expires_at=int(row["valid_until"]),
            progress=Progress(row["progress"]),
            openings={
                state_hash: StoredOpening(**opening)
                for state_hash, opening in row["openings"].items()
            },
            attempt=attempt,
            finished_by=row.get("finished_by"),
            result=Result(**row["outcome"]) if "outcome" in row else None,
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise RowUnreadable(
            detail=f"the row does not read as an authorization ({type(exc).__name__})"
        ) from None
