"""Finish a connection: the redirect comes in, its code is sent once, the set is durable first.

However often the browser delivers the redirect, one delivery exchanges the code and all others
are told its outcome. Akoya: token-akoya (code exchange); RFC 6749 4.1.2 to 4.1.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from token_broker.domain import authorization as link
from token_broker.domain.authorization import (
    Authorization,
    CodeBinding,
    Progress,
    Redirect,
    Result,
    StoredOpening,
)
from token_broker.domain.connection import Connection, Landing, Lease, Status
from token_broker.domain.errors import (
    ConnectionNotFound,
    ExchangeInProgress,
    IssuerForeign,
    OutcomeTold,
    OutcomeUnknown,
    RefreshInProgress,
    RequestRejected,
    StaleGeneration,
    StateInvalid,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.outcome import REACTIONS, Answer, Grant, Reaction
from token_broker.domain.ports import (
    AuthorizationTable,
    ClientCredentials,
    RecentSubjects,
    Remaining,
    Sealer,
    Sending,
)
from token_broker.domain.refresh_policy import (
    BREAKER_PAUSE,
    BRIEFLY,
    SEND_BUDGET,
    UNSETTLED_DELAY,
    lease_end,
)
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet, Verdict
from token_broker.use_cases.authorize import RENEWABLE
from token_broker.use_cases.code_binding import is_bound, is_foreign, report_unbound
from token_broker.use_cases.front_channel import note_front_channel_error
from token_broker.use_cases.login import settle_login
from token_broker.use_cases.persist import PERSIST_PAUSE, persist
from token_broker.use_cases.refresh import (
    apply_escrowed,
    claim,
    ensure_sends_allowed,
    judged,
    landing_of,
    leave_to_escrow,
    newer_secret,
    release,
    trip_breaker,
)

# What Akoya and OAuth name (Akoya: authentication-errors); anything else is told as server_error.
TELLABLE_ERRORS = frozenset(
    {
        "access_denied",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_response_type",
        "server_error",
        "temporarily_unavailable",
    }
)
DECLINED_WITHIN = 10  # seconds in which no exchange begins beside a refusal
REOPEN_TRIES = 3
CODE_UNUSED = frozenset({Reaction.REOPEN, Reaction.REREAD_SECRET})
FINISHED = frozenset({Status.PENDING_CONFIRMATION, Status.ACTIVE})
OUR_FAULTS = TELLABLE_ERRORS - {"access_denied", "server_error", "temporarily_unavailable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationResponse:
    """What the redirect carries (RFC 6749 sections 4.1.2 and 4.1.2.1)."""

    state: SecretText | None
    code: SecretText | None
    error: str | None
    issuer: str | None = None  # RFC 9207 section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """What finishing a connection stands on beside what every send does."""

    authorizations: AuthorizationTable
    recent_subjects: RecentSubjects
    code_binding: CodeBinding


def finish(
    on: Sending,
    finishing: Finishing,
    *,
    response: AuthorizationResponse,
    cookies: Mapping[str, SecretText],
    remaining: Remaining,
) -> Redirect:
    """Turn an authorization response into a connection and return where the browser goes next.

    Raises StateInvalid and RequestRejected (nothing is consumed), ExchangeInProgress,
    UpstreamUnavailable and BrokerMisconfigured (the same redirect may be delivered again).
    """
    row, opened_by = _row_of(finishing.authorizations, response)
    try:
        return _finish(
            on,
            finishing,
            row,
            opened_by=opened_by,
            response=response,
            cookies=cookies,
            remaining=remaining,
        )
    except TokenBrokerError as exc:
        exc.about = row.known_as
        if not isinstance(exc, UpstreamUnavailable | RefreshInProgress):
            exc.way_back = row.way_back(error=exc.error)  # else the page loads itself again
        raise


def _finish(
    on: Sending,
    finishing: Finishing,
    row: Authorization,
    *,
    opened_by: str,
    response: AuthorizationResponse,
    cookies: Mapping[str, SecretText],
    remaining: Remaining,
) -> Redirect:
    authorizations = finishing.authorizations
    opening = (row.openings or {})[opened_by]
    cookie_name, cookie = _cookie_of(row, opening, response, cookies)
    if row.result:
        return _told(row, row.result, opened_by, cookie_name, cookie)
    if response.issuer is not None and not on.id_tokens.accepts_issuer(response.issuer):
        raise IssuerForeign
    if response.error is None and response.code is None:
        raise RequestRejected("The bank's answer carries neither a code nor an error.")
    if row.progress is Progress.SENT:
        result = _recovered(on, row)
        if not _is_finisher(on, result, cookie):
            return Redirect(return_to=row.return_to, result=result, cookie_name=cookie_name)
    elif response.error is not None or response.code is None:
        result = _declined(on, finishing, row, response.error or "server_error")
    elif row.expires_at <= on.clock() and not _under_way(on, row):
        result = Result(status="failed", connection_id=row.known_as, error="expired")
    else:
        attempt = Lease(id=on.new_id(), until=lease_end(on.clock(), remaining()))
        result = _Exchange(
            on=on,
            finishing=finishing,
            row=row,
            attempt=attempt,
            opening=opening,
            cookie=cookie,
            remaining=remaining,
        ).result(response.code)
    stands = authorizations.finish(row.id, result=result, finished_by=opened_by)
    with suppress(TokenBrokerError):  # it counts until it expires
        authorizations.vacate(row)
    return _told(replace(row, finished_by=opened_by), stands, opened_by, cookie_name, cookie)


def _row_of(
    authorizations: AuthorizationTable, response: AuthorizationResponse
) -> tuple[Authorization, str]:
    """Find the attempt and the opening that a `state` was made for; raises StateInvalid."""
    if response.state is None:
        if response.error is not None:
            raise RequestRejected(
                "The bank connection was not completed. Go back to the app and start again.",
                error="access_denied",
            )
        raise StateInvalid
    row = authorizations.get(link.authorization_id_of(response.state))
    opened_by = link.fingerprint(response.state)
    if row is None or opened_by not in (row.openings or {}):
        raise StateInvalid
    return row, opened_by


def _cookie_of(
    row: Authorization,
    opening: StoredOpening,
    response: AuthorizationResponse,
    cookies: Mapping[str, SecretText],
) -> tuple[str, SecretText]:
    """Return the cookie this browser was sent out with; nothing is consumed if it was not."""
    name = link.cookie_name(response.state) if response.state else ""
    cookie = cookies.get(name)
    if cookie is None or not link.matches(cookie, opening.cookie_hash):
        raise OutcomeTold if row.result else StateInvalid
    return name, cookie


def _told(
    row: Authorization, result: Result, opened_by: str, cookie_name: str, cookie: SecretText
) -> Redirect:
    finisher = row.finished_by == opened_by and result.status == "pending_confirmation"
    return Redirect(
        return_to=row.return_to,
        result=result,
        confirmation=link.confirmation(cookie) if finisher else None,
        cookie_name=cookie_name,
    )


def _declined(on: Sending, finishing: Finishing, row: Authorization, error: str) -> Result:
    """Tell that the bank said no; what another tab has brought under way goes on."""
    attempt = Lease(id=on.new_id(), until=on.clock() + DECLINED_WITHIN)
    won = finishing.authorizations.begin_exchange(row.id, attempt=attempt, now=on.clock())
    if not won and (row.expires_at > on.clock() or _under_way(on, row)):
        raise ExchangeInProgress(retry_after=3)
    told = error if error in TELLABLE_ERRORS else "server_error"
    if told in OUR_FAULTS:
        note_front_channel_error(on, finishing.recent_subjects, row, error=told)
    else:
        on.record("authorization_declined", connection_id=row.known_as, error=told)
    status = "declined" if told == "access_denied" else "failed"
    return Result(status=status, connection_id=row.known_as, error=told)


def _under_way(on: Sending, row: Authorization) -> bool:
    return row.attempt is not None and row.attempt.until > on.clock()


def _recovered(on: Sending, row: Authorization) -> Result:
    """Tell the outcome of an exchange whose process ended before it could; never send again."""
    if row.attempt is None:
        raise ExchangeInProgress(retry_after=3)
    for connection_id in filter(None, (row.connection_id, row.replaces)):
        landed = _landed_by(on, connection_id, row.attempt)
        is_good = landed and landed.status in FINISHED and landed.verdict is not Verdict.BAD
        if landed and is_good and _settle_login(on, landed):
            return _success(row, landed)
    if _under_way(on, row):
        raise ExchangeInProgress(retry_after=3)
    on.record("exchange_lost", connection_id=row.known_as)
    return Result(status="failed", connection_id=row.known_as, error="server_error")


def _is_finisher(on: Sending, result: Result, cookie: SecretText) -> bool:
    """Tell whether this is the browser the confirmation is for; another tab may come back first."""
    if result.status != "pending_confirmation":
        return True
    expected = on.connections.get(result.connection_id).confirmation_hash
    return expected is not None and link.matches(link.confirmation(cookie), expected)


def _landed_by(on: Sending, connection_id: str, attempt: Lease) -> Connection | None:
    """Return the connection if it holds this attempt's set, landing it from escrow if need be."""
    try:
        found = on.connections.look(connection_id)
    except ConnectionNotFound:
        return None
    if found.consent == attempt.id:
        return found
    if attempt.until > on.clock():
        raise ExchangeInProgress(retry_after=3)
    kept = on.escrow.find(connection_id, found.generation + 1)
    if kept is None or kept.attempt_id != attempt.id:
        return _landed_meanwhile(on, found, attempt)
    status, due_at = _lands_as(on, found, kept)
    try:  # whoever else has claimed the row may be about to send what this set replaces
        held = claim(
            on,
            connection_id,
            statuses=frozenset({found.status}),
            ends_in=BRIEFLY,
            generation=found.generation,
            even_resting=True,
        )
    except (RefreshInProgress, StaleGeneration):
        raise ExchangeInProgress(retry_after=3) from None
    lease_id = held.lease.id if held.lease else ""
    try:
        return apply_escrowed(on, kept, lease_id=lease_id, status=status, due_at=due_at)
    except UpstreamUnavailable:
        release(on, held, event="exchange_deferred")
        raise


