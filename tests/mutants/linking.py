"""The guards of a consent: the way out and back, its code, and whose login it is."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "code: an unused one is reopened again where that fails",
        "use_cases/exchange.py::REOPEN_TRIES",
        "REOPEN_TRIES = 3",
        "REOPEN_TRIES = 1",
    ),
    Guard(
        "code: an unused one is reopened before anything is tidied",
        "use_cases/exchange.py::Exchange._let_go",
        (
            "if sent.reaction in CODE_UNUSED:\n"
            "    self._reopen()\n"
            "with suppress(TokenBrokerError):\n"
            "    self._tidy(rows, None)"
        ),
        "with suppress(UpstreamUnavailable):\n    self._tidy(rows, None)",
    ),
    Guard(
        "single-use state: one delivery exchanges the code",
        "use_cases/exchange.py::Exchange.result",
        (
            "not self.finishing.authorizations.begin_exchange(row.id, attempt=self.lease, "
            "now=broker.clock())"
        ),
        (
            "None is self.finishing.authorizations.begin_exchange(row.id, "
            "attempt=self.lease, now=broker.clock())"
        ),
    ),
    Guard(
        "single-use state: a code that may have been sent is not sent again",
        "use_cases/exchange.py::Exchange._prepare",
        "not self.finishing.authorizations.mark_sent(row.id, attempt=self.lease)",
        "row.id is None",
    ),
    Guard(
        "cookie binding",
        "use_cases/callback.py::_cookie_of",
        "cookie is None or not authorization.matches(cookie, opening.cookie_hash)",
        "cookie is None",
    ),
    Guard(
        "PKCE: the verifier goes where the challenge went, and only there",
        "use_cases/exchange.py::Exchange._post",
        "authorization.code_verifier(self.cookie) if self.opening.sent_pkce else None",
        "authorization.code_verifier(self.cookie)",
    ),
    Guard(
        "return_to: nobody says in it what only the broker may say",
        "use_cases/authorize.py::begin",
        "authorization.carries_own_parameters(return_to)",
        "authorization.carries_own_parameters('')",
    ),
    Guard(
        "open attempts: one subject has so many at once",
        "use_cases/authorize.py::begin",
        "until is not None",
        "until == 0",
    ),
    Guard(
        "open attempts: one that has ended frees its place",
        "use_cases/callback.py::finish",
        "authorizations.vacate(row)",
        "pass",
    ),
    Guard(
        "front channel: one person alone pages nobody",
        "use_cases/front_channel.py::note_front_channel_error",
        "met >= SUBJECTS",
        "met >= 0",
    ),
    Guard(
        "front channel: what many people meet pages",
        "use_cases/front_channel.py::note_front_channel_error",
        "met >= SUBJECTS",
        "met < 0",
    ),
    Guard(
        "issuer: a redirect of another provider's is refused",
        "use_cases/callback.py::finish",
        "not broker.id_tokens.accepts_issuer(response.issuer)",
        "row is None",
    ),
    Guard(
        "issuer: keys of another provider's check nothing",
        "adapters/signing_keys.py::SigningKeys._look_up_after",
        "self._strict",
        "self is None",
    ),
    Guard(
        "login pointer: who confirms takes the login over",
        "store/linking.py::Linking.confirm",
        "self._rows.transact(confirmed, *_ownership(row, owner, now=now))",
        "self._rows.transact(confirmed)",
    ),
    Guard(
        "login pointer: who renews takes the login over",
        "store/linking.py::Linking.own",
        "_ownership(connection, owner, now=now)",
        "list[Write]()",
    ),
    Guard(
        "same login: another subject's link is no re-consent",
        "use_cases/login.py::settle_login",
        "rival and rival.subject == linked.subject and rival.status in IN_USE",
        "rival and rival.status in IN_USE",
    ),
    Guard(
        "same login: a link whose process died is settled by the schedule",
        "use_cases/schedule.py::_expire",
        "settle_login(broker, leased, lease_id=leased.lease.id if leased.lease else '')",
        "pass",
    ),
    Guard(
        "same login: a link is over before what it ended can end",
        "domain/refresh_policy.py::CONFIRM_WITHIN",
        "CONFIRM_WITHIN = 600",
        "CONFIRM_WITHIN = 900",
    ),
    Guard(
        "transfer: a set is transferred once",
        "use_cases/login.py::transfer",
        "heir.consent is not None and heir.consent == leased.consent",
        "heir.consent is None and leased.consent is None",
    ),
    Guard(
        "transfer: the later consent wins",
        "use_cases/login.py::transfer",
        "heir.iat > leased.iat",
        "heir.iat > leased.iat + heir.iat",
    ),
    Guard(
        "transfer: a re-consent wins over an earlier link that is confirmed before it",
        "use_cases/login.py::heir_of",
        "rival and is_later(rival, leased)",
        "rival",
    ),
    Guard(
        "transfer: one that has to wait is due in the next run",
        "use_cases/schedule.py::_ended_at_akoya",
        "(RefreshInProgress, StaleGeneration, SetEscrowed)",
        "SetEscrowed",
    ),
    Guard(
        "transfer: it comes before the set is erased",
        "use_cases/schedule.py::_erase",
        "leased.superseded_by and leased.sealed",
        "leased.superseded_by and leased.keep_until",
    ),
    Guard(
        "transfer: a set that is another connection's is not revoked by a disconnect",
        "store/endings.py::Endings.ask_revoke",
        "exists() & ~is_over & names_no_other()",
        "exists() & ~is_over",
    ),
    Guard(
        "transfer: a set whose connection was disconnected is",
        "use_cases/login.py::_named_by",
        "named if named and named.status in RENEWABLE else None",
        "named",
    ),
    Guard(
        "transfer: a set whose connection's row is gone is revoked, too",
        "use_cases/login.py::_named_by",
        "ConnectionNotFound",
        "KeyError",
    ),
    Guard(
        "transfer: one that was overtaken lands above nothing",
        "use_cases/landing.py::land",
        "new.consent != new.attempt_id",
        "new.consent is None",
    ),
    Guard(
        "landing: a consent replaces no set that descends from it",
        "use_cases/landing.py::land",
        "target.consent == new.consent",
        "target.consent is None",
    ),
    Guard(
        "superseded: nobody is whom another attempt holds",
        "store/linking.py::Linking.supersede",
        "as_seen(seen) & (is_free(now) | held_by(lease_id))",
        "as_seen(seen)",
    ),
    Guard(
        "superseded: a renewal of the id first given is refused",
        "use_cases/authorize.py::_ensure_renewable",
        "if found.superseded_by:\n    raise AlreadyConnected(found.superseded_by)",
        "if not found.subject:\n    raise AlreadyConnected(found.superseded_by)",
    ),
    Guard(
        "login pointer: nobody is superseded who may be getting tokens",
        "store/linking.py::_ownership",
        "as_seen(loser) & is_free(now)",
        "as_seen(loser)",
    ),
    Guard(
        "login pointer: nobody is superseded who holds other tokens than it was judged by",
        "store/linking.py::_ownership",
        "as_seen(loser)",
        "is_in(loser.status)",
    ),
    Guard(
        "confirmation: not once its time is over",
        "store/linking.py::Linking.confirm",
        "row.keep_until - CLOCK_SKEW <= now",
        "row.keep_until <= 0",
    ),
    Guard(
        "login key: of two first writers one makes it",
        "store/identity.py::IdentityRow._read",
        "Write(ID, keyed, is_unkeyed())",
        "Write(ID, keyed)",
    ),
    Guard(
        "login key: an adopted table keeps its own",
        "store/identity.py::IdentityRow.adopt",
        "self._rows.transact(_belongs_to(home))",
        "self._rows.put(versioned({'id': ID, **asdict(home)}))",
    ),
    Guard(
        "login key: what is hashed under another one is not compared",
        "use_cases/landing.py::_sealed",
        "known = None",
        "pass",
    ),
    Guard(
        "login key: nor is a renewal called another login's",
        "use_cases/exchange.py::Exchange._land",
        "rows.renewed and is_new and are_comparable(rows.renewed.login, landed.login)",
        "rows.renewed and is_new",
    ),
    Guard(
        "login key: the pointer follows a login that was hashed anew",
        "use_cases/refresh.py::_landed",
        "settle_login(broker, landed)",
        "pass",
    ),
    Guard(
        "superseded: its set is erased, never revoked or given to its successor",
        "use_cases/schedule.py::_revoke",
        "leased.reason not in NOT_OURS_TO_END",
        "leased.reason is not Reason.EXPORTED",
    ),
    Guard(
        "superseded: the schedule erases its set at once",
        "store/linking.py::_superseded",
        "keep_until=None",
        "**{}",
    ),
    Guard(
        "superseded: its bearer is not handed out",
        "use_cases/token.py::_ensure_active",
        "raise ReauthorizationRequired",
        "return",
    ),
    Guard(
        "callback: its failure names the connection",
        "use_cases/callback.py::_telling_about",
        "row.visible_id",
        "None",
    ),
    Guard(
        "callback: a failure nobody expected names its connection, too",
        "use_cases/callback.py::_telling_about",
        "Exception",
        "TokenBrokerError",
    ),
)
