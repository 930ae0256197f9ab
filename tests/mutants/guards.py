"""The guards that keep a connection, and how each is switched off: one text for another."""

from __future__ import annotations

from dataclasses import dataclass

CORE = "layers/token_broker/token_broker"
CONDITIONS = f"{CORE}/store/conditions.py"
CONNECTIONS = f"{CORE}/store/connections.py"
LINKING = f"{CORE}/store/linking.py"
READING = f"{CORE}/store/reading.py"
ENDINGS = f"{CORE}/store/endings.py"
CONNECTION_ROW = f"{CORE}/store/connection_row.py"
PERSIST = f"{CORE}/use_cases/persist.py"
REFRESH = f"{CORE}/use_cases/refresh.py"
ATTEMPT = f"{CORE}/use_cases/attempt.py"
LANDING = f"{CORE}/use_cases/landing.py"
EXCHANGE = f"{CORE}/use_cases/exchange.py"
HOME = f"{CORE}/use_cases/home.py"
SCHEDULE = f"{CORE}/use_cases/schedule.py"
SUSPICION = f"{CORE}/domain/suspicion.py"
REFUSAL = f"{CORE}/use_cases/refusal.py"
DAILY_TRY = f"{CORE}/use_cases/daily_try.py"
CALLBACK = f"{CORE}/use_cases/callback.py"
LOGIN = f"{CORE}/use_cases/login.py"
CODE_BINDING = f"{CORE}/use_cases/code_binding.py"
AUTHORIZE = f"{CORE}/use_cases/authorize.py"
HTTP_API = f"{CORE}/runtime/http_api.py"
AKOYA = f"{CORE}/adapters/akoya.py"
REVOKE = f"{CORE}/use_cases/revoke.py"
DEADLINE = f"{CORE}/adapters/deadline.py"
CUT_ANSWER = f"{CORE}/adapters/cut_answer.py"
REJECTION = f"{CORE}/use_cases/rejection.py"
SEAL = f"{CORE}/adapters/seal.py"
HTTP_API = f"{CORE}/runtime/http_api.py"
OPERATIONS = "operations/__main__.py"
SUBJECT = f"{CORE}/use_cases/subject.py"
IDENTITY = f"{CORE}/domain/identity.py"
IDENTITY_ROW = f"{CORE}/store/identity.py"
TOKEN = f"{CORE}/use_cases/token.py"
ESCROW = f"{CORE}/use_cases/escrow.py"
OBSERVABILITY = f"{CORE}/runtime/observability.py"
MEASURE = f"{CORE}/use_cases/measure.py"
ALARMS = {  # the events that count under the name of an alarm
    "ours_to_correct": ("broker_misconfigured", "table_foreign", "unexpected_error"),
    "at_odds_with_akoya": (
        "breaker_opened",
        "request_refused",
        "subject_changed",
        "id_token_rejected",
    ),
    "tokens_at_risk": ("escrow_used", "escrow_stranded", "token_persist_failed", "rotation_lost"),
    "row_unreadable": ("row_unreadable",),
}


@dataclass(frozen=True)
class Guard:
    """A guard: where it stands, what it says, and what it says when it is off."""

    name: str
    file: str
    on: str
    off: str


