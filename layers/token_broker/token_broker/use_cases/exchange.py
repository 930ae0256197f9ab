"""The exchange of a code: sent once, its set durable first, then checked and its login settled.

Akoya: token-akoya (code exchange); RFC 6749 4.1.3 and 4.1.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from token_broker.domain import authorization
from token_broker.domain.authorization import Authorization, Result, StoredOpening
from token_broker.domain.connection import RENEWABLE, Connection, Lease, Status, are_comparable
from token_broker.domain.errors import (
    ConnectionNotFound,
    ExchangeInProgress,
    RefreshInProgress,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.outcome import Grant, Reaction
from token_broker.domain.ports import Post, Remaining, Sealer
from token_broker.domain.refresh_policy import BREAKER_PAUSE, Ask
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet, Verdict
from token_broker.use_cases.attempt import (
    Attempt,
    Sent,
    await_send,
    claim,
    claim_as_seen,
    ensure_sends_allowed,
    postpone,
    release,
    send,
    trip_breaker,
)
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.code_binding import is_bound, is_foreign, report_unbound
from token_broker.use_cases.landing import (
    NewSet,
    land,
    land_escrowed,
    login_named_by,
)
from token_broker.use_cases.login import settle_login, transfer
from token_broker.use_cases.persist import PERSIST_PAUSE

if TYPE_CHECKING:
    from token_broker.use_cases.callback import Finishing

REOPEN_TRIES = 3
CODE_UNUSED = frozenset({Reaction.REOPEN, Reaction.REREAD_SECRET})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Where the set of an exchange may land."""

    sealers: Mapping[str, Sealer]
    linking: Connection  # the row a new connection lives in
    renewed: Connection | None  # the connection whose consent is renewed, under our lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One exchange by the one delivery that won the row."""

    broker: Broker
    finishing: Finishing
    row: Authorization
    lease: Lease  # of the authorization, and of the connection it renews
    opening: StoredOpening
    cookie: SecretText
    remaining: Remaining

    def result(self, code: SecretText) -> Result:
        """Exchange the code and return what its browser is told.

        Raises ExchangeInProgress, UpstreamUnavailable and BrokerMisconfigured: the same redirect
        may be delivered again.
        """
        broker, row = self.broker, self.row
        ensure_sends_allowed(broker)
        if not self.finishing.authorizations.begin_exchange(
            row.id, attempt=self.lease, now=broker.clock()
        ):
            raise ExchangeInProgress(retry_after=3)
        try:
            credentials = broker.client_secret.read()
            rows = self._prepare()
            attempt = Attempt(Grant.AUTHORIZATION_CODE, rows.linking, self.remaining)
            await_send(broker, attempt)
        except Exception as exc:
            with suppress(TokenBrokerError):  # leases end by themselves
                self._call_off(exc)
            raise
        sent = send(broker, attempt, self._post(code), credentials)
        answer = sent.answer
        if sent.reaction is Reaction.LAND and answer.refresh_token:
            tokens = TokenSet(refresh_token=answer.refresh_token, id_token=answer.id_token)
            return self._land(rows, sent, tokens)
        return self._let_go(rows, sent)

    def _post(self, code: SecretText) -> Post:
        verifier = authorization.code_verifier(self.cookie) if self.opening.sent_pkce else None
        return partial(
            self.broker.token_endpoint.exchange,
            code,
            redirect_uri=self.row.redirect_uri,
            code_verifier=verifier,
        )

    def _prepare(self) -> _Rows:
        """Do everything that can fail without Akoya; what fails here leaves the code unused."""
        broker, row = self.broker, self.row
        sealers = {
            connection_id: broker.seal.prepare(
                connection_id, subject=row.subject, connector=row.connector
            )
            for connection_id in (row.connection_id, row.replaces)
            if connection_id
        }
        broker.id_tokens.prepare()
        rows = _Rows(
            sealers=sealers,
            linking=self._new_row(),
            renewed=self._lease_of(row.replaces) if row.replaces else None,
        )
        if not self.finishing.authorizations.mark_sent(row.id, attempt=self.lease):
            raise ExchangeInProgress(retry_after=3)
        return rows

    def _call_off(self, why: Exception) -> None:
        detail = getattr(why, "detail", None)
        self.broker.record("exchange_deferred", connection_id=self.row.visible_id, detail=detail)
        self._reopen()
        if self.row.replaces:
            self._release(self.row.replaces)

    def _release(self, connection_id: str) -> None:
        """End our lease on the connection to be renewed: its callers need not wait for its end."""
        renewed = self.broker.connections.look(connection_id)
        if renewed.lease and renewed.lease.id == self.lease.id:
            due_at = self.broker.clock()
            postpone(self.broker, renewed, due_at=due_at, event="exchange_deferred")

    def _new_row(self) -> Connection:
        """Add the row a new connection will live in, which proves the table writable too.

        A renewal has one as well: its person may come back with another login.
        """
        row, now = self.row, self.broker.clock()
        linking = Connection(
            id=row.connection_id,
            subject=row.subject,
            connector=row.connector,
            status=Status.LINKING,
            linked_at=now,
            updated_at=now,
            due_at=self.lease.until,  # should we die, escrow may hold its set
            lease=self.lease,
            unsettled=1,
            confirmation_hash=authorization.fingerprint(authorization.confirmation(self.cookie)),
            last_event="linking",
        )
        self.broker.connections.create(linking)
        return linking

    def _lease_of(self, connection_id: str) -> Connection:
        broker = self.broker
        try:
            seen = broker.connections.get(connection_id)
            if seen.malformed:
                broker.connections.mend(connection_id, now=broker.clock())
                seen = broker.connections.get(connection_id)
            leased = claim(
                broker,
                connection_id,
                lease=self.lease,
                statuses=RENEWABLE,
                generation=seen.generation,
                ignore_back_off=True,
            )
        except (RefreshInProgress, StaleGeneration):
            raise ExchangeInProgress(retry_after=5) from None
        return replace(leased, due_at=seen.due_at)

    def _land(self, rows: _Rows, sent: Sent, tokens: TokenSet) -> Result:
        """Land the set in the row of the login that came back, whatever its bearer is worth."""
        broker, row = self.broker, self.row
        target = self._target(rows, tokens)
        is_new = target is rows.linking
        is_injected = is_foreign(broker, tokens, cookie=self.cookie)
        is_unbound = is_new and not is_bound(
            broker,
            tokens,
            code_binding=self.finishing.code_binding,
            opening=self.opening,
            cookie=self.cookie,
        )
        new = NewSet(
            tokens=tokens,
            attempt_id=self.lease.id,
            sent_at=sent.sent_at,
            expires_in=sent.answer.expires_in,
            interaction_id=sent.answer.interaction_id,
            consent=self.lease.id,
            ask=Ask(at=sent.sent_at),  # who links is about to ask
            nonce=authorization.nonce(self.cookie),
            verdict=Verdict.BAD if is_injected or is_unbound else None,
        )
        landed = land(broker, target, new, sealer=rows.sealers[target.id], remaining=self.remaining)
        self._tidy(rows, target)
        if is_injected:  # refused for a renewal, too; the set stays with its login
            broker.record("id_token_nonce_foreign", connection_id=landed.id)
            return self._failed("server_error")
        if is_unbound:
            report_unbound(broker, landed)
            return self._failed("code_unbound")
        if landed.verdict is Verdict.BAD:
            if landed.status is Status.PENDING_CONFIRMATION:  # what was connected before stays so
                broker.connections.ask_revoke(landed.id, now=broker.clock())
            return self._failed("server_error")
        if (connected := _settle_login(broker, landed)) is None:
            return self._failed("server_error")
        if connected.id != landed.id:
            with suppress(TokenBrokerError):  # the schedule goes on
                transfer(broker, landed, connected, remaining=self.remaining, tokens=tokens)
        broker.record("connection_established", connection_id=connected.id, connector=row.connector)
        if rows.renewed and is_new and are_comparable(rows.renewed.login, landed.login):
            broker.record("login_changed", connection_id=rows.renewed.id)
        return _success(row, connected)

    def _target(self, rows: _Rows, tokens: TokenSet) -> Connection:
        """Return the connection that is renewed if its own login came back, else the new row.

        Where the two cannot be compared the person has to be confirmed, as another login's is.
        """
        claims = self.broker.id_tokens.claims(tokens.id_token)
        login = login_named_by(self.broker, claims, self.row.connector) if claims else None
        return rows.renewed if rows.renewed and rows.renewed.login == login else rows.linking

    def _tidy(self, rows: _Rows, target: Connection | None) -> None:
        """Take back what no set landed in: the unused row, the old one's lease."""
        if target is not rows.linking:
            self.broker.connections.delete(rows.linking)
        if rows.renewed and target is not rows.renewed:
            due_at = rows.renewed.due_at or self.broker.clock()
            postpone(self.broker, rows.renewed, due_at=due_at, event="renewal_failed")

    def _let_go(self, rows: _Rows, sent: Sent) -> Result:
        """No token set came of it: leave no row behind and tell the person what to do."""
        broker, row, answer = self.broker, self.row, sent.answer
        if sent.reaction in CODE_UNUSED:
            self._reopen()
        with suppress(TokenBrokerError):  # the schedule lets go of what stays behind
            self._tidy(rows, None)
        broker.record(
            "exchange_failed",
            connection_id=row.visible_id,
            outcome=answer.outcome,
            **answer.traced,
        )
        match sent.reaction:
            case Reaction.REOPEN:
                raise UpstreamUnavailable(detail=answer.detail, retry_after=5)
            case Reaction.REREAD_SECRET:  # our fault
                why = trip_breaker(broker, answer, by=row.connection_id)
                raise UpstreamUnavailable(detail=why.detail, retry_after=BREAKER_PAUSE)
            case Reaction.LAND:
                broker.record("refresh_token_missing", connection_id=row.visible_id)
                return self._failed("invalid_scope")
            case _:
                return self._failed("server_error")

    def _reopen(self) -> None:
        """Let the same redirect be delivered again; where this fails the unused code is lost."""
        for _ in range(REOPEN_TRIES - 1):
            with suppress(TokenBrokerError):
                self.finishing.authorizations.reopen(self.row.id, attempt=self.lease)
                return
            self.broker.pause(PERSIST_PAUSE)
        self.finishing.authorizations.reopen(self.row.id, attempt=self.lease)

    def _failed(self, error: str) -> Result:
        return Result(status="failed", connection_id=self.row.visible_id, error=error)


