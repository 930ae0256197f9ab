"""What a hostile review proved; each test states what ought to hold, and fails as of 6fedf34."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jwt
import pytest
import requests
import urllib3

from local.akoya_sandbox.ledger import fingerprint
from tests.world import FUNCTION_TIMEOUT, World, http_response
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import BrokerMisconfigured, TokenBrokerError, UpstreamUnavailable
from token_broker.domain.refresh_policy import SEND_BUDGET
from token_broker.domain.secret_text import SecretText
from token_broker.use_cases import connections

DAY = 86_400


def once(act: Callable[[], object]) -> Callable[..., None]:
    """Return a hook that acts the first time it is called."""
    left = [act]

    def hook(*_: Any, **__: Any) -> None:
        if left:
            left.pop()()

    return hook


def in_flight(world: World, grant_or_path: str, act: Callable[[], object], *, after: bool) -> None:
    """Do something while a request of this kind is on its way: before or after Akoya acts."""
    hook = once(act)
    what = grant_or_path

    def fits(request: Any) -> bool:
        return what in str(request.body) or str(request.url).endswith(what)

    if after:

        def on_answer(response: requests.Response) -> requests.Response:
            if fits(response.request):
                hook()
            return response

        world.http.after = on_answer
    else:

        def on_request(request: Any) -> None:
            if fits(request):
                hook()

        world.http.before = on_request


def come_back_linked(world: World, subject: str, connection_id: str | None = None) -> Any:
    return world.come_back(world.consent(world.open(world.begin(subject, connection_id))))


def living(world: World) -> set[str]:
    return {
        token["fingerprint"]
        for grant in world.provider.grants()
        if not grant["ended"]
        for token in grant["refresh_tokens"]
    }


def is_alive(world: World, row: Connection) -> bool:
    if row.sealed is None:
        return False
    return fingerprint(world.on.seal.open(row).refresh_token.reveal()) in living(world)


# ── 1: a set that lands late in a superseded row holds its successor for a year ──────────────────


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_a_refresh_overtaken_by_a_take_over_does_not_put_the_winner_on_hold(
    world: World, dialect: str
) -> None:
    world.provider.change_settings({"dialect": dialect})
    first = world.connect("ada")
    world.make_due(first.id)
    went: list[Any] = []

    def linked_and_confirmed() -> None:
        went.append(come_back_linked(world, "grace"))
        suppressed(lambda: world.confirm(went[0], "grace"))

    # Akoya has answered the refresh; while the answer is on its way, grace links and is confirmed.
    in_flight(world, "grant_type=refresh_token", linked_and_confirmed, after=True)
    world.run_schedule()
    world.http.after = None
    second = world.confirm(went[0], "grace")  # may be repeated

    assert world.row(first.id).status is Status.SUPERSEDED
    winner = world.row(second.id)
    assert winner.status is Status.ACTIVE
    assert (winner.hold_until or 0) <= world.clock() + 900, "on hold for a year"
    world.clock.now = float(winner.expires_at or 0)
    assert world.hand_out(winner.id).generation == 2


# ── 2: a consent confirmed away under a renewal in flight ────────────────────────────────────────


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_a_renewal_in_flight_is_not_lost_to_an_older_link_that_is_confirmed(
    world: World, dialect: str
) -> None:
    world.provider.change_settings({"dialect": dialect})
    first = world.connect("ada")
    world.clock.advance(5)
    went = come_back_linked(world, "grace")  # the same login, not confirmed yet
    world.clock.advance(5)

    in_flight(
        world,
        "grant_type=authorization_code",
        lambda: suppressed(lambda: world.confirm(went, "grace")),
        after=False,
    )
    address = world.consent(world.open(world.begin("ada", first.id)))
    suppressed(lambda: world.come_back(address))
    world.http.before = None
    settle(world, lambda: world.come_back(address))

    rows = [world.row(one.id) for one in world.on.connections.every()]
    active = [row for row in rows if row.status is Status.ACTIVE]
    assert len(active) == 1
    assert is_alive(world, active[0])
    world.clock.now = max(world.clock.now, float(active[0].expires_at or 0))
    world.hand_out(active[0].id)


def suppressed(act: Callable[[], object]) -> None:
    with suppress(TokenBrokerError):
        act()


def settle(world: World, goes_on: Callable[[], object] = lambda: None, minutes: int = 30) -> None:
    for _ in range(minutes):
        world.clock.advance(60)
        suppressed(goes_on)
        suppressed(world.run_schedule)


def test_a_renewal_that_lands_between_the_check_and_the_write_of_a_confirm_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.provider.change_settings({"dialect": "gen1"})
    first = world.connect("ada")
    world.clock.advance(5)
    went = come_back_linked(world, "grace")
    world.clock.advance(5)
    renew = once(lambda: come_back_linked(world, "ada", first.id))
    confirm = world.on.connections.confirm

    def raced(*args: Any, **how: Any) -> Connection:
        renew()
        return confirm(*args, **how)

    monkeypatch.setattr(world.on.connections, "confirm", raced)
    suppressed(lambda: world.confirm(went, "grace"))

    rows = [world.row(one.id) for one in world.on.connections.every()]
    active = [row for row in rows if row.status is Status.ACTIVE]
    assert [is_alive(world, row) for row in active] == [True]


# ── 3: confirm against the expiry of the unconfirmed link ────────────────────────────────────────


def test_a_link_confirmed_while_the_schedule_lets_go_of_it_is_not_reported_active(
    world: World,
) -> None:
    went = come_back_linked(world, "ada")
    world.clock.advance(900)
    confirmed: list[Connection] = []

    def confirm_late() -> None:
        with suppress(TokenBrokerError):
            confirmed.append(world.confirm(went, "ada"))

    in_flight(world, "/revoke", confirm_late, after=True)
    world.run_schedule()
    world.http.after = None

    for one in confirmed:  # told ACTIVE: then it is there and lives
        assert is_alive(world, world.row(one.id))


def test_a_login_can_be_linked_again_after_a_late_confirm(world: World) -> None:
    went = come_back_linked(world, "ada")
    world.clock.advance(900)
    in_flight(world, "/revoke", lambda: suppressed(lambda: world.confirm(went, "ada")), after=True)
    world.run_schedule()
    world.http.after = None
    world.clock.advance(5)

    again = come_back_linked(world, "ada")
    assert world.confirm(again, "ada").status is Status.ACTIVE


def test_a_later_unconfirmed_link_of_that_login_is_let_go_of(world: World) -> None:
    went = come_back_linked(world, "ada")
    world.clock.advance(900)
    in_flight(world, "/revoke", lambda: suppressed(lambda: world.confirm(went, "ada")), after=True)
    world.run_schedule()
    world.http.after = None
    world.clock.advance(5)

    come_back_linked(world, "ada")
    settle(world, minutes=120)
    assert living(world) == set()
    assert [row for row in world.on.connections.every() if row.status is not Status.REVOKED] == []


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_a_set_handed_over_is_not_lost_to_a_late_confirm(
    world: World, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late confirm comes between the hand-over and the deletion of the link's row."""
    world.provider.change_settings({"dialect": dialect})
    world.connect("ada")
    world.clock.advance(5)
    went = come_back_linked(world, "grace")
    world.clock.advance(901)
    delete = world.on.connections.delete
    late = once(lambda: suppressed(lambda: world.confirm(went, "grace")))

    def raced(held: Connection) -> None:
        late()
        delete(held)

    monkeypatch.setattr(world.on.connections, "delete", raced)
    world.run_schedule()

    rows = [world.row(one.id) for one in world.on.connections.every()]
    assert any(row.status is Status.ACTIVE and is_alive(world, row) for row in rows)


