"""Many connections, processes, callers and faults, interleaved at random: the same promises hold.

`make test` walks a fixed set of schedules, `make soak` as many new ones as it is given; both shrink
what they find to the shortest schedule that shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from local.akoya_sandbox.people import Login
from tests.interleavings.cuts import Fault, Flow
from tests.interleavings.endings import DIALECTS, Watch, left_stuck, settle
from tests.interleavings.flows import (
    CALLBACK_TIMEOUT,
    REFRESH_TIMEOUT,
    TOKEN_TIMEOUT,
    Person,
    Prepared,
    sent_out,
)
from tests.interleavings.workers import Traffic, Worker
from tests.wiring import CLIENT_ID, CLIENT_SECRET, LOGIN_KEY
from tests.world import World
from token_broker.domain.connection import IN_USE, Connection, Status, login_of
from token_broker.domain.errors import TokenBrokerError
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.secret_text import SecretText

SUBJECTS = ("ada", "grace")
LOGINS = ("mikomo_1", "mikomo_2")
MOST_WORKERS = 6
SKEWS = (-2, 0, 2)  # seconds a machine's clock is wrong; Lambda's are closer
RACES = {Fault.RACED, Fault.LINKED, Fault.RENEWED}  # here others do come in between
FAULTS = tuple(fault for fault in Fault if fault not in RACES)
CHANGES = (
    "error_before_commit",
    "error_after_commit",
    "lost_before_commit",
    "lost_after_commit",
    "redirect",
    "html",
    "too_many_requests",
    "grant_dead",
    "Akoya behaves",
    "Akoya behaves",
    "a secret, at Akoya first",
    "a secret, at Akoya last",
    "the secret is right everywhere",
    "the secret is right everywhere",
    "a disconnect",
    "a consent ends at the bank",
)
STEPS = (  # where a fault hurts most; anywhere is the step that is next
    "anywhere",
    "token_endpoint.refresh",
    "token_endpoint.exchange",
    "connections.land",
    "connections.land",
    "connections.settle",
)
FARTHEST = 40  # steps
UNTIL_STALE = 860  # seconds, of a bearer's 900
A_DAY = 86_400
TOLD = (  # what the statistics of a soak count
    "breaker_opened",
    "connection_revoked",
    "connection_unconfirmed",
    "escrow_applied",
    "escrow_used",
    "exchange_lost",
    "grant_refused",
    "login_changed",
    "login_linked_again",
    "persist_retried",
    "reauthorization_required",
    "refresh_unanswered",
    "rotation_lost",
    "token_persist_failed",
    "token_set_transferred",
)
any_of = st.integers(0, 11)  # of so many that are there, by its place
skews = st.sampled_from(SKEWS)
steps = st.sampled_from(STEPS)


class RandomSchedule(RuleBasedStateMachine):
    """The parties' moves; after each, and at the end, nothing is lost that could be kept."""

    @initialize(dialect=st.sampled_from(DIALECTS))
    def begins(self, dialect: str) -> None:
        self.world = World.in_memory(dialect)
        self.traffic = Traffic(self.world.clock)
        self.watch = Watch(self.world)
        self.traffic.while_late = self.watch.nothing_leaves
        self.workers: list[Worker] = []
        self.people: list[Person] = []
        self.disconnected: set[str] = set()
        self.given_up = 0  # sets that neither table nor escrow took
        self.secrets = 0
        for subject, login in zip(SUBJECTS, LOGINS, strict=True):
            self.world.connect(subject, login)
        self.world.clock.advance(UNTIL_STALE)

    # ── the parties ──────────────────────────────────────────────────────────────────────────────

    @rule(subject=st.sampled_from(SUBJECTS), login=st.sampled_from(LOGINS), renews=st.booleans())
    def a_person_consents(self, subject: str, login: str, *, renews: bool) -> None:
        theirs = [row.id for row in self._rows() if row.subject == subject] if renews else []
        with suppress(TokenBrokerError):
            self.people.append(sent_out(self.world, subject, theirs[0] if theirs else None, login))

    @rule(person=any_of, skew=skews)
    def a_redirect_comes_in(self, person: int, skew: int) -> None:
        if self.people:
            chosen = self.people[person % len(self.people)]
            self._start(chosen.reads, does="callback", timeout=CALLBACK_TIMEOUT, skew=skew)

    @rule(person=any_of)
    def the_backend_confirms(self, person: int) -> None:
        if told := [one for one in self.people if one.told]:
            chosen = told[person % len(told)]
            self._start(chosen.is_vouched_for, does="confirm", timeout=TOKEN_TIMEOUT)

    @rule(skew=skews)
    def the_schedule_runs(self, skew: int) -> None:
        self._start(World.run_schedule, does="schedule", timeout=REFRESH_TIMEOUT, skew=skew)

    @rule(row=any_of, skew=skews)
    def a_caller_asks(self, row: int, skew: int) -> None:
        """Ask as an honest caller: what the data API refuses is named as rejected."""
        connection_id = self._one_of_the_rows(row)

        def asks(process: World) -> None:
            bearer = process.hand_out(connection_id)
            if not self.world.is_accepted(bearer):
                again = process.hand_out(connection_id, rejected=bearer.generation)
                assert again.generation > bearer.generation

        self._start(asks, does="token", timeout=TOKEN_TIMEOUT, skew=skew)

    # ── what goes on, and what goes wrong ────────────────────────────────────────────────────────

    @rule(worker=any_of, steps=st.integers(1, 12))
    def one_goes_on(self, worker: int, steps: int) -> None:
        self._goes_on(self._worker(worker), steps)

    @rule(steps=st.integers(1, 20))
    def all_go_on(self, steps: int) -> None:
        for worker in self.workers:
            self._goes_on(worker, steps)

    @rule(worker=any_of, step=steps, fault=st.sampled_from(FAULTS))
    def one_meets_a_fault(self, worker: int, step: str, fault: Fault) -> None:
        self._at(step, worker).goes_on(fault)

    @rule(worker=any_of, step=steps)
    def one_gives_up_what_happens_later(self, worker: int, step: str) -> None:
        self._at(step, worker).goes_on(late=True)

    @rule(seconds=st.sampled_from((1, 10, 31, 61, 97, 300, UNTIL_STALE, UNTIL_STALE)))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    @rule()
    def something_late_takes_effect(self) -> None:
        if self.traffic.late:
            self.traffic.lands(before=min(late.by for late in self.traffic.late))

    @rule(change=st.sampled_from(CHANGES), place=any_of)
    def the_world_changes(self, change: str, place: int) -> None:
        """What happens now and then."""
        match change:
            case "a secret, at Akoya first":
                self.secrets += 1
                self.world.provider.change_client_secret(self._secret())
            case "a secret, at Akoya last":
                self.secrets += 1
                self._put_secret(self._secret())
            case "the secret is right everywhere":
                self._secret_is_right()
            case "Akoya behaves":
                self.world.provider.disarm()
            case "a disconnect":
                self._is_disconnected(self._one_of_the_rows(place))
            case "a consent ends at the bank":
                self.world.provider.expire("consent", f"mikomo/{LOGINS[place % len(LOGINS)]}")
            case fault:
                self.world.provider.arm({"fault": fault, "times": 3})

    def _is_disconnected(self, connection_id: str) -> None:
        self.disconnected.add(connection_id)
        self._start(
            lambda process: process.broker.connections.ask_revoke(
                connection_id, now=process.clock()
            ),
            does="disconnect",
            timeout=TOKEN_TIMEOUT,
        )

    # ── what must hold ───────────────────────────────────────────────────────────────────────────

    @invariant()
    def no_rule_is_broken(self) -> None:
        if not hasattr(self, "world"):
            return
        self.traffic.lands(before=self.world.clock.now)
        self._end_what_is_over()
        assert self.traffic.complaints + self.watch.complaints == []
        holding = {row.id for row in self.world.memory.values() if row.sealed}
        assert not holding & self.world.memory.going.keys(), "the table would remove a token set"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for worker in self.workers:
            if worker.does == "schedule":
                worker.dies()
            while not worker.is_over:
                worker.goes_on()
        self.traffic.lands(before=float("inf"))
        self.world.provider.disarm()
        self._secret_is_right()
        self.no_rule_is_broken()
        settle(self.world, Prepared(lambda _: None, goes_on=self._people_go_on))
        self.world.clock.advance(A_DAY)
        settle(self.world, Prepared(lambda _: None))
        self.no_rule_is_broken()
        assert list(self._complaints()) == []
        for seen in {name for name, _ in self.world.events}.intersection(TOLD):
            event(seen)

    def _complaints(self) -> Iterator[str]:
        rows = {row.id: row for row in self._rows()}
        excused = {_hash_of(self.world, login) for login in self._excused()}
        for row in rows.values():
            yield from left_stuck(self.world, row)
            owner_of = self.world.broker.connections.owner_of(row.login or "")
            owner = rows.get(owner_of.id) if owner_of and not owner_of.is_going else None
            if row.status is Status.REVOKED and row.id not in self.disconnected:
                yield f"{row.id} was let go, and nobody had asked for it"
            if row.status is Status.ACTIVE and owner != row:
                yield f"{row.id} is in use, and its bank login is another one's"
            if row.status is Status.REAUTH_REQUIRED and row.login not in excused:
                yield f"{row.id} was ended ({row.reason}) though nothing was lost"
            if row.superseded_by and row.sealed:
                yield f"{row.id} holds a set that is {row.superseded_by}'s"
            if row.status is Status.SUPERSEDED and owner and owner.status not in IN_USE:
                yield f"{row.id} was superseded by one that is not in use"

    def _excused(self) -> set[str]:
        """Return the bank logins whose latest consent nobody could have kept.

        The bank has ended it, or an answer that carried its tokens reached nobody able to keep it,
        or what its sender had given up came so late that the provider took it for a theft.
        """
        newest: dict[str, str] = {}
        over: set[str] = set()
        came_late: set[str] = set()
        for entry in self.world.provider.ledger()["entries"]:
            kind, grant_id = entry["event"], entry.get("grant_id", "")
            if kind == "code.redeemed":
                newest[entry["login"]] = grant_id
            unkept = entry.get("fingerprint") not in self.watch.durable
            if kind == "refresh_token.issued" and unkept:
                over.add(grant_id)
            if entry.get("fingerprint") in self.traffic.arrived_late:
                came_late.add(grant_id)
            reused = entry.get("reason") == "refresh_token_reused" and grant_id in came_late
            if kind == "refresh_token.revoked" and reused:
                over.add(grant_id)
            if kind == "refresh_token.revoked" and entry["reason"] == "consent":
                over.add(grant_id)
        return {login for login, grant_id in newest.items() if grant_id in over}

    def _end_what_is_over(self) -> None:
        """Hold a process that came to its end to what it was given."""
        for worker in [one for one in self.workers if one.is_over]:
            self.workers.remove(worker)
            if worker.failure:
                raise worker.failure
            unkept = set(worker.received) - self.watch.durable
            if unkept and not worker.dead:
                given_up = len(self.world.recorded("token_persist_failed"))
                assert given_up > self.given_up, f"{worker.does} kept nothing of its answer"
                self.given_up = given_up

    def _people_go_on(self, world: World) -> None:
        for person in self.people:
            world.clock.advance(1)
            with suppress(TokenBrokerError):
                person.comes_back(world)

    # ── helpers of the parties ───────────────────────────────────────────────────────────────────

    def _start(self, flow: Flow, *, does: str, timeout: float, skew: int = 0) -> None:
        if len(self.workers) < MOST_WORKERS:
            self.workers.append(
                Worker.of(self.world, flow, self.traffic, does=does, timeout=timeout, skew=skew)
            )

    def _worker(self, place: int) -> Worker:
        """Return one of those under way; start a run of the schedule if there is none."""
        if not self.workers:
            self.the_schedule_runs(skew=0)
        return self.workers[place % len(self.workers)]

    def _one_of_the_rows(self, place: int) -> str:
        rows = self._rows()
        return rows[place % len(rows)].id

    def _rows(self) -> list[Connection]:
        return sorted(self.world.broker.connections.every(), key=lambda row: row.id)

    def _at(self, step: str, place: int) -> Worker:
        """Let one go on until it is about to make a step."""
        chosen = self._worker(place)
        for _ in range(FARTHEST):
            if step in {"anywhere", chosen.wants}:
                break
            chosen.goes_on()
        return chosen

    @staticmethod
    def _goes_on(worker: Worker, steps: int) -> None:
        for _ in range(steps):
            worker.goes_on()

    def _secret_is_right(self) -> None:
        self.world.provider.change_client_secret(self._secret())
        self._put_secret(self._secret())

    def _secret(self) -> str:
        return f"{CLIENT_SECRET}{self.secrets}"

    def _put_secret(self, secret: str) -> None:
        credentials = ClientCredentials(client_id=CLIENT_ID, client_secret=SecretText(secret))
        self.world.broker.client_secret.credentials = credentials  # type: ignore[attr-defined]


def _hash_of(world: World, login: str) -> str:
    connector, _, user_name = login.partition("/")
    return login_of(
        LOGIN_KEY,
        environment=world.broker.environment,
        client_id=CLIENT_ID,
        connector=connector,
        sub=Login(connector, user_name).sub,
    )


TestRandomSchedule = RandomSchedule.TestCase