def _landed_meanwhile(on: Sending, found: Connection, attempt: Lease) -> Connection | None:
    """Look again: the schedule may have taken the set out of escrow just now."""
    try:
        again = on.connections.look(found.id)
    except ConnectionNotFound:
        return None
    return again if again.consent == attempt.id else None


def _settle_login(on: Sending, landed: Connection) -> bool:
    """Settle the login now, or when the page is loaded again; tell whether this one goes on."""
    try:
        return settle_login(on, landed)
    except StaleGeneration:
        raise ExchangeInProgress(retry_after=3) from None


def _lands_as(on: Sending, target: Connection, landing: Landing) -> tuple[Status, int]:
    """Return what a consent makes of the row it lands in, and when that is due.

    A new link whose set is not to be used never becomes a connection: the schedule gives the set
    to the connection that owns the login, or revokes it where nobody needs it.
    """
    now = on.clock()
    if target.status is Status.LINKING and landing.verdict is Verdict.BAD:
        return Status.REVOKE_PENDING, now
    if target.status is Status.LINKING:
        return Status.PENDING_CONFIRMATION, now
    return Status.ACTIVE, on.policy.due_at(
        connection_id=landing.connection_id,
        generation=landing.generation,
        now=now,
        issued=landing.issued_at,
        expires_at=landing.expires_at,
        asked_at=now,
    )