def test_a_link_whose_set_was_handed_over_cannot_be_confirmed_once_that_was_refreshed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run dies between the hand-over and the deletion; the confirm comes two minutes late."""
    world.provider.change_settings({"dialect": "gen2-strict"})
    world.connect("ada")
    world.clock.advance(5)
    went = come_back_linked(world, "grace")
    world.clock.advance(901)

    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "delete", die)
        with pytest.raises(Died):
            world.run_schedule()
    world.clock.advance(61)
    world.run_schedule()  # refreshes the handed-over set
    suppressed(lambda: world.confirm(went, "grace"))
    settle(world)

    rows = [world.row(one.id) for one in world.on.connections.every()]
    active = [row for row in rows if row.status is Status.ACTIVE]
    assert [is_alive(world, row) for row in active] == [True]
    refused = [
        one
        for one in world.provider.ledger()["requests"]
        if one["endpoint"] == "token" and one["status"] != 200
    ]
    assert refused == []  # no superseded refresh token was sent


# ── 4: the guard does not see what a caller's attempt suspected first ────────────────────────────


def test_an_incident_first_seen_by_callers_trips_the_guard_as_well(world: World) -> None:
    made = [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, 21)]
    world.provider.expire("refresh_token")  # Akoya: every bearer gets 602, every refresh 400

    for one in made:
        with pytest.raises(TokenBrokerError):
            world.hand_out(one.id, rejected=1)
    for _ in range(5):
        world.clock.advance(61)
        world.run_schedule()

    ended = [one for one in made if world.row(one.id).status is Status.REAUTH_REQUIRED]
    assert len(ended) <= 5
    assert world.recorded("guard_tripped")


# ── 5: a rejection that its bearer's expiry explains ─────────────────────────────────────────────


def test_an_outage_does_not_make_a_revoked_consent_of_an_expired_bearer(world: World) -> None:
    one = world.connect()
    assert world.hand_out(one.id, rejected=1).generation == 2  # a data API hiccup, long ago
    world.provider.arm({"fault": "error_before_commit", "on": ["refresh"]})  # Akoya is away
    world.clock.now = float(world.row(one.id).expires_at or 0) + 60
    world.run_schedule()

    with pytest.raises(TokenBrokerError):  # the bearer has expired, so the data API said 602
        world.hand_out(one.id, rejected=2)
    world.provider.disarm()
    for _ in range(20):
        world.clock.advance(61)
        world.run_schedule()

    row = world.row(one.id)
    assert (row.status, row.reason) == (Status.ACTIVE, None)


# ── 6: a whole answer that came a second late is thrown away ─────────────────────────────────────


def slow_body(world: World, response: requests.Response, seconds: float) -> requests.Response:
    """Let the body of an answer arrive so many seconds from now, whole."""
    body = response.raw.read()

    class Slow(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            data = super().read(*args)
            if data:
                world.clock.advance(seconds)
            return data

    response.raw = urllib3.HTTPResponse(
        body=Slow(body), status=response.status_code, preload_content=False
    )
    return response


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_a_rotation_that_was_read_is_kept_however_late_it_came(world: World, dialect: str) -> None:
    world.provider.change_settings({"dialect": dialect})
    one = world.connect()
    world.make_due(one.id)
    left = [36.0]  # name resolution 3 s, connect 3 s, headers after 29 s, then the body

    def late(response: requests.Response) -> requests.Response:
        if "grant_type=refresh_token" in str(response.request.body) and left:
            return slow_body(world, response, left.pop())
        return response

    world.http.after = late
    world.run_schedule()
    settle(world, minutes=5)

    row = world.row(one.id)
    assert row.status is Status.ACTIVE
    assert is_alive(world, row)


def test_a_code_whose_answer_was_read_is_not_lost_for_being_late(world: World) -> None:
    left = [36.0]

    def late(response: requests.Response) -> requests.Response:
        if "grant_type=authorization_code" in str(response.request.body) and left:
            return slow_body(world, response, left.pop())
        return response

    world.http.after = late
    assert come_back_linked(world, "ada").result.status == "pending_confirmation"


def test_a_slow_answer_to_a_revoke_has_a_meaning(world: World) -> None:
    one = world.connect()
    world.on.connections.ask_revoke(one.id, now=world.clock())

    def with_a_body(request: Any) -> requests.Response | None:
        if str(request.url).endswith("/revoke"):
            answer = http_response(503, b"<html>bad gateway</html>")
            answer.request, answer.url = request, request.url
            return slow_body(world, answer, 36.0)
        return None

    world.http.before = with_a_body
    world.run_schedule()

    assert world.recorded("row_unreadable") == []  # a KeyError: (garbled, revoke) has no reaction
    assert world.row(one.id).lease is None


# ── 7: a renewal whose bearer does not verify ends a connection that lived ───────────────────────


def test_a_renewal_whose_bearer_does_not_verify_does_not_revoke_the_connection(
    world: World,
) -> None:
    """Strict mode and an `aud` of Akoya's oldest kind: a refresh only stops handing out."""
    one = world.connect()
    world.clock.advance(5)
    world.provider.arm({"fault": "aud_other", "on": ["exchange"], "times": 1})

    come_back_linked(world, "ada", one.id)
    settle(world)

    assert world.row(one.id).status is Status.ACTIVE


