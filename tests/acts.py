"""What the parties do: a person, the fintech's backend, the schedule, and time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.wiring import BROKER, RETURN_TO, Wired
from token_broker.domain.authorization import Redirect
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import TokenBrokerError
from token_broker.domain.refresh_policy import lease_end
from token_broker.domain.secret_text import SecretText
from token_broker.use_cases import authorize, callback, connections, schedule, token

FUNCTION_TIMEOUT = 105.0  # the token function's; the schedule's is longer
END_AFTER = 26 * 3_600
TOMBSTONE = 30 * 86_400


class Inline(Executor):
    """Runs each task at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass
class Acts(Wired):
    """A wired broker with which the parties act."""

    browser: dict[str, SecretText] = field(default_factory=dict)
    time_left: float = FUNCTION_TIMEOUT

    def remaining(self) -> float:
        return self.time_left

    def begin(self, subject: str = "ada", connection_id: str | None = None) -> authorize.Begun:
        return authorize.begin(
            self.linking,
            subject=subject,
            connector="mikomo",
            return_to=RETURN_TO,
            connection_id=connection_id,
            base_url=BROKER,
        )

    def open(self, begun: authorize.Begun) -> str:
        """Open the start link in the browser; return where it is sent."""
        opening = authorize.start(self.linking, ticket=begun.start_url.rpartition("/")[2])
        self.browser[opening.cookie_name] = opening.cookie
        return opening.authorization_url

    def consent(self, authorization_url: str, user: str = "mikomo_1") -> str:
        """Sign in at the bank and consent; return the redirect's address."""
        pending = self.provider.begin(urlsplit(authorization_url).query)
        assert self.provider.sign_in(pending.id, user, user)
        login = self.provider.pending(pending.id).login
        assert login is not None
        return self.provider.allow(pending.id, [account.account_id for account in login.accounts])

    def come_back(self, address: str, *, cookies: dict[str, SecretText] | None = None) -> Redirect:
        """Deliver the redirect to the callback."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        return callback.finish(
            self.broker,
            self.finishing,
            response=callback.AuthorizationResponse(
                state=SecretText(query["state"]) if "state" in query else None,
                code=SecretText(query["code"]) if "code" in query else None,
                error=query.get("error"),
                issuer=query.get("iss"),
            ),
            cookies=self.browser if cookies is None else cookies,
            remaining=self.remaining,
        )

    def confirm(self, went: Redirect, subject: str = "ada") -> Connection:
        assert went.confirmation is not None
        return connections.confirm(
            self.broker.connections,
            self.broker.policy,
            self.clock,
            self.broker.record,
            connection_id=went.result.connection_id,
            subject=subject,
            confirmation=went.confirmation,
        )

    def link(
        self, subject: str = "ada", connection_id: str | None = None, user: str = "mikomo_1"
    ) -> Redirect:
        """Connect a bank, or renew a connection, from start to the page that is told."""
        return self.come_back(self.consent(self.open(self.begin(subject, connection_id)), user))

    def connect(self, subject: str = "ada", user: str = "mikomo_1") -> Connection:
        """Connect a bank from start to confirmation."""
        return self.confirm(self.link(subject, user=user), subject)

    def hand_out(
        self,
        connection_id: str,
        *,
        min_validity: int | None = None,
        rejected: int | None = None,
        next_use: int | None = None,
    ) -> token.Bearer:
        return token.hand_out(
            self.broker,
            connection_id=connection_id,
            min_validity=min_validity,
            rejected=rejected,
            next_use=next_use,
            remaining=self.remaining,
        )

    def is_accepted(self, bearer: token.Bearer) -> bool:
        """Call the data API with a bearer; tell whether it takes it."""
        answer = self.provider.data(
            product="accounts-info",
            connector=bearer.connector,
            authorization=f"Bearer {bearer.id_token.reveal()}",
            interaction_type="BATCH",
            last_access="2027-01-15T08:00:00Z",
        )
        return answer.status == HTTPStatus.OK

    def run_schedule(self, *, limit: int = 1000) -> schedule.Run:
        return schedule.tend_due(
            self.broker,
            schedule.Tending(
                rate=1000,
                limit=limit,
                quarantine=7 * 86_400,
                tombstone=TOMBSTONE,
                end_after=END_AFTER,
            ),
            workers=Inline(),
            remaining=self.remaining,
        )

    def pass_a_lease(self) -> None:
        """Let time pass until no lease of a process that is gone holds."""
        self.clock.advance(lease_end(0, FUNCTION_TIMEOUT) + 1)

    def pass_minutes(self, minutes: int = 1, goes_on: Callable[[], object] = lambda: None) -> None:
        """Let the schedule run each minute, after one who goes on and may be refused."""
        for _ in range(minutes):
            self.clock.advance(61)
            with suppress(TokenBrokerError):
                goes_on()
            self.run_schedule()

    def pass_refusals(self, connection_id: str) -> Connection:
        """Let the schedule look at a refused connection until it is no longer ACTIVE."""
        for _ in range(60):
            row = self.row(connection_id)
            if row.status is not Status.ACTIVE:
                return row
            self.make_due(connection_id)
            self.run_schedule()
        raise AssertionError("it does not end")

    def make_due(self, connection_id: str) -> None:
        """Let time pass until the connection is due."""
        due_at = self.row(connection_id).due_at
        assert due_at is not None
        self.clock.now = max(self.clock.now, float(due_at))

    def row(self, connection_id: str) -> Connection:
        return self.broker.connections.get(connection_id)