GUARDS = (
    Guard(
        "lease: a claim needs a free row",
        CONNECTIONS,
        "is_readable() & is_in(*statuses) & is_free(now)",
        "is_readable() & is_in(*statuses) & exists()",
    ),
    Guard(
        "lease: only its holder settles",
        CONDITIONS,
        'return held_by(leased.lease.id if leased.lease else "")',
        "return exists()",
    ),
    Guard(
        "lease: only its holder repeats a send",
        ATTEMPT,
        "return remaining() >= budget and leased_for >= budget",
        "return remaining() >= budget",
    ),
    Guard(
        "lease: it outlives its holder's function",
        f"{CORE}/domain/refresh_policy.py",
        "return now + math.ceil(ends_in) + CLOCK_SKEW",
        "return now + math.ceil(ends_in) // 4",
    ),
    Guard(
        "generation: a set lands above its predecessor alone",
        CONNECTIONS,
        "follows & held_by(lease_id) & may_move",
        "held_by(lease_id) & may_move",
    ),
    Guard(
        "generation: also where the lease has moved on",
        CONNECTIONS,
        "follows & is_in(row.status)",
        "is_in(row.status)",
    ),
    Guard(
        "attempt id: a landed write knows itself again",
        CONNECTIONS,
        "if row.attempt_id == landing.attempt_id and row.generation >= landing.generation:",
        "if not row:",
    ),
    Guard(
        "attempt id: a claim knows itself again",
        CONNECTIONS,
        "if row.lease and row.lease.id == lease.id:",
        "if not row:",
    ),
    Guard(
        "code: an unused one is reopened again where that fails",
        EXCHANGE,
        "REOPEN_TRIES = 3",
        "REOPEN_TRIES = 1",
    ),
    Guard(
        "lease: a renewal that was not sent releases its connection",
        EXCHANGE,
        "        if self.row.replaces:\n            self._release(self.row.replaces)\n",
        "",
    ),
    Guard(
        "code: an unused one is reopened before anything is tidied",
        EXCHANGE,
        "        if sent.reaction in CODE_UNUSED:\n            self._reopen()\n"
        "        with suppress(TokenBrokerError):  # the schedule",
        "        with suppress(UpstreamUnavailable):  # the schedule",
    ),
    Guard(
        "persist first: a set lands whatever its bearer is worth",
        LANDING,
        "            landed = persist(",
        "            if verdict is Verdict.BAD:\n"
        '                raise TokenBrokerError(detail="off")\n'
        "            landed = persist(",
    ),
    Guard(
        "persist first: no key is asked for before the set is durable",
        LANDING,
        "broker.id_tokens.verify_at_hand(new.tokens.id_token,",
        "broker.id_tokens.verify(new.tokens.id_token,",
    ),
    Guard(
        "escrow: what the table does not take is kept there",
        PERSIST,
        "        broker.escrow.put(landing)\n",
        "        pass\n",
    ),
    Guard(
        "escrow: while the table does not take a set, not only in the end",
        PERSIST,
        "        if not escrowed:\n            attempted,",
        "        if not escrowed and remaining() <= 2 * ESCROW_TRY:\n            attempted,",
    ),
    Guard(
        "escrow: the table is not waited for once the set is there",
        PERSIST,
        "if escrowed and (not passing or began - remaining() >= PERSIST_BUDGET):",
        "if escrowed and not passing:",
    ),
    Guard(
        "escrow: a row whose set is there stays unsettled",
        LANDING,
        'event="token_set_escrowed", settled=False)',
        'event="token_set_escrowed", settled=True)',
    ),
    Guard(
        "escrow: no attempt overwrites what another left",
        f"{CORE}/adapters/escrow.py",
        'return f"{connection_id}/{generation}/{attempt_id}"',
        'return f"{connection_id}/{generation}/{attempt_id and 1}"',
    ),
    Guard(
        "escrow: of two sets the consent's wins",
        f"{CORE}/adapters/escrow.py",
        "key=lambda one: (one.consent is not None, one.issued_at)",
        "key=lambda one: one.issued_at",
    ),
    Guard(
        "repeat: once after a timeout of our own",
        ATTEMPT,
        "Reaction.REPEAT_ONCE: 1}",
        "Reaction.REPEAT_ONCE: 0}",
    ),
    Guard(
        "repeat: while nothing has answered in a run, its canary alone",
        f"{CORE}/use_cases/pace.py",
        "return self._has_answered() or connection_id == self._canary",
        "return True",
    ),
    Guard(
        "repeat: a set remembers that its predecessor was sent twice",
        f"{CORE}/use_cases/refusal.py",
        " or leased.predecessor_resent,",
        ",",
    ),
    Guard(
        "pace: a repeat goes before every first send",
        f"{CORE}/use_cases/pace.py",
        "lambda: not self._is_taken and not self._repeats_waiting",
        "lambda: not self._is_taken",
    ),
    Guard(
        "lease: it outlives its holder by the skew of clocks, too",
        f"{CORE}/domain/refresh_policy.py",
        "math.ceil(ends_in) + CLOCK_SKEW",
        "math.ceil(ends_in)",
    ),
    Guard(
        "lease: nothing is sent under one that ends too soon",
        ATTEMPT,
        "if not _has_time(broker, request, remaining, FIRST_BUDGET[request.grant]):",
        "if remaining() < FIRST_BUDGET[request.grant]:",
    ),
    Guard(
        "repeat: a newer secret is tried only with the time of a send",
        ATTEMPT,
        "credentials, budget = newer, SEND_BUDGET",
        "credentials, budget = newer, 0",
    ),
    Guard(
        "repeat: it waits for its turn",
        ATTEMPT,
        "        turns.again()\n        if not _has_time",
        "        if not _has_time",
    ),
    Guard(
        "repeat: a set remembers an unsettled attempt before its own",
        REFRESH,
        "return sent.ambiguous or leased.unsettled > 1 or is_same",
        "return sent.ambiguous or is_same",
    ),
    Guard(
        "repeat: a set that keeps its refresh token keeps that memory",
        REFRESH,
        "return sent.ambiguous or leased.unsettled > 1 or is_same",
        "return sent.ambiguous or leased.unsettled > 1",
    ),
    Guard(
        "pace: one has the turn at a time",
        f"{CORE}/use_cases/pace.py",
        "lambda: not self._is_taken and not self._repeats_waiting",
        "lambda: not self._repeats_waiting",
    ),
    Guard(
        "pace: no first send once the next run is near",
        SCHEDULE,
        "max(remaining() - SENDING_WINDOW, REFRESH_BUDGET + WRAP_UP)",
        "REFRESH_BUDGET + WRAP_UP",
    ),
    Guard(
        "truncated: a count of refusals that was cut is no count",
        f"{CORE}/adapters/dynamodb.py",
        'member(answer, "Attributes", of=SERVICE)',
        'answer["Attributes"]',
    ),
    Guard(
        "truncated: a listing of escrow that was cut is not an empty one",
        f"{CORE}/adapters/escrow.py",
        'if member(page, "KeyCount", of=SERVICE):',
        'if page.get("Contents"):',
    ),
    Guard(
        "pre-flight: whatever happens, the lease is released",
        ATTEMPT,
        "    except Exception as exc:\n        with suppress(TokenBrokerError):",
        "    except TokenBrokerError as exc:\n        with suppress(TokenBrokerError):",
    ),
    Guard(
        "escrow: whoever claims a row looks there first",
        LANDING,
        "    if leased.unsettled <= 1 and status is None:\n",
        "    if leased.unsettled >= 0:\n",
    ),
    Guard(
        "escrow: a reloaded redirect looks there",
        EXCHANGE,
        "kept = broker.escrow.find(connection_id, found.generation + 1)",
        "kept = None",
    ),
    Guard(
        "refusals: none ends before a quarter of an hour of them",
        SUSPICION,
        "sent_at - suspect.streak_since >= UNBROKEN_FOR",
        "sent_at - suspect.streak_since >= 0",
    ),
    Guard(
        "refusals: a look that went unanswered breaks their streak",
        REFRESH,
        "        suspect=unanswered(leased.suspected),\n",
        "        suspect=leased.suspected,\n",
    ),
    Guard(
        "refusals: without a witness the hours of the parameter must have passed",
        REFUSAL,
        "is_over = refused.sent_at - found.since >= end_after",
        "is_over = refused.sent_at - found.since >= 0",
    ),
    Guard(
        "refusals: only the schedule ends a connection",
        REFRESH,
        "raise record_suspicion(broker, refused) from None",
        "broker.connections.end(  # type: ignore\n"
        "            leased, reason=refused.suspect.reason,\n"
        "            due_at=0, keep_until=0, now=broker.clock()\n"
        "        )\n"
        "        raise",
    ),
    Guard(
        "witness: answered at least ten minutes after the first refusal",
        SUSPICION,
        "earliest = suspect.streak_since + WITNESS_AFTER",
        "earliest = suspect.streak_since",
    ),
    Guard(
        "witness: answered some time before the look",
        SUSPICION,
        "witness.answered_at <= sent_at - WITNESS_RIPE",
        "witness.answered_at <= sent_at",
    ),
    Guard(
        "witness: of the same connector",
        f"{CORE}/store/control.py",
        'found = self._read_known().get(f"answered#{connector}")',
        "known = self._read_known()\n"
        '        found = next((known[one] for one in known if one.startswith("answered#")), None)',
    ),
    Guard(
        "witness: nobody to its own end",
        SUSPICION,
        " or witness.connection_id == connection_id:",
        ":",
    ),
    Guard(
        "witness: whoever is refused itself is not asked",
        REFUSAL,
        " or row.status is not Status.ACTIVE or row.suspected:",
        " or row.status is not Status.ACTIVE:",
    ),
    Guard(
        "daily try: only where the login is nobody else's",
        DAILY_TRY,
        "return owner is None or owner.id == leased.id",
        "return owner is None or owner.id is not None",
    ),
    Guard(
        "daily try: only of what ended by refusal",
        DAILY_TRY,
        "leased.reason not in ENDED_BY_REFUSAL",
        "leased.reason is not None",
    ),
    Guard(
        "daily try: looks into escrow first",
        DAILY_TRY,
        "recover(broker, leased, status=Status.ACTIVE) or refresh_held(",
        "refresh_held(",
    ),
    Guard(
        "daily try: counts nowhere",
        DAILY_TRY,
        "    except GrantRefused:\n",
        "    except GrantRefused as found:\n"
        "        broker.control.refusal_met(connector=leased.connector, earlier_at=None)\n"
        '        broker.record("grant_refused", connection_id=found.leased.id)\n',
    ),
    Guard(
        "breaker: callers wait",
        ATTEMPT,
        "if until is not None and now < until + CANARY_PATIENCE:",
        "if until is not None and now < 0:",
    ),
    Guard(
        "breaker: the schedule waits",
        SCHEDULE,
        "if paused_until is not None and paused_until > now:",
        "if paused_until is not None and now < 0:",
    ),
    Guard(
        "breaker: a refused canary stops the run",
        SCHEDULE,
        "if (until is not None and until > broker.clock()) or (ours and not run.answered):",
        "if ours and not run.answered:",
    ),
    Guard(
        "unreached: a run that meets nothing of Akoya stops",
        SCHEDULE,
        "is_cut_off = len(self.unreached) >= MOST_UNREACHED and not self.answered",
        "is_cut_off = len(self.unreached) < 0",
    ),
    Guard(
        "unreached: not once Akoya has answered somebody",
        SCHEDULE,
        "is_cut_off = len(self.unreached) >= MOST_UNREACHED and not self.answered",
        "is_cut_off = len(self.unreached) >= MOST_UNREACHED",
    ),
    Guard(
        "deadline: no refresh without time to persist its answer",
        ATTEMPT,
        "    Grant.REFRESH_TOKEN: REFRESH_BUDGET,",
        "    Grant.REFRESH_TOKEN: 0,",
    ),
    Guard(
        "deadline: no exchange without time to persist its answer",
        ATTEMPT,
        "    Grant.AUTHORIZATION_CODE: SEND_BUDGET,",
        "    Grant.AUTHORIZATION_CODE: 0,",
    ),
    Guard(
        "single-use state: one delivery exchanges the code",
        EXCHANGE,
        "        if not self.finishing.authorizations.begin_exchange(\n",
        "        if None is self.finishing.authorizations.begin_exchange(\n",
    ),
    Guard(
        "single-use state: a code that may have been sent is not sent again",
        EXCHANGE,
        "if not self.finishing.authorizations.mark_sent(row.id, attempt=self.attempt):",
        "if row.id is None:",
    ),
    Guard(
        "cookie binding",
        CALLBACK,
        "if cookie is None or not authorization.matches(cookie, opening.cookie_hash):",
        "if cookie is None:",
    ),
    Guard(
        "code binding: a new link needs the nonce",
        CODE_BINDING,
        "        case CodeBinding.NONCE:\n            return False\n",
        "        case CodeBinding.NONCE:\n            return True\n",
    ),
    Guard(
        "code binding: PKCE that was not sent binds nothing",
        CODE_BINDING,
        "        case CodeBinding.PKCE:\n            return opening.sent_pkce\n",
        "        case CodeBinding.PKCE:\n            return True\n",
    ),
    Guard(
        "code binding: a foreign nonce is refused",
        CODE_BINDING,
        "return _nonce_in(broker, tokens) not in (None, authorization.nonce(cookie))",
        "return _nonce_in(broker, tokens) is cookie",
    ),
    Guard(
        "code binding: a set that is not to be used never becomes a connection",
        LANDING,
        "    if status is Status.LINKING and landing.verdict is Verdict.BAD:\n",
        "    if status is Status.LINKING and landing.generation < 0:\n",
    ),
    Guard(
        "PKCE: the verifier goes where the challenge went, and only there",
        EXCHANGE,
        "authorization.code_verifier(self.cookie) if self.opening.sent_pkce else None",
        "authorization.code_verifier(self.cookie)",
    ),
    Guard(
        "return_to: nobody says in it what only the broker may say",
        AUTHORIZE,
        "    if authorization.carries_own_parameters(return_to):\n",
        '    if authorization.carries_own_parameters(""):\n',
    ),
    Guard(
        "requests: an id is checked before the table is asked",
        HTTP_API,
        "    if found is not None and not CONNECTION_ID.fullmatch(found):\n",
        "    if found is not None and not CONNECTION_ID:\n",
    ),
    Guard(
        "requests: text that no table takes is refused",
        HTTP_API,
        "    if len(text) > LONGEST_PARAMETER or not text.isprintable():\n",
        "    if len(text) < 0:\n",
    ),
    Guard(
        "open attempts: one subject has so many at once",
        AUTHORIZE,
        "    if until is not None:\n        raise TooManyAttempts",
        "    if until == 0:\n        raise TooManyAttempts",
    ),
    Guard(
        "open attempts: one that has ended frees its place",
        CALLBACK,
        "        authorizations.vacate(row)\n",
        "        pass\n",
    ),
    Guard(
        "client secret: nobody is sent out whose code could not be exchanged",
        AUTHORIZE,
        "    if not broker.secret_presence.is_set():\n",
        "    if broker.secret_presence is None:\n",
    ),
    Guard(
        "front channel: one person alone pages nobody",
        f"{CORE}/use_cases/front_channel.py",
        "    if met >= SUBJECTS:\n",
        "    if met >= 0:\n",
    ),
    Guard(
        "front channel: what many people meet pages",
        f"{CORE}/use_cases/front_channel.py",
        "    if met >= SUBJECTS:\n",
        "    if met < 0:\n",
    ),
    Guard(
        "issuer: a redirect of another provider's is refused",
        CALLBACK,
        "if response.issuer is not None and not broker.id_tokens.accepts_issuer(response.issuer):",
        "if response.issuer is not None and row is None:",
    ),
    Guard(
        "issuer: keys of another provider's check nothing",
        f"{CORE}/adapters/signing_keys.py",
        "                if self._strict:\n                    return  # OpenID Connect",
        "                if self is None:\n                    return  # OpenID Connect",
    ),
    Guard(
        "keys come over the same scheme as what announced them",
        f"{CORE}/adapters/signing_keys.py",
        "if urlsplit(jwks_uri)[:2] != urlsplit(self._discovery_url)[:2]:",
        "if urlsplit(jwks_uri)[1] != urlsplit(self._discovery_url)[1]:",
    ),
    Guard(
        "id_token: not before its time",
        f"{CORE}/adapters/id_token.py",
        'if "nbf" in payload and not',
        'if "nbf" in () and not',
    ),
    Guard(
        "login pointer: who confirms takes the login over",
        LINKING,
        "self._rows.transact(confirmed, *_ownership(row, owner, now=now))",
        "self._rows.transact(confirmed)",
    ),
    Guard(
        "login pointer: who renews takes the login over",
        LINKING,
        "if moves := _ownership(connection, owner, now=now):",
        "if moves := list[Write]():",
    ),
    Guard(
        "same login: another subject's link is no re-consent",
        LOGIN,
        "return owner.subject == linked.subject and owner.status in IN_USE",
        "return owner.status in IN_USE",
    ),
    Guard(
        "same login: a link whose process died is settled by the schedule",
        SCHEDULE,
        'settle_login(broker, leased, lease_id=leased.lease.id if leased.lease else "")',
        "pass",
    ),
    Guard(
        "same login: a link is over before what it ended can end",
        f"{CORE}/domain/refresh_policy.py",
        "CONFIRM_WITHIN = 600",
        "CONFIRM_WITHIN = 900",
    ),
    Guard(
        "transfer: a set is transferred once",
        LOGIN,
        "is_done = heir.consent is not None and heir.consent == leased.consent",
        "is_done = heir.consent is None and leased.consent is None",
    ),
    Guard(
        "transfer: the later consent wins",
        LOGIN,
        "heir.iat > leased.iat",
        "heir.iat > leased.iat + heir.iat",
    ),
    Guard(
        "transfer: a re-consent wins over an earlier link that is confirmed before it",
        LOGIN,
        "if leased.superseded_by and not (rival and is_later(rival, leased)):",
        "if leased.superseded_by and not rival:",
    ),
    Guard(
        "transfer: one that has to wait is due in the next run",
        SCHEDULE,
        "except (RefreshInProgress, StaleGeneration, SetEscrowed):",
        "except SetEscrowed:",
    ),
    Guard(
        "transfer: it comes before the set is erased",
        SCHEDULE,
        "is_owed = leased.superseded_by and leased.sealed",
        "is_owed = leased.superseded_by and leased.keep_until",
    ),
    Guard(
        "transfer: a set that is another connection's is not revoked by a disconnect",
        ENDINGS,
        "exists() & ~is_over & names_no_other()",
        "exists() & ~is_over",
    ),
    Guard(
        "transfer: a set whose connection was disconnected is",
        LOGIN,
        "        if named.status in RENEWABLE:\n            return named",
        "        return named",
    ),
    Guard(
        "superseded: nobody is whom another attempt holds",
        LINKING,
        "as_seen(seen) & (is_free(now) | held_by(lease_id))",
        "as_seen(seen)",
    ),
    Guard(
        "superseded: a renewal of the id first given is refused",
        f"{CORE}/use_cases/authorize.py",
        "if found.superseded_by:",
        "if not found.subject:",
    ),
    Guard(
        "login pointer: nobody is superseded who may be getting tokens",
        LINKING,
        "_superseded(now), as_seen(loser) & is_free(now))",
        "_superseded(now), as_seen(loser))",
    ),
    Guard(
        "login pointer: nobody is superseded who holds other tokens than it was judged by",
        LINKING,
        "as_seen(loser) & is_free(now)",
        "is_in(loser.status) & is_free(now)",
    ),
    Guard(
        "confirmation: not once its time is over",
        LINKING,
        "if row.keep_until is not None and row.keep_until - CLOCK_SKEW <= now:",
        "if row.keep_until is not None and row.keep_until <= 0:",
    ),
    Guard(
        "identity row: nothing is sent from a copy",
        HOME,
        "if differing := recorded.unlike(home):",
        "if differing := recorded.unlike(recorded):",
    ),
    Guard(
        "identity row: nothing is sent to another provider",
        IDENTITY,
        "ours, theirs = asdict(self), asdict(other)",
        'ours, theirs = asdict(self) | {"provider": ""}, asdict(other) | {"provider": ""}',
    ),
    Guard(
        "identity row: the first set that lands binds the table",
        CONNECTIONS,
        "        self._identity.bind()\n        return landed\n",
        "        return landed\n",
    ),
    Guard(
        "identity row: until then everything may be corrected",
        IDENTITY_ROW,
        "unbound = replace(home, provider=None)",
        "unbound = home",
    ),
    Guard(
        "login key: of two first writers one makes it",
        IDENTITY_ROW,
        "row = self._rows.update(Write(ID, keyed, is_unkeyed()))",
        "row = self._rows.update(Write(ID, keyed))",
    ),
    Guard(
        "login key: an adopted table keeps its own",
        IDENTITY_ROW,
        "        self._rows.transact(_belongs_to(home))",
        '        self._rows.put(versioned({"id": ID, **asdict(home)}))',
    ),
    Guard(
        "login key: what is hashed under another one is not compared",
        LANDING,
        "    if not are_comparable(known, found):\n        known = None",
        "    if not are_comparable(known, found):\n        pass",
    ),
    Guard(
        "login key: nor is a renewal called another login's",
        EXCHANGE,
        "if rows.renewed and is_new and are_comparable(rows.renewed.login, landed.login):",
        "if rows.renewed and is_new:",
    ),
    Guard(
        "login key: the pointer follows a login that was hashed anew",
        REFRESH,
        "            settle_login(broker, landed)",
        "            pass",
    ),
    Guard(
        "export: what was taken out is not sent again",
        SCHEDULE,
        "NOT_OURS_TO_END = frozenset({Reason.EXPORTED, Reason.SUPERSEDED})",
        "NOT_OURS_TO_END = frozenset({Reason.SUPERSEDED})",
    ),
    Guard(
        "superseded: its set is erased, never revoked or given to its successor",
        SCHEDULE,
        "leased.sealed is not None and leased.reason not in NOT_OURS_TO_END",
        "leased.sealed is not None and leased.reason is not Reason.EXPORTED",
    ),
    Guard(
        "superseded: the schedule erases its set at once",
        LINKING,
        '        keep_until=None,\n        last_event="superseded",\n',
        '        last_event="superseded",\n',
    ),
    Guard(
        "superseded: its bearer is not handed out",
        TOKEN,
        "case Status.REAUTH_REQUIRED | Status.SUPERSEDED:",
        "case Status.REAUTH_REQUIRED:",
    ),
    Guard(
        "quarantine: an ended set is kept for its time",
        SCHEDULE,
        "    if leased.sealed is None or (leased.keep_until or 0) <= now:",
        "    if leased.sealed is None or leased.keep_until:",
    ),
    Guard(
        "going: a row that is given a token set stays",
        CONNECTION_ROW,
        '    if row.get("token_set") or row.get("lease_id"):\n',
        '    if row.get("lease_id"):\n',
    ),
    Guard(
        "going: a row that is claimed stays, since a token set may come",
        CONNECTION_ROW,
        '    if row.get("token_set") or row.get("lease_id"):\n',
        '    if row.get("token_set"):\n',
    ),
    Guard(
        "going: a connection that comes back keeps its login",
        LINKING,
        "owner.id == winner.id and not owner.is_going",
        "owner.id == winner.id",
    ),
    Guard(
        "going: whoever takes a login over keeps it",
        LINKING,
        '"schema": SCHEMA, "gone_at": None}',
        '"schema": SCHEMA}',
    ),
    Guard(
        "going: a set that lands where one was erased is tended",
        CONNECTIONS,
        "case Status.SUPERSEDED | Status.REAUTH_REQUIRED:",
        "case Status.SUPERSEDED:",
    ),
    Guard(
        "seal: a set opens for its own person and connector alone",
        SEAL,
        "parts = (self.environment, self.connection_id, generation, self.subject, self.connector)",
        "parts = (self.environment, self.connection_id, generation)",
    ),
    Guard(
        "deadline: the connection is shut at it, whatever of the answer has come",
        DEADLINE,
        "self._handle.shutdown(socket.SHUT_RD)",
        "self._handle.getpeername()",
    ),
    Guard(
        "trust: a certificate is required",
        DEADLINE,
        'conn.cert_reqs = "CERT_REQUIRED"',
        'conn.cert_reqs = "CERT_NONE"',
    ),
    Guard(
        "trust: what all connections share is not switched off for one",
        DEADLINE,
        "        if verify is not True or cert is not None:\n",
        "        if verify is None:\n",
    ),
    Guard(
        "deadline: nothing is sent after it",
        DEADLINE,
        "            if self.expired:\n                raise TimeoutError",
        "            if self._handle:\n                raise TimeoutError",
    ),
    Guard(
        "cut answer: what its end cost is no answer",
        AKOYA,
        "return body, Outcome.TIMEOUT if deadline.expired else None",
        "return body, None",
    ),
    Guard(
        "cut answer: what had come of it is kept",
        AKOYA,
        "        content = whole_members(wire.body)\n",
        "        content = {}\n",
    ),
    Guard(
        "cut answer: a whole one that is no JSON is none",
        AKOYA,
        "    if content is None and wire.cut:\n",
        "    if content is None:\n",
    ),
    Guard(
        "cut answer: a refresh token that did not come is not the old one",
        AKOYA,
        '        if _secret(content, "refresh_token") is None:\n',
        "        if not content:\n",
    ),
    Guard(
        "cut answer: top-level members alone",
        CUT_ANSWER,
        "            members[name] = value\n",
        "            members |= {name: value} | (value if isinstance(value, dict) else {})\n",
    ),
    Guard(
        "cut answer: a value is read to its end",
        CUT_ANSWER,
        'if text[at : at + 1] in (",", "}") or (closes_itself and not text[at:]):',
        "if closes_itself or True:",
    ),
    Guard(
        "cut answer: the living bearer stays",
        REFRESH,
        "        is_bearer_kept=is_kept,\n",
        "        is_bearer_kept=False,\n",
    ),
    Guard(
        "cut answer: a rejected bearer does not stay",
        REFRESH,
        "leased.remaining(broker.clock()) > 0 and leased.rejected != leased.generation",
        "leased.remaining(broker.clock()) > 0",
    ),
    Guard(
        "revoke: a refusal is no proof",
        f"{CORE}/domain/outcome.py",
        "(Outcome.GRANT_DEAD, _REVOKE): Reaction.SUSPECT,",
        "(Outcome.GRANT_DEAD, _REVOKE): Reaction.ERASE,",
    ),
    Guard(
        "revoke: without proof a set is kept for the quarantine",
        REVOKE,
        "return broker.clock() >= since + quarantine and",
        "return",
    ),
    Guard(
        "revoke: a set is not given up over a look or two",
        REVOKE,
        " and leased.failures >= len(LOOKS_AFTER)",
        "",
    ),
    Guard(
        "revoke: a page is not Akoya's word",
        AKOYA,
        "is_done = not wire.body if content is None else",
        "is_done = True if content is None else",
    ),
    Guard(
        "revoke: an error is not done",
        AKOYA,
        'else "error" not in content',
        "else True",
    ),
    Guard(
        "rejection: a second one counts only right after the issue",
        REJECTION,
        "    return now - seen.issued_at <= soon\n",
        "    return now - seen.issued_at <= soon * 1_000\n",
    ),
    Guard(
        "rejection: right after is a quarter of a short life",
        REJECTION,
        "(seen.expires_at - seen.issued_at) // 4",
        "(seen.expires_at - seen.issued_at)",
    ),
    Guard(
        "rejection: one proof an hour",
        REJECTION,
        "    if wait > 0:\n",
        "    if wait > PROOF_INTERVAL:\n",
    ),
    Guard(
        "rejection: who rejects the proof too is told apart, however late it comes back",
        REJECTION,
        "            broker.connections.note_refused(seen)\n",
        "            pass\n",
    ),
    Guard(
        "rejection: it ends no connection",
        TOKEN,
        "        ensure_proof_is_due(broker, seen)\n",
        "        raise ReauthorizationRequired\n",
    ),
    Guard(
        "rejection: the generation after an unsettled row's may be known",
        TOKEN,
        "newest = seen.generation + (1 if seen.unsettled else 0)",
        "newest = seen.generation",
    ),
    Guard(
        "rejection: what was handed out of escrow is not handed out to the one who rejects it",
        TOKEN,
        "    if kept is None or landed.attempt_id != kept.attempt_id:\n",
        "    if kept is None or landed.attempt_id:\n",
    ),
    Guard(
        "waiting: who waits is told of a refusal",
        f"{CORE}/use_cases/wait.py",
        "            if row.suspected:\n",
        "            if row.generation < 0:\n",
    ),
    Guard(
        "waiting: who comes right behind a refusal is told of it",
        f"{CORE}/store/connections.py",
        "        if row.suspected:\n",
        "        if row.generation < 0:\n",
    ),
    Guard(
        "proof: one that cannot be noted serves",
        REJECTION,
        "    with suppress(UpstreamUnavailable):  # the set has landed",
        "    with suppress(ZeroDivisionError):  # the set has landed",
    ),
    Guard(
        "verdict: one that cannot be noted serves",
        f"{CORE}/use_cases/landing.py",
        "    with suppress(UpstreamUnavailable):  # it is checked again",
        "    with suppress(ZeroDivisionError):  # it is checked again",
    ),
    Guard(
        "witness: one that is away hastens no look",
        REFUSAL,
        "        if row.failures:  # it was asked",
        "        if row.generation < 0:  # it was asked",
    ),
    Guard(
        "waiting: only for a young lease",
        f"{CORE}/use_cases/wait.py",
        "        if not _is_young(row, now):\n",
        "        if row.lease is None:\n",
    ),
    Guard(
        "waiting: three seconds at the most",
        f"{CORE}/use_cases/wait.py",
        "PAUSES = (0.25, 0.5, 1.0, 1.0)",
        "PAUSES = (0.25, 0.5, 1.0, 1.0) * 2",
    ),
    Guard(
        "waiting: nobody who can be served",
        TOKEN,
        "            not refused\n            and seen.remaining(broker.clock())\n",
        "            broker.clock() < 0\n            and seen.remaining(broker.clock())\n",
    ),
    Guard(
        "audit: a refused request leaves its line, too",
        HTTP_API,
        "            audit.write(outcome)  # nothing leaves before it\n",
        '            if outcome == "ok":\n                audit.write(outcome)\n',
    ),
    Guard(
        "audit: nothing leaves before the line",
        HTTP_API,
        "            audit.write(outcome)  # nothing leaves before it\n",
        "            try:\n                audit.write(outcome)\n"
        "            except Exception:\n                pass\n",
    ),
    Guard(
        "audit: an operator's command does nothing without its line",
        OPERATIONS,
        "    trail.write(plan.act, plan.about)\n",
        "    try:\n        trail.write(plan.act, plan.about)\n"
        "    except Exception:\n        pass\n",
    ),
    *(
        Guard(f"alarm: {event} reaches somebody", OBSERVABILITY, f'    "{event}": "{alarm}",\n', "")
        for alarm, events in ALARMS.items()
        for event in events
    ),
    Guard(
        "alarm: a run in vain is missed",
        MEASURE,
        "if since is None and (lag",
        "if (lag",
    ),
    Guard(
        "alarm: idle runs between those in vain are missed, too",
        MEASURE,
        "before.in_vain_since or (now if in_vain else None)",
        "(now if in_vain else None)",
    ),
    Guard(
        "alarm: a run that lags is missed",
        MEASURE,
        "lag <= LAG_ALLOWED or",
        "lag >= 0 or",
    ),
    Guard(
        "alarm: one that names a cause speaks for the lag it leaves behind",
        MEASURE,
        "explained_until=now + SPOKEN_FOR if alarmed or is_outage else before.explained_until",
        "explained_until=now if alarmed or is_outage else before.explained_until",
    ),
    Guard(
        "alarm: one that names a cause speaks for expired bearers",
        MEASURE,
        "if before.in_vain_since is None and before.explained_until <= now:",
        "if before.in_vain_since is None:",
    ),
    Guard(
        "alarm: an outage is no alarm on bearers as well",
        MEASURE,
        "if before.in_vain_since is None and before.explained_until <= now:",
        "if before.explained_until <= now:",
    ),
    Guard(
        "alarm: a run that failed for a named cause is not missed",
        "functions/refresh/app.py",
        "            account_for_failure(broker)\n",
        "            pass\n",
    ),
    Guard(
        "subject: another's connection is not found",
        SUBJECT,
        "if subject is not None and subject != connection.subject:",
        "if subject is not None and not connection.subject:",
    ),
    Guard(
        "unreadable: a set that landed meanwhile is not noted so",
        TOKEN,
        "    else:\n        raise StaleGeneration\n",
        "    else:\n        broker.connections.note_unreadable(leased)\n",
    ),
    Guard(
        "callback: its failure names the connection",
        CALLBACK,
        "        exc.about = row.visible_id  # type: ignore[attr-defined]",
        "        exc.about = None  # type: ignore[attr-defined]",
    ),
    Guard(
        "callback: a failure nobody expected names its connection, too",
        CALLBACK,
        "    except Exception as exc:\n        exc.about",
        "    except TokenBrokerError as exc:\n        exc.about",
    ),
    Guard(
        "sweep: past a thousand objects",
        f"{CORE}/adapters/escrow.py",
        'pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, '
        "**which)\n",
        "pages = [self._client.list_objects_v2(Bucket=self._bucket, **which)]\n",
    ),
    Guard(
        "sweep: once in a quarter of an hour",
        SCHEDULE,
        "    if now % ESCROW_SWEPT_EVERY < RUN_EVERY:\n",
        "    if now % ESCROW_SWEPT_EVERY >= 0:\n",
    ),
    Guard(
        "sweep: a copy whose row is gone is reported once",
        ESCROW,
        "        broker.escrow.discard(connection_id, generation, attempt_id)\n        return\n",
        "        return\n",
    ),
    Guard(
        "sweep: a copy whose row may still take it is kept",
        ESCROW,
        "    if is_needed:\n",
        "    if is_needed and generation < 0:\n",
    ),
    Guard(
        "sweep: one whose row does not read hides no other",
        ESCROW,
        "            except (RowUnreadable, RowNewer) as exc:",
        "            except ZeroDivisionError as exc:",
    ),
    Guard(
        "measure: bearers that expired in use are counted",
        MEASURE,
        "    expired = sum(expires_at <= now for expires_at in expiries)\n",
        "    expired = sum(expires_at < 0 for expires_at in expiries)\n",
    ),
    Guard(
        "measure: one bearer alone is no share",
        MEASURE,
        "if expired > 1 else 0\n",
        "if expired > 0 else 0\n",
    ),
    Guard(
        "measure: each run measures",
        SCHEDULE,
        "    measure_expired(broker)\n",
        "    broker.clock()\n",
    ),
    Guard(
        "measure: what cannot be measured is tended all the same",
        MEASURE,
        "    except UpstreamUnavailable:",
        "    except ZeroDivisionError:",
    ),
    Guard(
        "measure: the failed share of a run",
        MEASURE,
        "value=100 * len(set(failed)) // len(attempted)",
        "value=0 * len(set(failed)) // len(attempted)",
    ),
    Guard(
        "malformed: its bearer is not handed out",
        TOKEN,
        "    if seen.malformed:\n",
        "    if seen.generation < 0:\n",
    ),
    Guard(
        "malformed: nothing of it is sent",
        ATTEMPT,
        "    if leased.malformed and leased.status is not Status.REVOKE_PENDING:",
        "    if leased.generation < 0:",
    ),
    Guard(
        "malformed: its consent is revoked all the same",
        ATTEMPT,
        "    if leased.malformed and leased.status is not Status.REVOKE_PENDING:",
        "    if leased.malformed:",
    ),
    Guard(
        "malformed: what a claim asks for must read",
        CONDITIONS,
        "Absent(name) | IsA(name, int) for name",
        "Absent(name) | IsA(name, int) | exists() for name",
    ),
    Guard(
        "malformed: what does not say whose it is is not claimed",
        CONDITIONS,
        'IsA("subject", str) & IsA("connector", str)',
        '(IsA("subject", str) | IsA("connector", str))',
    ),
    Guard(
        "malformed: nothing of a later version's row is claimed",
        CONDITIONS,
        'is_known = Absent("schema") | AtMost("schema", SCHEMA)',
        "is_known = exists()",
    ),
    Guard(
        "malformed: a later version's row stops no run and stands in nobody's way",
        SCHEDULE,
        "    except RowNewer as exc:\n",
        "    except ZeroDivisionError as exc:\n",
    ),
    Guard(
        "malformed: what fails in a way nobody expected stands in nobody's way",
        SCHEDULE,
        "        _push_back(broker, connection_id, failures=0)  # one that is claimed",
        "        pass  # one that is claimed",
    ),
    Guard(
        "malformed: a new consent removes what does not read",
        EXCHANGE,
        "            if seen.malformed:\n",
        "            if seen.generation < 0:\n",
    ),
    Guard(
        "malformed: its next generation is above any that was issued",
        CONNECTIONS,
        '            "generation": now,\n',
        '            "generation": 0,\n',
    ),
    Guard(
        "malformed: only what was seen not to read is removed",
        CONDITIONS,
        "Equals(name, row[name]) if name in row",
        "exists() if name in row",
    ),
    Guard(
        "malformed: its callers page nobody",
        f"{CORE}/domain/errors.py",
        '    event = "request_failed"\n    error = "record_unreadable"\n',
        '    event = "row_unreadable"\n    error = "record_unreadable"\n',
    ),
    Guard(
        "malformed: it is told once however often it is asked for",
        TOKEN,
        " and broker.connections.note_unreadable(leased):\n",
        " or broker.connections.note_unreadable(leased) is not None:\n",
    ),
    Guard(
        "malformed: it hides no other row of a list",
        READING,
        "            except (RowNewer, RowUnreadable) as exc:\n",
        "            except RowNewer as exc:\n",
    ),
    Guard(
        "malformed: as an owner it is left as it is",
        READING,
        "        if found.malformed:\n",
        "        if found.generation < 0:\n",
    ),
    Guard(
        "malformed: a consent its owner may need is not revoked",
        LOGIN,
        "    if owner and owner.is_unreadable and owner.id != leased.id:\n",
        "    if owner and owner.is_unreadable and owner.id == leased.id:\n",
    ),
    Guard(
        "malformed: its set replaces no other's",
        LOGIN,
        "if leased.malformed or is_earlier:",
        "if is_earlier:",
    ),
    Guard(
        "malformed: it is not confirmed over a good connection",
        f"{CORE}/use_cases/connections.py",
        "    if is_pending and seen.malformed:\n",
        "    if is_pending and seen.generation < 0:\n",
    ),
    Guard(
        "unreadable: it is told to renew, not to wait",
        TOKEN,
        "    if seen.unreadable == seen.generation:\n",
        "    if seen.generation < 0:\n",
    ),
)