# ── 8: the nonce is not checked by who recovers an exchange ──────────────────────────────────────


def test_a_foreign_nonce_is_refused_also_if_the_verdict_could_not_be_noted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = world.consent(world.open(world.begin()))
    with monkeypatch.context() as patch:
        patch.setattr("token_broker.domain.authorization.nonce", lambda _cookie: "another's")

        def away(*_: Any) -> None:
            raise UpstreamUnavailable(detail="throttled")

        patch.setattr(world.on.connections, "judge", away)
        with pytest.raises(UpstreamUnavailable):
            world.come_back(address)
    monkeypatch.setattr("token_broker.domain.authorization.nonce", lambda _cookie: "another's")
    world.clock.advance(96)

    assert world.come_back(address).result.status == "failed"


# ── 9: the seconds kept back for escrow are not kept back ────────────────────────────────────────


def test_a_table_that_hangs_leaves_escrow_its_seconds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write of the impatient client may take 1 s to connect and 3 s to be answered."""
    one = world.connect()
    world.make_due(one.id)
    ends_at: list[float] = []
    put = world.on.escrow.put

    class Ended(BaseException):
        """Lambda ends the process."""

    def spend(seconds: float) -> None:
        world.clock.advance(seconds)
        if ends_at and world.clock.now >= ends_at[0]:
            raise Ended

    def answered(response: requests.Response) -> requests.Response:
        if "grant_type=refresh_token" in str(response.request.body):
            ends_at.append(world.clock.now + 12.5)  # more than PERSIST_BUDGET
        return response

    def remaining(world: World) -> float:
        return ends_at[0] - world.clock.now if ends_at else FUNCTION_TIMEOUT

    monkeypatch.setattr(World, "remaining", remaining)

    def hangs(*_: Any, **__: Any) -> None:
        spend(4)
        raise UpstreamUnavailable(detail="DynamoDB: ReadTimeoutError")

    def slowly(landing: Any) -> None:
        spend(0.3)
        put(landing)

    monkeypatch.setattr(world.on.connections, "land", hangs)
    monkeypatch.setattr(world.on.escrow, "put", slowly)
    world.http.after = answered
    with suppress(Ended):
        world.run_schedule()

    assert world.on.escrow.find(one.id, 2) is not None


def test_escrow_is_tried_again_while_there_is_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hiccup of S3 while the table refuses for want of a permission, 80 s to go."""
    one = world.connect()
    world.make_due(one.id)
    put, failures = world.on.escrow.put, [1]

    def refuse(*_: Any, **__: Any) -> None:
        raise BrokerMisconfigured(detail="DynamoDB: AccessDeniedException")

    def hiccup(landing: Any) -> None:
        if failures:
            failures.pop()
            raise UpstreamUnavailable(detail="S3: SlowDown")
        put(landing)

    monkeypatch.setattr(world.on.connections, "land", refuse)
    monkeypatch.setattr(world.on.escrow, "put", hiccup)
    world.run_schedule()

    assert world.on.escrow.find(one.id, 2) is not None