# ── an exchange whose process is gone ────────────────────────────────────────────────────────────


def is_under_way(broker: Broker, row: Authorization) -> bool:
    """Return whether an exchange may still be sending."""
    return row.attempt is not None and row.attempt.until > broker.clock()


def recovered(broker: Broker, row: Authorization) -> Result:
    """Tell the outcome of an exchange whose process ended before it could; never send again."""
    if row.attempt is None:
        raise ExchangeInProgress(retry_after=3)
    for connection_id in filter(None, (row.connection_id, row.replaces)):
        landed = _landed_by(broker, connection_id, row.attempt)
        is_good = landed and landed.verdict is not Verdict.BAD
        if landed and is_good and (connected := _settle_login(broker, landed)):
            return _success(row, connected)
    if is_under_way(broker, row):
        raise ExchangeInProgress(retry_after=3)
    broker.record("exchange_lost", connection_id=row.visible_id)
    return Result(status="failed", connection_id=row.visible_id, error="server_error")


def _landed_by(broker: Broker, connection_id: str, attempt: Lease) -> Connection | None:
    """Return the connection if it holds this attempt's set, landing it from escrow if need be."""
    found = _look(broker, connection_id)
    if found is None or found.consent == attempt.id:
        return found
    if attempt.until > broker.clock():
        raise ExchangeInProgress(retry_after=3)
    kept = broker.escrow.find(connection_id, found.generation + 1)
    if kept is None or kept.attempt_id != attempt.id:  # or the schedule has landed it just now
        again = _look(broker, connection_id)
        return again if again and again.consent == attempt.id else None
    try:  # whoever else has claimed the row may be about to send what this set replaces
        leased = claim_as_seen(broker, found)
    except (RefreshInProgress, StaleGeneration):
        raise ExchangeInProgress(retry_after=3) from None
    try:
        return land_escrowed(broker, kept, leased)
    except UpstreamUnavailable:
        release(broker, leased, event="exchange_deferred")
        raise


def _look(broker: Broker, connection_id: str) -> Connection | None:
    try:
        return broker.connections.look(connection_id)
    except ConnectionNotFound:
        return None


def _settle_login(broker: Broker, landed: Connection) -> Connection | None:
    """Settle the login now, or when the page is loaded again; return who goes on with it."""
    try:
        return settle_login(broker, landed)
    except StaleGeneration:
        raise ExchangeInProgress(retry_after=3) from None


def _success(row: Authorization, connected: Connection) -> Result:
    """Tell how it went; a renewal that came back with another login left the old one untouched."""
    changed = row.replaces is not None and connected.id != row.replaces
    return Result(
        status="active" if connected.status in RENEWABLE else "pending_confirmation",
        connection_id=connected.id,
        previous_connection_id=row.replaces if changed else None,
    )
