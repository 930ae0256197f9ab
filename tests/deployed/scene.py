"""One connection in a race: who asks for it, what becomes of its row, how it must end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from akoya_token_broker_client import Bearer, BrokerError, ConnectionNotFound, ConsentSuspect
from akoya_token_broker_client import Connection as Shown
from local.embedded_aws import client
from local.journey import Journey, location, query
from tests.deployed.bank import Bank
from tests.deployed.functions import Functions, port, processes_of

# Who may want a connection refreshed, and the function that does it.
HAND_OUT, SCHEDULE = "token", "refresh"
GOOD = 200


class Scene:
    """A person's connection on the deployed stack."""

    def __init__(
        self,
        *,
        stack: Mapping[str, Any],
        journey: Journey,
        functions: Functions,
        bank: Bank,
        pool: Executor,
        user: str,
    ) -> None:
        self.journey, self.functions, self.bank, self.pool = journey, functions, bank, pool
        self.subject, self.user = f"subject-of-{user}", user
        self.id = ""
        self._stack = stack
        self._dynamodb = client("dynamodb", port(stack))

    def connects(self, dialect: str, **settings: Any) -> None:
        """Connect at a bank of that dialect; the bearer has expired since."""
        self.bank.speaks(dialect, **settings)
        self.id = self.journey.connects(self.subject, self.user)
        self.journey.make_due(self.id, stale=True)

    def consents_again(self) -> tuple[Any, str]:
        """Consent anew; return the browser and the redirect it is about to follow."""
        return self.journey.allows(self.subject, self.user, self.id)

    # ── who asks ─────────────────────────────────────────────────────────────────────────────────

    def hand_out(self, **wishes: Any) -> Bearer | BrokerError:
        """Ask for the bearer; return it, or why there is none."""
        try:
            return self.journey.broker.hand_out(self.id, **wishes)
        except BrokerError as told:
            return told

    def asks_for_what_never_was(self) -> None:
        """Make a process of the token function start, and nothing else."""
        with pytest.raises(ConnectionNotFound):
            self.journey.broker.hand_out("0" * 32)

    def refreshed_by(self, function: str) -> Future[Any]:
        """Let the schedule or a caller want a refresh, in the background."""
        return self.pool.submit(
            self.hand_out if function == HAND_OUT else self.functions.run_schedule
        )

    # ── the row ──────────────────────────────────────────────────────────────────────────────────

    def row(self) -> dict[str, Any]:
        """Return the connection as it is stored."""
        found: dict[str, Any] = self._dynamodb.get_item(
            TableName=self._stack["tables"]["connections"],
            Key={"id": {"S": self.id}},
            ConsistentRead=True,
        )["Item"]
        return found

    def lease_runs_out(self) -> None:
        """Let the lease of a process that is dead or done be over, and the connection due.

        Only waiting is left out: a lease outlives every process that could still send or persist
        under it, and here there is none left, and the bank has answered what it sent.
        """
        assert None not in self.bank.statuses()
        self._dynamodb.update_item(
            TableName=self._stack["tables"]["connections"],
            Key={"id": {"S": self.id}},
            UpdateExpression="SET lease_until = :now, due_at = :now",
            ConditionExpression="attribute_exists(lease_id)",
            ExpressionAttributeValues={":now": {"N": str(int(time.time()))}},
        )

    def has_been_refused_for(self, seconds: int) -> None:
        """Let a suspect be refused for so long, and due; only waiting is left out."""
        past, now = {"N": str(int(time.time()) - seconds)}, {"N": str(int(time.time()))}
        self._dynamodb.update_item(
            TableName=self._stack["tables"]["connections"],
            Key={"id": {"S": self.id}},
            UpdateExpression=(
                "SET suspect.#since = :past, suspect.streak_since = :past, due_at = :now"
            ),
            ExpressionAttributeNames={"#since": "since"},
            ExpressionAttributeValues={":past": past, ":now": now},
        )

    # ── how it ends ──────────────────────────────────────────────────────────────────────────────

    def status(self) -> tuple[str, str | None]:
        """Return the status of the subject's one connection, and the reason for it."""
        shown = self._listed()
        return shown.status, shown.reason

    def degraded(self) -> str | None:
        """Return what a person should know of the connection; None: all is well."""
        return self._listed().degraded

    def is_suspected(self, reason: str) -> None:
        """It goes on, says so to whoever lists or asks, and knows what its end would be called."""
        assert (self.status(), self.degraded()) == (("ACTIVE", None), "suspect")
        assert self.row()["suspect"]["M"]["reason"]["S"] == reason
        asked_at = time.time()
        told = self.hand_out()
        assert isinstance(told, ConsentSuspect)
        next_look = int(self.row()["due_at"]["N"])
        assert asked_at < next_look
        assert 1 <= (told.retry_after or 0) <= next_look - int(asked_at)

    def _listed(self) -> Shown:
        (shown,) = self.journey.broker.connections_of(self.subject)
        assert shown.connection_id == self.id
        return shown

    def is_renewed(self, told: requests.Response) -> None:
        """The browser was told so, and of the same connection."""
        assert query(location(told)) == {"connection_id": self.id, "status": "active"}

    def lives_with_the_newest_set(self) -> None:
        """Hand out, and refresh once more, with what the bank issued last."""
        assert self.status() == ("ACTIVE", None)
        for wishes in ({}, {"rejected": int(self.row()["generation"]["N"])}):
            newest = self.bank.issued()[-1]
            bearer = self.hand_out(**wishes)
            assert isinstance(bearer, Bearer), bearer
            assert self.journey.accounts_with(bearer) == GOOD
        forced = self.bank.sends()[-1]
        assert (forced["presented"], forced["status"]) == (newest, GOOD)
        assert self.bank.issued()[-1] in self.bank.living()

    @contextmanager
    def bank_stands_still(self) -> Iterator[None]:
        """Stop the bank's process: it takes connections and says nothing."""
        at = f"local.akoya_sandbox --port {port(self._stack['identity_provider'], 'url')} "
        (process,) = processes_of(at)
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)