# ── 10: the code is sent though too little time is left ──────────────────────────────────────────


def test_no_code_is_sent_without_time_to_persist_its_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = world.on.connections.create

    def slowly(connection: Connection) -> None:
        world.time_left -= 40  # of the 60 s the callback has
        create(connection)

    monkeypatch.setattr(world.on.connections, "create", slowly)
    world.time_left = 58.0
    with suppress(TokenBrokerError):
        come_back_linked(world, "ada")

    assert world.time_left < SEND_BUDGET
    assert world.sends("authorization_code") == 0


# ── 11: one end that is refused keeps the others from ending ─────────────────────────────────────


def test_a_disconnect_during_the_run_does_not_keep_others_from_ending(world: World) -> None:
    made = [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, 4)]
    world.clock.now = float(max(one.due_at or 0 for one in made))
    world.provider.expire("refresh_token")
    world.run_schedule()
    world.clock.advance(61)
    due = [name for name, _ in world.on.connections.due(now=world.clock(), limit=9)]
    guard = world.on.control.guard

    def raced(**how: Any) -> bool:  # at the end of the run, all leases still held
        connections.disconnect(
            world.on.connections, world.clock, world.on.record, connection_id=due[0]
        )
        return guard(**how)

    object.__setattr__(world.on.control, "guard", raced)
    with suppress(TokenBrokerError):
        world.run_schedule()
    object.__setattr__(world.on.control, "guard", guard)

    assert [world.row(one).status for one in due[1:]] == [Status.REAUTH_REQUIRED] * 2