def _success(row: Authorization, landed: Connection) -> Result:
    """Tell how it went; a renewal that came back with another login left the old one untouched."""
    changed = row.replaces is not None and landed.id != row.replaces
    return Result(
        status=landed.status.lower(),
        connection_id=landed.id,
        previous_connection_id=row.replaces if changed else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """Everything an exchange needs, in hand before the code is sent."""

    credentials: ClientCredentials
    sealers: Mapping[str, Sealer]
    linking: Connection  # the row a new connection lives in
    renewed: Connection | None  # the connection whose consent is renewed, under our lease


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    """One exchange by the one delivery that won the row."""

    on: Sending
    finishing: Finishing
    row: Authorization
    attempt: Lease
    opening: StoredOpening
    cookie: SecretText
    remaining: Remaining

    def result(self, code: SecretText) -> Result:
        on, row = self.on, self.row
        ensure_sends_allowed(on)
        if not self.finishing.authorizations.begin_exchange(
            row.id, attempt=self.attempt, now=on.clock()
        ):
            raise ExchangeInProgress(retry_after=3)
        try:
            prepared = self._prepare()
            if not self.finishing.authorizations.mark_sent(row.id, attempt=self.attempt):
                raise ExchangeInProgress(retry_after=3)
            self._ensure_time()
        except TokenBrokerError as exc:
            self._reopen()
            on.record("exchange_deferred", connection_id=row.known_as, detail=exc.detail)
            raise
        sent_at = on.clock()
        answer = self._send(code, prepared.credentials)
        reaction = REACTIONS[answer.outcome, Grant.AUTHORIZATION_CODE]
        if reaction is Reaction.LAND and answer.refresh_token:
            tokens = TokenSet(refresh_token=answer.refresh_token, id_token=answer.id_token)
            return self._land(prepared, tokens, sent_at=sent_at, expires_in=answer.expires_in)
        return self._let_go(prepared, answer, reaction)

    def _prepare(self) -> _Prepared:
        """Do everything that can fail without Akoya; what fails here leaves the code unused."""
        on, row = self.on, self.row
        credentials = on.client_secret.read()
        sealers = {
            connection_id: on.seal.prepare(
                connection_id, subject=row.subject, connector=row.connector
            )
            for connection_id in (row.connection_id, row.replaces)
            if connection_id
        }
        on.id_tokens.prepare()
        self._ensure_time()
        return _Prepared(
            credentials=credentials,
            sealers=sealers,
            linking=self._new_row(),
            renewed=self._lease_of(row.replaces) if row.replaces else None,
        )

    def _ensure_time(self) -> None:
        holds_for = self.attempt.until - self.on.clock()
        if self.remaining() < SEND_BUDGET or holds_for < SEND_BUDGET:
            raise UpstreamUnavailable(detail="too little time left to send and persist")

    def _new_row(self) -> Connection:
        """Add the row a new connection will live in, which proves the table writable too.

        A renewal has one as well: its person may come back with another login.
        """
        row, now = self.row, self.on.clock()
        linking = Connection(
            id=row.connection_id,
            subject=row.subject,
            connector=row.connector,
            status=Status.LINKING,
            linked_at=now,
            updated_at=now,
            due_at=self.attempt.until,  # should we die, escrow may hold its set
            lease=self.attempt,
            unsettled=1,
            confirmation_hash=link.fingerprint(link.confirmation(self.cookie)),
            last_event="linking",
        )
        self.on.connections.create(linking)
        return linking

    def _lease_of(self, connection_id: str) -> Connection:
        on, now = self.on, self.on.clock()
        seen = on.connections.look(connection_id)
        try:
            held = on.connections.claim(
                connection_id,
                lease=self.attempt,
                now=now,
                due_at=self.attempt.until,  # should we die, escrow may hold the new set
                statuses=RENEWABLE,
                generation=seen.generation,
                even_resting=True,
            )
        except (RefreshInProgress, StaleGeneration):
            raise ExchangeInProgress(retry_after=5) from None
        return replace(held, due_at=seen.due_at)

    def _send(self, code: SecretText, credentials: ClientCredentials) -> Answer:
        on = self.on
        verifier = link.code_verifier(self.cookie) if self.opening.sent_pkce else None

        def send(credentials: ClientCredentials) -> Answer:
            return on.token_endpoint.exchange(
                code,
                redirect_uri=self.row.redirect_uri,
                code_verifier=verifier,
                credentials=credentials,
            )

        answer = send(credentials)
        reaction = REACTIONS[answer.outcome, Grant.AUTHORIZATION_CODE]
        is_time_left = self.remaining() >= SEND_BUDGET
        if (
            reaction is Reaction.REREAD_SECRET
            and is_time_left
            and (newer := newer_secret(on, credentials))
        ):
            answer = send(newer)  # refused credentials leave the code unused
        return answer

    def _land(
        self, prepared: _Prepared, tokens: TokenSet, *, sent_at: int, expires_in: int | None
    ) -> Result:
        """Persist first, in the row of the login that came back; then check the bearer."""
        on, renewed = self.on, prepared.renewed
        bound = is_bound(
            on,
            tokens,
            code_binding=self.finishing.code_binding,
            opening=self.opening,
            cookie=self.cookie,
        )
        foreign, nonce = is_foreign(on, tokens, cookie=self.cookie), link.nonce(self.cookie)
        verdict = (
            Verdict.BAD
            if foreign
            else on.id_tokens.verify_at_hand(tokens.id_token, nonce=nonce, about=self.row.known_as)
        )

        def landing(target: Connection) -> Landing:
            made = landing_of(
                on,
                connection_id=target.id,
                connector=target.connector,
                generation=target.generation + 1,
                attempt_id=self.attempt.id,
                tokens=tokens,
                expires_in=expires_in,
                sent_at=sent_at,
                sealer=prepared.sealers[target.id],
                verdict=verdict,
                login=None,
                consent=self.attempt.id,
            )
            is_new = target.id == prepared.linking.id
            return replace(made, verdict=Verdict.BAD) if is_new and not bound else made

        target = prepared.linking
        if renewed and landing(renewed).login == renewed.login:
            target = renewed
        landed = self._persist(target, landing)
        self._tidy(prepared, target)
        if foreign:  # refused for a renewal, too; the set stays with its login
            on.record("id_token_nonce_foreign", connection_id=landed.id)
            return self._failed("server_error")
        if target is prepared.linking and not bound:
            report_unbound(on, landed)
            return self._failed("code_unbound")
        landed = judged(on, landed, tokens, nonce=nonce, verdict=verdict)
        if landed.verdict is Verdict.BAD:
            if landed.status is Status.PENDING_CONFIRMATION:  # what was connected before stays so
                on.connections.ask_revoke(landed.id, now=on.clock())
            return self._failed("server_error")
        if landed.status not in FINISHED or not _settle_login(on, landed):
            return self._failed("server_error")
        on.record("connection_established", connection_id=landed.id, connector=landed.connector)
        if renewed and target is prepared.linking:
            on.record("login_changed", connection_id=renewed.id)
        return _success(self.row, landed)

    def _persist(self, target: Connection, landing: Callable[[Connection], Landing]) -> Connection:
        """Land the set; one of a renewal that met a newer set is sealed again above that one."""
        sealed = landing(target)
        status, due_at = _lands_as(self.on, target, sealed)
        while True:
            try:
                landed = persist(
                    self.on,
                    sealed,
                    lease_id=self.attempt.id,
                    status=status,
                    due_at=due_at,
                    remaining=self.remaining,
                )
            except StaleGeneration:
                target = self.on.connections.look(target.id)
                sealed = landing(target)
                continue
            if landed:
                return landed
            leave_to_escrow(self.on, target)
            wait = UNSETTLED_DELAY  # the next run lands it
            raise OutcomeUnknown(detail="the token set is in escrow", retry_after=wait)

    def _tidy(self, prepared: _Prepared, target: Connection) -> None:
        """Take back what the set did not land in: the unused row, or the old one's lease."""
        if target is not prepared.linking:
            self.on.connections.delete(prepared.linking)
        elif prepared.renewed:
            self._give_back(prepared.renewed)

    def _give_back(self, renewed: Connection) -> None:
        now = self.on.clock()
        self.on.connections.settle(
            renewed,
            due_at=renewed.due_at or now,
            settled=True,
            failures=renewed.failures,
            event="renewal_failed",
            now=now,
        )

    def _let_go(self, prepared: _Prepared, answer: Answer, reaction: Reaction) -> Result:
        """No token set came of it: leave no row behind and tell the person what to do."""
        on, row = self.on, self.row
        if reaction in CODE_UNUSED:
            self._reopen()
        with suppress(TokenBrokerError):  # the schedule lets go of what stays behind
            on.connections.delete(prepared.linking)
            if prepared.renewed:
                self._give_back(prepared.renewed)
        on.record(
            "exchange_failed",
            connection_id=row.known_as,
            outcome=answer.outcome,
            detail=answer.detail,
        )
        match reaction:
            case Reaction.REOPEN:
                raise UpstreamUnavailable(detail=answer.detail, retry_after=5)
            case Reaction.REREAD_SECRET:  # our fault
                why = trip_breaker(on, answer, by=row.connection_id)
                raise UpstreamUnavailable(detail=why.detail, retry_after=BREAKER_PAUSE)
            case Reaction.LAND:
                on.record("refresh_token_missing", connection_id=row.known_as)
                return self._failed("invalid_scope")
            case _:
                return self._failed("server_error")

    def _reopen(self) -> None:
        """Let the same redirect be delivered again; where this fails the unused code is lost."""
        for _ in range(REOPEN_TRIES - 1):
            with suppress(TokenBrokerError):
                self.finishing.authorizations.reopen(self.row.id, attempt=self.attempt)
                return
            self.on.pause(PERSIST_PAUSE)
        self.finishing.authorizations.reopen(self.row.id, attempt=self.attempt)

    def _failed(self, error: str) -> Result:
        return Result(status="failed", connection_id=self.row.known_as, error=error)
