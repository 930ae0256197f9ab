"""Keep a token set fresh: the one path on which a refresh token is traded for the next.

`ensure_fresh` is called for whoever needs a bearer now, `refresh_held` by the schedule. Claim the
row, prepare everything that can fail without Akoya, send once, persist before anything else.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from token_broker.domain.connection import (
    Connection,
    Landing,
    Lease,
    Reason,
    Status,
    Suspect,
    login_of,
)
from token_broker.domain.errors import (
    AkoyaUnreached,
    GrantRefused,
    OutcomeUnknown,
    Reported,
    SetEscrowed,
    SetUnreadable,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.identity import Identity
from token_broker.domain.outcome import REACTIONS, UNREACHED, Answer, Grant, Reaction
from token_broker.domain.ports import ClientCredentials, Remaining, Sealer, Sending
from token_broker.domain.refresh_policy import (
    BREAKER_PAUSE,
    CANARY_PATIENCE,
    PROMPT_REPEATS,
    READ_TIMEOUT,
    REFRESH_BUDGET,
    REPEAT_BUDGET,
    REPEAT_READ_TIMEOUT,
    SEND_BUDGET,
    UNSETTLED_DELAY,
    back_off,
    lease_end,
)
from token_broker.domain.suspicion import next_try, unanswered
from token_broker.domain.token_set import Claims, TokenSet, Verdict, lifetime
from token_broker.use_cases.pace import AT_ONCE, Turns
from token_broker.use_cases.persist import discard, persist
from token_broker.use_cases.refusal import note_rotation, record_suspicion, refused

REPEATS = {Reaction.REPEAT: PROMPT_REPEATS, Reaction.REPEAT_ONCE: 1}
CONSENTED = {  # what the set of a new consent makes of a row whose own process is gone
    Status.LINKING: Status.PENDING_CONFIRMATION,
    Status.REAUTH_REQUIRED: Status.ACTIVE,
    Status.SUPERSEDED: Status.ACTIVE,
}


# ── one connection, now ──────────────────────────────────────────────────────────────────────────


def ensure_fresh(
    on: Sending, *, connection_id: str, generation: int, rejected: bool, remaining: Remaining
) -> Connection:
    """Refresh the generation the caller saw and return the row that holds its successor.

    Raises RefreshInProgress, StaleGeneration, ConsentSuspect, UpstreamUnavailable,
    BrokerMisconfigured.
    """
    ensure_sends_allowed(on)
    held = claim(
        on,
        connection_id,
        statuses=frozenset({Status.ACTIVE}),
        ends_in=remaining(),
        generation=generation,
        rejected=rejected,
    )
    try:
        return escrowed_successor(on, held) or refresh_held(on, held, remaining)
    except SetEscrowed as kept:
        return kept.connection
    except GrantRefused as refused:
        raise record_suspicion(on, refused) from None  # only the schedule ends a connection


def ensure_sends_allowed(on: Sending) -> None:
    """Raise unless this is the table we belong to and the breaker is closed.

    A breaker the schedule had time to try and did not, for want of anything due, is closed.
    """
    ensure_home(on)
    until, now = on.control.breaker(), on.clock()
    if until is not None and now < until + CANARY_PATIENCE:
        wait = until + CANARY_PATIENCE - now
        raise UpstreamUnavailable(detail="the breaker is open", retry_after=wait)


def ensure_home(on: Sending) -> None:
    """Hold everything on a table that is not ours: its refresh tokens may be superseded ones.

    It is a copy or restore, or its tokens are another environment's, client's or provider's. While
    no token set has landed everything may still be corrected.
    """
    home = home_of(on)
    recorded = on.connections.recorded_identity(home)
    if recorded.provider is None:
        return
    if differing := recorded.unlike(home):
        on.record("table_foreign", detail="; ".join(differing))
        raise Reported(
            detail="the connections table is not ours: it is recorded for "
            f"{'; '.join(differing)}. Nothing is sent until the configuration is corrected, or the "
            "operator adopts the table (operations, after a restore)"
        )


def home_of(on: Sending) -> Identity:
    """Return whose tokens the table should hold as this stack is configured."""
    return Identity(
        table_id=on.connections.table_id(),
        environment=on.environment,
        client_id=on.client_id,
        provider=on.provider,
    )


def claim(
    on: Sending,
    connection_id: str,
    *,
    statuses: frozenset[Status],
    ends_in: float,
    generation: int | None = None,
    rejected: bool = False,
    even_resting: bool = False,
) -> Connection:
    """Claim a row that is due, or that still holds the generation given.

    `ends_in`: the seconds after which its holder is ended from outside.
    """
    now = on.clock()
    lease = Lease(id=on.new_id(), until=lease_end(now, ends_in))
    return on.connections.claim(
        connection_id,
        lease=lease,
        now=now,
        due_at=lease.until,  # should nobody settle it
        statuses=statuses,
        generation=generation,
        rejected=rejected,
        even_resting=even_resting,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """Everything a send needs, in hand before anything is sent."""

    tokens: TokenSet
    sealer: Sealer
    credentials: ClientCredentials


def refresh_held(
    on: Sending,
    held: Connection,
    remaining: Remaining,
    *,
    turns: Turns = AT_ONCE,
    status: Status = Status.ACTIVE,
) -> Connection:
    """Refresh a connection claimed by us that has nothing in escrow, and make it `status`.

    Raises as `ensure_fresh`, SetEscrowed, and GrantRefused, with the lease still held, where Akoya
    refuses.
    """
    ready = _pre_flight(on, held, remaining, turns)
    sent_at = on.clock()
    answer, ambiguous = _send(on, held, ready, remaining, turns)
    reaction = REACTIONS[answer.outcome, Grant.REFRESH_TOKEN]
    if reaction is Reaction.LAND:
        tokens = _issued(on, held, ready, answer)
        is_new = answer.id_token is not None
        verdict = (
            on.id_tokens.verify_at_hand(tokens.id_token, nonce=None, about=held.id)
            if is_new
            else held.verdict
        )
        landing = landing_of(
            on,
            connection_id=held.id,
            connector=held.connector,
            generation=held.generation + 1,
            attempt_id=_lease_id(held),
            tokens=tokens,
            expires_in=answer.expires_in,
            sent_at=sent_at,
            sealer=ready.sealer,
            verdict=verdict,
            login=held.login,
            iat=held.iat,
            predecessor_resent=_is_resent(held, answer, ambiguous=ambiguous),
        )
        if tokens.id_token is not None and not is_new:
            landing = _with_living_bearer(landing, held)
        landed = persist(
            on,
            landing,
            lease_id=landing.attempt_id,
            status=status,
            due_at=_due_after(on, replace(held, status=status), landing),
            remaining=remaining,
        )
        if landed is None:
            raise SetEscrowed(_escrowed(on, held, landing, tokens, verdict))
        if answer.refresh_token is not None:
            note_rotation(on, landed)
        if held.degraded and held.suspected:
            on.record("connection_healed", connection_id=held.id, reason=held.suspected.reason)
        on.record("token_refreshed", connection_id=landed.id, generation=landed.generation)
        if landing.suspect:
            on.record("subject_changed", connection_id=landed.id)
        elif is_new:
            return judged(on, landed, tokens, nonce=None, verdict=verdict)
        return landed
    if reaction is Reaction.SUSPECT:
        raise refused(on, held, answer, ambiguous=ambiguous, sent_at=sent_at)
    raise _set_back(on, held, answer, reaction, ambiguous=ambiguous)


def _is_resent(held: Connection, answer: Answer, *, ambiguous: bool) -> bool:
    """Return whether the refresh token behind the set of an answer may have been used before."""
    kept = answer.refresh_token is None and held.predecessor_resent
    return ambiguous or held.unsettled > 1 or kept


def _escrowed(
    on: Sending, held: Connection, landing: Landing, tokens: TokenSet, verdict: Verdict | None
) -> Connection:
    """Make the row due now, its attempt unsettled; return it as it is once its set has landed."""
    leave_to_escrow(on, held)
    if landing.verdict is not Verdict.BAD and verdict is None:
        verdict = on.id_tokens.verify(tokens.id_token, nonce=None, about=held.id)
    else:
        verdict = landing.verdict
    return replace(
        held,
        generation=landing.generation,
        sealed=landing.sealed,
        login=landing.login,
        issued_at=landing.issued_at,
        expires_at=landing.expires_at,
        verdict=verdict,
        attempt_id=landing.attempt_id,
        lease=None,
    )


def leave_to_escrow(on: Sending, held: Connection) -> None:
    """End the lease of a row whose new set is in escrow: who claims it next looks there first."""
    now = on.clock()
    with suppress(TokenBrokerError):  # the table is away, most likely; its lease ends by itself
        on.connections.settle(
            held,
            due_at=now,
            settled=False,
            failures=held.failures,
            event="token_set_escrowed",
            now=now,
        )


def escrowed_successor(
    on: Sending, held: Connection, *, status: Status | None = None
) -> Connection | None:
    """Apply the set an earlier attempt left in escrow, before its predecessor is sent again.

    Whoever has claimed a row asks here first. A new consent brings an ended connection back, and
    awaits its confirmation; of a superseded one nobody needs a mere rotation any more. `status`:
    look whatever is recorded of earlier attempts, and make the row that.
    """
    if held.unsettled <= 1 and status is None:
        return None
    try:
        landing = on.escrow.find(held.id, held.generation + 1)
        if landing and held.status is Status.SUPERSEDED and not landing.consent:
            on.escrow.discard(held.id, landing.generation, landing.attempt_id)
            landing = None
    except TokenBrokerError:
        release(on, held, event="refresh_deferred")
        raise
    if landing is None:
        return None
    moved = CONSENTED.get(held.status, held.status) if landing.consent else held.status
    return apply_escrowed(
        on,
        landing,
        lease_id=_lease_id(held),
        status=status or moved,
        due_at=_due_after(on, held, landing),
    )


def apply_escrowed(
    on: Sending, landing: Landing, *, lease_id: str, status: Status, due_at: int
) -> Connection:
    """Land a set from escrow, then remove it there; one that stays behind is swept later."""
    landed = on.connections.land(landing, lease_id=lease_id, status=status, due_at=due_at)
    discard(on, landing)
    on.record("escrow_applied", connection_id=landed.id, generation=landing.generation)
    return landed


def _pre_flight(on: Sending, held: Connection, remaining: Remaining, turns: Turns) -> _Ready:
    """Do everything that can fail without Akoya; a failure releases the lease and costs nothing."""
    try:
        ready = _Ready(
            tokens=on.seal.open(held),
            sealer=on.seal.prepare(held.id, subject=held.subject, connector=held.connector),
            credentials=on.client_secret.read(),
        )
        on.id_tokens.prepare()
        turns.first(held.id)
        _ensure_time(on, held, remaining)
    except Exception as exc:
        with suppress(TokenBrokerError):  # the lease ends by itself
            if isinstance(exc, SetUnreadable):
                on.connections.note_unreadable(held)
            release(on, held, event="refresh_deferred")
        raise
    return ready


def _ensure_time(on: Sending, held: Connection, remaining: Remaining) -> None:
    if not _has_time(on, held, remaining, REFRESH_BUDGET):
        raise UpstreamUnavailable(detail="too little time left to send and persist")


def _send(
    on: Sending, held: Connection, ready: _Ready, remaining: Remaining, turns: Turns
) -> tuple[Answer, bool]:
    """Send the refresh token; tell too whether an unanswered send came before the last answer.

    The same holder may repeat the same token: if Akoya never saw it nothing is lost, and if its
    answer was lost a repeat is the only thing that may still save the connection. Each send has a
    budget of its own.
    """
    credentials, read_timeout, repeats = ready.credentials, READ_TIMEOUT, 0
    while True:
        answer = on.token_endpoint.refresh(
            ready.tokens.refresh_token, credentials=credentials, read_timeout=read_timeout
        )
        reaction = REACTIONS[answer.outcome, Grant.REFRESH_TOKEN]
        last = answer, repeats > 0
        if repeats < REPEATS.get(reaction, 0) and turns.may_repeat(held.id):
            read_timeout, budget = REPEAT_READ_TIMEOUT, REPEAT_BUDGET
        elif reaction is Reaction.REREAD_SECRET and (newer := newer_secret(on, credentials)):
            credentials, budget = newer, SEND_BUDGET
        else:
            return last
        turns.again()
        if not _has_time(on, held, remaining, budget):
            return last
        repeats += reaction is not Reaction.REREAD_SECRET


def _has_time(on: Sending, held: Connection, remaining: Remaining, budget: int) -> bool:
    """Return whether the process lives and the lease holds for a send with this budget."""
    return remaining() >= budget and _still_leased(on, held, budget)


def _still_leased(on: Sending, held: Connection, budget: int) -> bool:
    return held.lease is not None and held.lease.until - on.clock() >= budget


def newer_secret(on: Sending, refused: ClientCredentials) -> ClientCredentials | None:
    """Return the secret as it is now if it is not the one that was refused."""
    try:
        current = on.client_secret.reread()
    except TokenBrokerError:
        return None
    return current if current != refused else None


def _issued(on: Sending, held: Connection, ready: _Ready, answer: Answer) -> TokenSet:
    """Return the new set; where no refresh token came, the old one stays (RFC 6749 section 6).

    So does a bearer that lives, unless the data API has rejected it.
    """
    if answer.refresh_token is None:
        on.record("refresh_token_missing", connection_id=held.id)
    if answer.id_token is None:
        on.record("id_token_missing", connection_id=held.id)
    serves = held.remaining(on.clock()) > 0 and held.rejected != held.generation
    return TokenSet(
        refresh_token=answer.refresh_token or ready.tokens.refresh_token,
        id_token=answer.id_token or (ready.tokens.id_token if serves else None),
    )


def _with_living_bearer(landing: Landing, held: Connection) -> Landing:
    """Give the new generation the times and verdict of the bearer it takes over."""
    if held.issued_at is None or held.expires_at is None:
        return landing
    return replace(
        landing, issued_at=held.issued_at, expires_at=held.expires_at, verdict=held.verdict
    )


def _lease_id(held: Connection) -> str:
    return held.lease.id if held.lease else ""


def landing_of(
    on: Sending,
    *,
    connection_id: str,
    connector: str,
    generation: int,
    attempt_id: str,
    tokens: TokenSet,
    expires_in: int | None,
    sent_at: int,
    sealer: Sealer,
    verdict: Verdict | None,
    login: str | None,
    iat: int | None = None,
    consent: str | None = None,
    predecessor_resent: bool = False,
) -> Landing:
    """Seal a token set for its row; `login` and `iat` are those of the consent, if it is known.

    `verdict` is what checking its bearer came to, if that could be said at once; `consent` is the
    exchange that a set of a new consent came of.
    """
    claims = on.id_tokens.claims(tokens.id_token)
    found = login_named_by(on, claims, connector) if claims else login
    changed = login is not None and found != login
    life = lifetime(claims, expires_in) if tokens.id_token else 0
    return Landing(
        connection_id=connection_id,
        generation=generation,
        attempt_id=attempt_id,
        sealed=sealer.seal(tokens, generation=generation),
        login=login or found,
        issued_at=sent_at,
        expires_at=sent_at + life,
        iat=iat if iat is not None else claims.iat if claims else None,
        verdict=Verdict.BAD if changed or not tokens.id_token else verdict or Verdict.UNVERIFIED,
        consent=consent,
        suspect=Suspect(
            generation=generation,
            reason=Reason.LOGIN_CHANGED,
            since=sent_at,
            streak_since=sent_at,
        )
        if changed
        else None,
        predecessor_resent=predecessor_resent,
    )


def login_named_by(on: Sending, claims: Claims, connector: str) -> str:
    """Return the login an id_token is about."""
    return login_of(
        environment=on.environment,
        client_id=on.client_id,
        connector=connector,
        sub=claims.sub,
    )


def _due_after(on: Sending, held: Connection, landing: Landing) -> int:
    if held.status is not Status.ACTIVE or landing.suspect:
        return on.clock()  # the schedule goes on with it: revokes or ends it
    return on.policy.due_at(
        connection_id=held.id,
        generation=landing.generation,
        now=on.clock(),
        issued=landing.issued_at,
        expires_at=landing.expires_at,
        asked_at=held.asked_at or held.linked_at,
    )


def judged(
    on: Sending,
    landed: Connection,
    tokens: TokenSet,
    *,
    nonce: str | None,
    verdict: Verdict | None = None,
) -> Connection:
    """Check the bearer of a set that is already durable and note the verdict with it.

    `verdict` is the one it landed with, if it was known before.
    """
    is_known = verdict is not None
    verdict = verdict or on.id_tokens.verify(tokens.id_token, nonce=nonce, about=landed.id)
    if verdict is Verdict.BAD:
        on.record("id_token_rejected", connection_id=landed.id, generation=landed.generation)
    if is_known or verdict is Verdict.UNVERIFIED:
        return landed
    on.connections.judge(landed, verdict)
    return replace(landed, verdict=verdict)


# ── what an answer without a token set leads to ──────────────────────────────────────────────────


def release(on: Sending, held: Connection, *, event: str) -> None:
    """Give the lease back: nothing was sent."""
    now = on.clock()
    on.record(event, connection_id=held.id)
    on.connections.settle(
        held,
        due_at=now + back_off(held.id, held.failures),
        settled=True,
        failures=held.failures + 1,
        event=event,
        now=now,
    )


def _set_back(
    on: Sending, held: Connection, answer: Answer, reaction: Reaction, *, ambiguous: bool
) -> TokenBrokerError:
    """Record an attempt that brought no set; return the error that says so to the caller."""
    now = on.clock()
    failures = held.failures + 1
    wait = max(back_off(held.id, held.failures), answer.retry_after or 0)
    settled = not ambiguous
    error: TokenBrokerError | None = None
    event, is_paused = "refresh_deferred", False
    match reaction:
        case Reaction.REPEAT:
            event, settled = "refresh_unanswered", False
            error = OutcomeUnknown(detail=answer.detail, retry_after=wait)
        case Reaction.REPEAT_ONCE:
            event, settled, wait = "refresh_unanswered", False, max(wait, UNSETTLED_DELAY)
            error = OutcomeUnknown(detail=answer.detail, retry_after=wait)
        case Reaction.REPORT:
            event = "request_refused"
            error = Reported(detail=f"Akoya calls our request malformed: {answer.detail}")
        case Reaction.REREAD_SECRET:
            error = trip_breaker(on, answer, by=held.id)
            wait, failures, is_paused = BREAKER_PAUSE, held.failures, True
        case _ if answer.outcome in UNREACHED:
            error = AkoyaUnreached(detail=answer.detail, retry_after=wait)
    on.record(event, connection_id=held.id, outcome=answer.outcome, detail=answer.detail)
    due_at = now + wait
    if held.status is Status.REAUTH_REQUIRED and held.keep_until and not is_paused:
        due_at = next_try(held.id, now=now, keep_until=held.keep_until)
    on.connections.settle(
        held,
        due_at=due_at,
        settled=settled,
        failures=failures,
        event=event,
        now=now,
        suspect=unanswered(held.suspected),
    )
    return error or UpstreamUnavailable(detail=answer.detail, retry_after=wait)


def trip_breaker(on: Sending, answer: Answer, *, by: str) -> Reported:
    """Stop all sends: Akoya refuses our credentials, and no connection is to blame."""
    on.control.open_breaker(until=on.clock() + BREAKER_PAUSE)
    on.record("breaker_opened", connection_id=by, outcome=answer.outcome, detail=answer.detail)
    return Reported(
        detail=f"Akoya refuses our client credentials ({answer.detail}): put the secret the "
        "Data Recipient Hub shows for this client id into Secrets Manager"
    )