def test_an_end_that_is_refused_does_not_turn_the_others_into_lost_rotations(world: World) -> None:
    made = [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, 4)]
    world.clock.now = float(max(one.due_at or 0 for one in made))
    world.provider.expire("refresh_token")
    world.run_schedule()
    world.clock.advance(61)
    due = [name for name, _ in world.on.connections.due(now=world.clock(), limit=9)]
    guard = world.on.control.guard

    def raced(**how: Any) -> bool:
        world.on.connections.ask_revoke(due[0], now=world.clock())
        return guard(**how)

    object.__setattr__(world.on.control, "guard", raced)
    with suppress(TokenBrokerError):
        world.run_schedule()
    object.__setattr__(world.on.control, "guard", guard)
    settle(world, minutes=10)

    assert {world.row(one).reason for one in due[1:]} == {Reason.GRANT_DEAD}


# ── 12: the hold ends in the very second in which the hand-over begins ───────────────────────────


def test_an_abandoned_second_link_never_asks_the_first_one_to_consent_again(
    world: World,
) -> None:
    """gen1, as documented: linking again ends the older tokens. Two threads, or two runs."""
    world.provider.change_settings({"dialect": "gen1"})
    first = world.connect("ada")
    world.clock.advance(5)
    come_back_linked(world, "grace")
    world.clock.advance(900)  # the link is due, and the hold is over, in the same second

    def other_thread() -> None:
        """Tend the unconfirmed link while the older connection is being sent."""
        world.http.before = None
        world.run_schedule()

    in_flight(world, "grant_type=refresh_token", other_thread, after=False)
    order = world.on.connections.due
    object.__setattr__(
        world.on.connections,
        "due",
        lambda **how: sorted(order(**how), key=lambda entry: entry[0] != first.id),
    )
    seen = set()
    for _ in range(10):
        world.run_schedule()
        seen.add(world.row(first.id).status)
        world.clock.advance(61)

    assert seen == {Status.ACTIVE}
    assert world.recorded("reauthorization_required") == []


def test_a_hiccup_at_the_hand_over_never_asks_the_first_one_to_consent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gen1; one answer of KMS is lost when the unconfirmed link's set is to be handed over."""
    world.provider.change_settings({"dialect": "gen1"})
    first = world.connect("ada")
    world.clock.advance(5)
    went = come_back_linked(world, "grace")
    world.clock.advance(900)
    opened, failures = world.on.seal.open, [1]

    def hiccup(connection: Connection) -> Any:
        if connection.id == went.result.connection_id and failures:
            failures.pop()
            raise UpstreamUnavailable(detail="KMS: ThrottlingException")
        return opened(connection)

    monkeypatch.setattr(world.on.seal, "open", hiccup)
    seen = set()
    for _ in range(10):
        world.run_schedule()
        seen.add(world.row(first.id).status)
        world.clock.advance(61)

    assert seen == {Status.ACTIVE}


# ── 13: the callback dies between landing a set and holding the older connection ─────────────────


def test_an_older_connection_is_held_also_if_the_callback_died_before_it_could_say_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.provider.change_settings({"dialect": "gen1"})
    first = world.connect("ada")
    world.clock.now = float(first.due_at or 0) - 30
    address = world.consent(world.open(world.begin("grace")))

    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "owner_of", die)
        with pytest.raises(Died):
            world.come_back(address)
    seen = set()
    for _ in range(30):
        world.clock.advance(61)
        world.run_schedule()
        seen.add(world.row(first.id).status)

    assert seen == {Status.ACTIVE}


# ── 14: the breaker a run opens, it closes ───────────────────────────────────────────────────────


def test_a_run_does_not_close_the_breaker_it_has_just_opened(world: World) -> None:
    made = [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, 4)]
    world.clock.now = float(max(one.due_at or 0 for one in made))
    world.on.control.open_breaker(reason="edge", until=world.clock() - 1)  # tried again now
    canary = [True]

    def second_one_fails(request: Any) -> requests.Response | None:
        if "grant_type=refresh_token" not in str(request.body):
            return None
        if canary:
            canary.pop()
            return None
        return http_response(403, b"<html>blocked</html>")

    world.http.before = second_one_fails
    world.run_schedule()

    until = world.on.control.breaker()
    assert until is not None
    assert until > world.clock()


# ── 15: who hands over does not look into escrow ─────────────────────────────────────────────────


def test_a_renewal_in_escrow_is_not_lost_to_the_hand_over_of_an_older_link(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.provider.change_settings({"dialect": "gen1"})
    first = world.connect("ada")
    world.clock.advance(5)
    come_back_linked(world, "grace")
    world.clock.advance(850)
    address = world.consent(world.open(world.begin("ada", first.id)))

    def away(*_: Any, **__: Any) -> None:
        world.time_left -= 30
        raise UpstreamUnavailable(detail="away")

    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "land", away)
        with pytest.raises(TokenBrokerError):
            world.come_back(address)
    world.time_left = FUNCTION_TIMEOUT
    assert world.on.escrow.find(first.id, 2) is not None
    world.clock.advance(96)  # the attempt's lease is over; the unconfirmed link is due longer
    settle(world)

    row = world.row(first.id)
    assert row.status is Status.ACTIVE
    assert is_alive(world, row)


# ── 16: a fault of our own after a 200 loses the set ─────────────────────────────────────────────


def test_a_set_is_kept_also_if_a_claim_beside_it_cannot_be_stored(world: World) -> None:
    """An `iat` of 40 digits: DynamoDB numbers have 38, and boto3 raises what nobody catches."""

    def absurd(response: requests.Response) -> requests.Response:
        if "grant_type=authorization_code" in str(response.request.body):
            body = json.loads(response.raw.read())
            claims = jwt.decode(body["id_token"], options={"verify_signature": False})
            body["id_token"] = jwt.encode(claims | {"iat": 10**40}, "k" * 32, algorithm="HS256")
            return with_request(response, json.dumps(body).encode())
        return response

    world.http.after = absurd
    address = world.consent(world.open(world.begin()))
    try:
        world.come_back(address)
    except TokenBrokerError:
        pass
    except ArithmeticError:
        pytest.fail("the token set is gone: neither the row nor escrow was asked to take it")


def with_request(response: requests.Response, body: bytes) -> requests.Response:
    again = http_response(response.status_code, body)
    again.request, again.url = response.request, response.url
    return again


def test_persist_falls_back_to_escrow_whatever_the_table_adapter_raises(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.connect()
    world.make_due(one.id)

    def bug(*_: Any, **__: Any) -> None:
        raise ValueError("a bug after the 200")

    monkeypatch.setattr(world.on.connections, "land", bug)
    world.run_schedule()

    assert world.on.escrow.find(one.id, 2) is not None


# ── 17: who recovers a renewal holds no lease ────────────────────────────────────────────────────


def test_a_token_is_not_sent_once_a_reloaded_page_has_landed_its_successor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person reloads between the schedule's claim and its look into escrow."""
    world.provider.change_settings({"dialect": "gen1"})
    one = world.connect()
    world.clock.advance(5)
    address = world.consent(world.open(world.begin("ada", one.id)))

    def away(*_: Any, **__: Any) -> None:
        world.time_left -= 30
        raise UpstreamUnavailable(detail="away")

    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "land", away)
        with pytest.raises(TokenBrokerError):
            world.come_back(address)
    world.time_left = FUNCTION_TIMEOUT
    world.clock.advance(96)
    find = world.on.escrow.find
    reload = once(lambda: suppressed(lambda: world.come_back(address)))

    def raced(connection_id: str, generation: int) -> Any:
        reload()
        return find(connection_id, generation)

    monkeypatch.setattr(world.on.escrow, "find", raced)
    world.run_schedule()

    assert world.sends() == 0
    assert world.row(one.id).generation == 2


# ── 18: another tab's answer ends an exchange under way ──────────────────────────────────────────


def test_an_error_in_another_tab_does_not_end_an_exchange_under_way(world: World) -> None:
    begun = world.begin()
    address = world.consent(world.open(begun))
    second = world.open(begun)
    pending = world.provider.begin(second.partition("?")[2])
    assert world.provider.sign_in(pending.id, "mikomo_1", "mikomo_1")
    cancelled = world.provider.decline(pending.id, "changed my mind")

    in_flight(
        world,
        "grant_type=authorization_code",
        lambda: suppressed(lambda: world.come_back(cancelled)),
        after=False,
    )
    went = world.come_back(address)

    assert went.result.status == "pending_confirmation"
    assert went.confirmation is not None


# ── 19: a BAD verdict that was noted does not outlive the process that noted it ──────────────────


def test_a_foreign_nonce_is_refused_also_if_the_process_died_before_it_said_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = world.consent(world.open(world.begin()))
    monkeypatch.setattr("token_broker.domain.authorization.nonce", lambda _cookie: "another's")

    class Died(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "ask_revoke", die)
        with pytest.raises(Died):
            world.come_back(address)
    world.clock.advance(96)
    went = world.come_back(address)
    if went.confirmation:
        one = world.confirm(went)
        world.make_due(one.id)
        world.run_schedule()
        with pytest.raises(TokenBrokerError):  # handed out after its first refresh
            world.hand_out(one.id)

    assert went.result.status == "failed"


# ── 20: a set left in escrow by a connection that was superseded ─────────────────────────────────


def superseded_with_a_set_in_escrow(world: World, monkeypatch: pytest.MonkeyPatch) -> Connection:
    first = world.connect("ada")
    world.make_due(first.id)

    def away(*_: Any, **__: Any) -> None:
        world.time_left -= 30
        raise UpstreamUnavailable(detail="away")

    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "land", away)
        world.run_schedule()
    world.time_left = FUNCTION_TIMEOUT
    world.clock.advance(96)  # until then the older one may be getting tokens
    world.confirm(come_back_linked(world, "grace"), "grace")
    assert world.row(first.id).status is Status.SUPERSEDED
    return first


def test_a_set_in_escrow_of_a_superseded_connection_does_not_make_it_active_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal is prepared for and given up; no consent has come of it."""
    world.provider.change_settings({"dialect": "gen1"})
    first = superseded_with_a_set_in_escrow(world, monkeypatch)
    address = world.consent(world.open(world.begin("ada", first.id)))

    def away(*_: Any, **__: Any) -> None:
        raise UpstreamUnavailable(detail="away")

    with monkeypatch.context() as patch:
        patch.setattr(world.on.token_endpoint, "exchange", pytest.fail)
        patch.setattr(world.finishing.authorizations, "mark_sent", away)
        with pytest.raises(UpstreamUnavailable):
            world.come_back(address)
    settle(world, minutes=10)

    assert world.row(first.id).status is Status.SUPERSEDED


def test_a_set_in_escrow_of_a_superseded_connection_is_let_go_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = superseded_with_a_set_in_escrow(world, monkeypatch)
    world.clock.advance(2 * DAY)
    for _ in range(5):
        world.clock.advance(61)
        suppressed(world.run_schedule)

    # moto stamps objects with the real time, the world's clock is ahead: all are old enough
    stranded = [
        one for one in world.recorded("escrow_stranded") if one["connection_id"] == first.id
    ]
    assert len(stranded) <= 1  # an alarm a minute for the 30 days the bucket keeps it


# ── 21: a disconnect during a refresh ────────────────────────────────────────────────────────────


def test_hand_out_stops_at_once_also_for_who_was_waiting_for_a_refresh(world: World) -> None:
    one = world.connect()
    world.clock.now = float(one.expires_at or 0)
    in_flight(
        world,
        "grant_type=refresh_token",
        lambda: world.on.connections.ask_revoke(one.id, now=world.clock()),
        after=False,
    )
    with pytest.raises(TokenBrokerError):
        world.hand_out(one.id)


# ── 22: what must not raise, raises ──────────────────────────────────────────────────────────────


def test_checking_an_id_token_never_raises(world: World) -> None:
    payload = json.dumps({"iss": ["a", "list"], "sub": "s"}).encode()
    token = jwt.PyJWS().encode(payload, "k" * 32, algorithm="HS256")
    world.on.id_tokens.verify(SecretText(token), nonce=None)


# ── 23: two consents in one second ───────────────────────────────────────────────────────────────


def test_the_set_of_an_unconfirmed_link_of_the_same_second_is_handed_over(world: World) -> None:
    """`iat` has whole seconds: equal ones do not mean "this very set, handed over before"."""
    world.provider.change_settings({"dialect": "gen1"})
    first = world.connect("ada")
    come_back_linked(world, "grace")
    settle(world, minutes=45)

    row = world.row(first.id)
    assert row.status is Status.ACTIVE
    assert is_alive(world, row)


# ── 24: the older link was not confirmed yet when the newer one came, so nothing was held ────────


def test_a_link_confirmed_while_a_later_one_is_unconfirmed_is_on_hold_as_well(
    world: World,
) -> None:
    world.provider.change_settings({"dialect": "gen1"})
    went = come_back_linked(world, "ada")
    world.clock.advance(5)
    come_back_linked(world, "grace")  # ends ada's tokens; nobody owns the login yet: no hold
    first = world.confirm(went, "ada")
    seen = set()
    for _ in range(30):
        world.clock.advance(61)
        world.run_schedule()
        seen.add(world.row(first.id).status)

    assert seen == {Status.ACTIVE}


# ── 25: a poor relation of 1: the page is reloaded after the renewal was superseded ──────────────


def test_a_redirect_delivered_again_after_a_take_over_does_not_put_the_winner_on_hold(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.connect("ada")
    world.clock.advance(5)
    address = world.consent(world.open(world.begin("ada", first.id)))

    def away(*_: Any, **__: Any) -> None:
        raise UpstreamUnavailable(detail="away")

    with monkeypatch.context() as patch:
        patch.setattr(world.finishing.authorizations, "finish", away)
        with pytest.raises(UpstreamUnavailable):
            world.come_back(address)
    world.clock.advance(5)
    second = world.confirm(come_back_linked(world, "grace"), "grace")
    world.clock.advance(96)
    suppressed(lambda: world.come_back(address))  # the browser reloads

    assert (world.row(second.id).hold_until or 0) <= world.clock() + 900


# ── 26: strict mode without signing keys ─────────────────────────────────────────────────────────


def test_asking_does_not_rotate_at_every_call_while_the_signing_keys_are_away(
    world: World,
) -> None:
    """A cold container, strict mode, and discovery answers 503: no bearer can be checked."""

    def keys_away(request: Any) -> requests.Response | None:
        return http_response(503) if request.method == "GET" else None

    world.http.before = keys_away
    one = world.connect()
    for _ in range(10):
        with pytest.raises(TokenBrokerError):
            world.hand_out(one.id)
        world.clock.advance(2)

    assert world.sends() <= 1


# ── 27: the guard's own figures ──────────────────────────────────────────────────────────────────


def test_a_connection_refused_for_the_second_time_is_one_attempt(world: World) -> None:
    made = [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, 4)]
    world.clock.now = float(max(one.due_at or 0 for one in made))
    world.provider.expire("refresh_token")
    world.run_schedule()
    world.clock.advance(61)
    guard, figures = world.on.control.guard, []

    def noted(**how: Any) -> bool:
        figures.append(how["attempts"])
        return guard(**how)

    object.__setattr__(world.on.control, "guard", noted)
    world.run_schedule()

    assert figures == [3]  # 6: each is counted as answered and as ended, which dilutes the share


# ── 28: one connection's odd answer and everybody's breaker ──────────────────────────────────────


def test_one_connection_that_is_answered_with_403_does_not_stop_all_callers(world: World) -> None:
    poison = world.connect("person-1", "mikomo_1")
    world.provider.change_settings({"id_token_lifetime": DAY})
    other = world.connect("person-2", "mikomo_2")
    token = world.on.seal.open(world.row(poison.id)).refresh_token.reveal()

    def forbidden(request: Any) -> requests.Response | None:
        if token in str(request.body):
            return http_response(403, b'{"error":"access_denied"}')
        return None

    world.http.before = forbidden
    world.make_due(poison.id)
    refused = 0
    for minute in range(30):
        suppressed(world.run_schedule)
        if minute >= 10:
            try:
                world.hand_out(other.id, rejected=world.row(other.id).generation)
            except TokenBrokerError:
                refused += 1
            else:
                break
        world.clock.advance(60)

    assert refused <= 5
