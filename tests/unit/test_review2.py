"""What a second hostile review proved: what ought to hold, and fails as of 41fb737."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import jwt
import pytest
import requests

from local.akoya_sandbox.ledger import fingerprint
from tests.template.deployed import deployed
from tests.world import FUNCTION_TIMEOUT, Inline, World, http_response
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import TokenBrokerError, UpstreamUnavailable
from token_broker.domain.token_set import Verdict
from token_broker.use_cases import schedule, transfer

DAY = 86_400
DIALECTS = pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])


@pytest.fixture
def world() -> World:
    return World.in_memory()


class Died(BaseException):
    """The process ends here."""


def die(*_: Any, **__: Any) -> None:
    raise Died


def once(act: Callable[[], object]) -> Callable[..., None]:
    left = [act]

    def hook(*_: Any, **__: Any) -> None:
        if left:
            left.pop()()

    return hook


def suppressed(act: Callable[[], object]) -> None:
    with suppress(TokenBrokerError):
        act()


def link(world: World, subject: str, connection_id: str | None = None) -> Any:
    return world.come_back(world.consent(world.open(world.begin(subject, connection_id))))


def settle(world: World, minutes: int = 30) -> None:
    for _ in range(minutes):
        world.clock.advance(60)
        suppressed(world.run_schedule)


def is_alive(world: World, row: Connection) -> bool:
    living = {
        token["fingerprint"]
        for grant in world.provider.grants()
        if not grant["ended"]
        for token in grant["refresh_tokens"]
    }
    if row.sealed is None:
        return False
    return fingerprint(world.on.seal.open(row).refresh_token.reveal()) in living


def with_body(response: requests.Response, body: bytes) -> requests.Response:
    again = http_response(response.status_code, body)
    again.request, again.url = response.request, response.url
    return again


def rows(world: World) -> Any:
    return world.on.connections.rows  # type: ignore[attr-defined]


def into_escrow(world: World, act: Callable[[], object]) -> None:
    """Let the table refuse to take what this gets, until it is in escrow."""
    land = world.on.connections.land

    def away(*_: Any, **__: Any) -> None:
        world.time_left -= 30
        raise UpstreamUnavailable(detail="away")

    world.on.connections.land = away  # type: ignore[method-assign, assignment]
    suppressed(act)
    world.on.connections.land = land  # type: ignore[method-assign]
    world.time_left = FUNCTION_TIMEOUT


# ── 1: the operator may not lift the guard ───────────────────────────────────────────────────────


def test_the_operator_may_do_what_lifting_the_guard_does() -> None:
    """It deletes the figures and puts the guard's row; the policy allows DeleteItem alone."""
    policy = deployed().properties("OperatorPolicy")["PolicyDocument"]["Statement"]
    allowed = {
        action
        for statement in policy
        if statement["Resource"] == "ControlTable.Arn"
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
    }
    assert {"dynamodb:DeleteItem", "dynamodb:PutItem"} <= allowed


# ── 2: an abandoned link puts what was linked after it on hold ───────────────────────────────────


@DIALECTS
def test_a_link_that_was_left_does_not_hold_the_one_made_and_confirmed_after_it(
    world: World, dialect: str
) -> None:
    """A person closes the tab before the app sees them back, starts again, and is confirmed."""
    world.provider.change_settings({"dialect": dialect})
    link(world, "ada")  # never confirmed
    world.clock.advance(120)
    one = world.confirm(link(world, "ada"))
    for _ in range(22):  # minutes
        world.clock.advance(60)
        world.run_schedule()
        world.hand_out(one.id)


@DIALECTS
def test_a_renewed_connection_is_not_put_on_hold_by_an_older_unconfirmed_link(
    world: World, dialect: str
) -> None:
    world.provider.change_settings({"dialect": dialect})
    one = world.connect("ada")
    world.clock.advance(5)
    link(world, "grace")  # never confirmed
    world.clock.advance(5)
    link(world, "ada", one.id)  # the latest consent: nobody else's tokens live in gen1
    for _ in range(22):
        world.clock.advance(60)
        world.run_schedule()
        world.hand_out(one.id)


# ── 3: a renewal in escrow, and the older link is confirmed ──────────────────────────────────────


@DIALECTS
def test_a_renewal_in_escrow_is_not_lost_to_an_older_link_that_is_confirmed(
    world: World, dialect: str
) -> None:
    world.provider.change_settings({"dialect": dialect})
    first = world.connect("ada")
    world.clock.advance(5)
    went = link(world, "grace")
    world.clock.advance(5)
    address = world.consent(world.open(world.begin("ada", first.id)))
    into_escrow(world, lambda: world.come_back(address))
    assert world.on.escrow.find(first.id, 2) is not None
    for _ in range(3):  # the attempt's lease ends; the schedule has had its chances
        world.clock.advance(60)
        world.run_schedule()
    suppressed(lambda: world.confirm(went, "grace"))
    settle(world, 60)

    active = [row for row in rows(world).values() if row.status is Status.ACTIVE]
    assert [is_alive(world, row) for row in active] == [True]
    assert world.recorded("escrow_stranded") == []


@DIALECTS
def test_a_renewal_in_escrow_does_not_stand_beside_a_later_consent_to_the_same_login(
    world: World, dialect: str
) -> None:
    """Of two consents the later one is the one to keep: one login, one connection."""
    world.provider.change_settings({"dialect": dialect})
    first = world.connect("ada")
    world.clock.advance(5)
    second = world.confirm(link(world, "grace"), "grace")
    world.clock.advance(5)
    address = world.consent(world.open(world.begin("ada", first.id)))
    into_escrow(world, lambda: world.come_back(address))
    world.clock.advance(5)
    link(world, "grace", second.id)
    settle(world, 60)

    assert [row.id for row in rows(world).values() if row.status is Status.ACTIVE] == [second.id]
    assert world.recorded("reauthorization_required") == []


def test_an_older_connection_is_held_also_while_the_set_of_a_new_link_is_in_escrow(
    world: World,
) -> None:
    """gen1: that link has ended its tokens; its row is looked at in 15 minutes."""
    world.provider.change_settings({"dialect": "gen1"})
    first = world.connect("ada")
    world.make_due(first.id)
    address = world.consent(world.open(world.begin("grace")))
    into_escrow(world, lambda: world.come_back(address))
    settle(world, 30)

    assert world.recorded("reauthorization_required") == []
    assert is_alive(world, world.row(first.id))


def test_a_hand_over_that_meets_an_older_renewal_in_escrow_is_not_overtaken_by_its_dead_tokens(
    world: World,
) -> None:
    """gen1: renew (into escrow), link, expire.

    Applying the renewal lifts the hold, the hand-over gives up for 155 s, and in that time what the
    link had ended is sent twice.
    """
    world.provider.change_settings({"dialect": "gen1"})
    first = world.connect("ada")
    world.clock.advance(600)
    address = world.consent(world.open(world.begin("ada", first.id)))
    into_escrow(world, lambda: world.come_back(address))
    world.clock.advance(96)
    link(world, "grace")
    settle(world, 60)

    assert world.recorded("reauthorization_required") == []
    assert is_alive(world, world.row(first.id))


# ── 4: anybody who may link can stop all sends ───────────────────────────────────────────────────


def edge_for(world: World, *tokens: str) -> None:
    def forbidden(request: Any) -> requests.Response | None:
        if any(token in str(request.body) for token in tokens):
            return http_response(403, b"<html>blocked by the firewall</html>")
        return None

    world.http.before = forbidden


def refusals(world: World, connection_id: str, *, minutes: int, each: Callable[[], Any]) -> int:
    refused = 0
    for _ in range(minutes):
        each()
        try:
            world.hand_out(connection_id, rejected=world.row(connection_id).generation)
        except TokenBrokerError:
            refused += 1
        else:
            return refused
        world.clock.advance(60)
    return refused


def test_a_code_made_up_to_offend_akoyas_firewall_does_not_stop_everybody(world: World) -> None:
    """Whoever may link can put into the redirect what a firewall blocks, as often as they like."""
    world.provider.change_settings({"id_token_lifetime": DAY})
    other = world.connect("person-2", "mikomo_2")
    edge_for(world, "union")

    def offend() -> None:
        address = world.consent(world.open(world.begin("mallory")))
        base, _, query = address.partition("?")
        pairs = [
            "code=%27union+select" if pair.startswith("code=") else pair
            for pair in query.split("&")
        ]
        suppressed(lambda: world.come_back(f"{base}?{'&'.join(pairs)}"))
        suppressed(world.run_schedule)

    assert refusals(world, other.id, minutes=30, each=offend) <= 5


def test_two_connections_that_are_answered_with_403_do_not_stop_all_callers(world: World) -> None:
    poison = [world.connect(f"person-{n}", f"mikomo_{n}") for n in (1, 3)]
    world.provider.change_settings({"id_token_lifetime": DAY})
    other = world.connect("person-2", "mikomo_2")
    edge_for(
        world,
        *(world.on.seal.open(world.row(one.id)).refresh_token.reveal() for one in poison),
    )
    for one in poison:
        world.make_due(one.id)
    for _ in range(10):
        suppressed(world.run_schedule)
        world.clock.advance(60)

    assert refusals(world, other.id, minutes=30, each=lambda: suppressed(world.run_schedule)) <= 5


# ── 5: a fault of ours after a 200 loses the set, again ──────────────────────────────────────────


@pytest.mark.parametrize("nonce", [["a"], {"a": 1}])
def test_a_set_is_kept_also_if_its_nonce_is_no_text(world: World, nonce: Any) -> None:
    def odd(response: requests.Response) -> requests.Response:
        if "grant_type=authorization_code" in str(response.request.body):
            body = json.loads(response.raw.read())
            claims = jwt.decode(body["id_token"], options={"verify_signature": False})
            body["id_token"] = jwt.encode(claims | {"nonce": nonce}, "k" * 32, algorithm="HS256")
            return with_body(response, json.dumps(body).encode())
        return response

    world.http.after = odd
    address = world.consent(world.open(world.begin()))
    try:
        world.come_back(address)
    except TokenBrokerError:
        pass
    except TypeError:
        pytest.fail("the token set is gone: neither the row nor escrow was asked to take it")


# ── 6: what the version before wrote ─────────────────────────────────────────────────────────────


def older(world: World, connection_id: str, **what: Any) -> None:
    """Let a row be as the version before (6fedf34) wrote it."""
    rows(world)[connection_id] = replace(rows(world)[connection_id], consent=None, **what)


def older_in_escrow(world: World, connection_id: str, generation: int) -> None:
    kept = world.on.escrow.find(connection_id, generation)
    assert kept is not None
    world.on.escrow.put(replace(kept, consent=None))


def test_a_link_of_the_older_version_is_handed_over_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It carries no `consent`, so nothing tells that it was handed over before the run died."""
    world.provider.change_settings({"dialect": "gen2-strict"})
    first = world.connect("ada")
    older(world, first.id)
    world.clock.advance(5)
    went = link(world, "grace")
    linked = world.row(went.result.connection_id)
    older(world, linked.id, keep_until=None, due_at=world.clock() + 900)
    older(world, first.id, hold_until=world.clock() + 900, due_at=world.clock() + 900)
    world.clock.advance(901)
    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "delete", die)
        with pytest.raises(Died):
            world.run_schedule()
    settle(world, 60)

    row = world.row(first.id)
    assert row.status is Status.ACTIVE
    assert is_alive(world, row)


# ── 7: two tabs ──────────────────────────────────────────────────────────────────────────────────


def two_tabs(world: World) -> tuple[str, str]:
    """Return the redirects of a tab that consented and of one that cancelled."""
    begun = world.begin()
    address = world.consent(world.open(begun))
    second = world.open(begun)
    pending = world.provider.begin(second.partition("?")[2])
    assert world.provider.sign_in(pending.id, "mikomo_1", "mikomo_1")
    return address, world.provider.decline(pending.id, "changed my mind")


def test_an_exchange_that_begins_while_another_tab_declines_tells_its_own_outcome(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The declining delivery's claim of the row is over in the second it is made."""
    address, cancelled = two_tabs(world)
    finish = world.finishing.authorizations.finish
    went: list[Any] = []

    def raced(row_id: str, **how: Any) -> Any:
        if how["result"].status != "declined" or went:
            return finish(row_id, **how)
        told: list[Any] = []

        def before(request: Any) -> None:
            if "grant_type=authorization_code" in str(request.body) and not told:
                told.append(finish(row_id, **how))

        world.http.before = before
        went.append(None)
        suppressed(lambda: went.append(world.come_back(address)))
        world.http.before = None
        return told[0] if told else finish(row_id, **how)

    monkeypatch.setattr(world.finishing.authorizations, "finish", raced)
    suppressed(lambda: world.come_back(cancelled))
    monkeypatch.setattr(world.finishing.authorizations, "finish", finish)

    landed = [row for row in rows(world).values() if row.sealed]
    told = world.come_back(address).result.status
    assert (len(landed), told) in {(1, "pending_confirmation"), (0, "declined")}


def test_a_link_recovered_by_another_tab_can_still_be_confirmed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, cancelled = two_tabs(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.finishing.authorizations, "finish", die)
        with pytest.raises(Died):
            world.come_back(address)
    world.clock.advance(96)
    tabs = [world.come_back(cancelled), world.come_back(address)]
    confirmed = []
    for went in tabs:
        if went.confirmation:
            with suppress(TokenBrokerError):
                confirmed.append(world.confirm(went))
    assert [one.status for one in confirmed] == [Status.ACTIVE]


# ── 8: export while on hold ──────────────────────────────────────────────────────────────────────


def test_an_export_that_is_refused_leaves_nothing_behind(world: World) -> None:
    first = world.connect("ada")
    world.clock.advance(5)
    link(world, "grace")
    before = world.row(first.id)
    suppressed(lambda: transfer.take_out(world.on, first.id, quarantine=DAY))

    after = world.row(first.id)
    if after.status is Status.ACTIVE:
        assert (after.lease, after.unsettled) == (None, before.unsettled)


# ── 9: what a hold costs ─────────────────────────────────────────────────────────────────────────


def test_two_unconfirmed_links_do_not_rewrite_each_others_hold_every_minute(world: World) -> None:
    first = world.connect("ada")
    world.clock.advance(5)
    link(world, "grace")
    world.clock.advance(300)
    link(world, "mary")
    before = len(world.recorded("login_on_hold"))
    held = set()
    for _ in range(9):
        world.clock.advance(60)
        world.run_schedule()
        held.add(world.row(first.id).hold_until)

    assert len(world.recorded("login_on_hold")) - before <= 1
    assert len(held) == 1


def test_links_that_wait_for_a_confirmation_do_not_take_the_places_of_refreshes(
    world: World,
) -> None:
    """Nothing is sent for them, yet each takes a place and a pause of every run.

    Nine connections fall due a minute, a run has ten places, ten people came back unconfirmed.
    """
    world.provider.change_settings({"id_token_lifetime": DAY})
    now = world.clock()
    made = [world.connect("ada")]
    model = world.row(made[0].id)
    del rows(world)[model.id]
    for n in range(9 * 12):  # plain rows: what is asked is how many of them get a turn
        rows(world)[f"c{n}"] = replace(
            model, id=f"c{n}", login=f"l{n}", due_at=now + 60 * (n // 9) + 1,
            status=Status.REAUTH_REQUIRED, keep_until=now + 10 * DAY,
        )  # fmt: skip
    for n in range(10):
        rows(world)[f"p{n}"] = replace(
            model, id=f"p{n}", login=f"p{n}", due_at=now, keep_until=now + 900,
            status=Status.PENDING_CONFIRMATION,
        )  # fmt: skip
    world.on.control.close_breaker()
    for _ in range(12):
        world.clock.advance(60)
        schedule.tend_due(
            world.on,
            schedule.Tending(rate=1000, limit=10, quarantine=DAY),
            workers=Inline(),
            remaining=world.remaining,
        )
    lag = [one["value"] for one in world.recorded("oldest_due_seconds")]
    assert lag[-1] <= 120, f"it falls ever further behind: {lag}"


# ── 10: what is told, and when to ask again ──────────────────────────────────────────────────────


def test_a_confirm_that_meets_a_refresh_of_the_older_one_is_told_when_to_ask_again(
    world: World,
) -> None:
    """409 "repeat the request" without Retry-After, for as long as the older one is leased."""
    first = world.connect("ada")
    world.make_due(first.id)
    met: list[TokenBrokerError] = []

    def overtaken(request: Any) -> None:
        if "grant_type=refresh_token" in str(request.body) and not met:
            went = link(world, "grace")
            try:
                world.confirm(went, "grace")
            except TokenBrokerError as exc:
                met.append(exc)

    world.http.before = overtaken
    world.run_schedule()
    assert [exc.retry_after is not None for exc in met] == [True]


def test_a_page_reloaded_after_a_hiccup_of_the_table_need_not_wait_for_a_lease_to_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = world.consent(world.open(world.begin()))
    into_escrow(world, lambda: world.come_back(address))
    world.clock.advance(96)

    def away(*_: Any, **__: Any) -> None:
        raise UpstreamUnavailable(detail="throttled", retry_after=5)

    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "land", away)
        with pytest.raises(UpstreamUnavailable):
            world.come_back(address)
    world.clock.advance(5)
    assert world.come_back(address).result.status == "pending_confirmation"


def test_a_renewal_overtaken_by_a_disconnect_is_told_in_the_words_of_the_readme(
    world: World,
) -> None:
    one = world.connect("ada")
    address = world.consent(world.open(world.begin("ada", one.id)))

    def disconnected(request: Any) -> None:
        if "grant_type=authorization_code" in str(request.body):
            world.on.connections.ask_revoke(one.id, now=world.clock())

    world.http.before = disconnected
    assert world.come_back(address).result.status in {
        "pending_confirmation", "active", "declined", "failed",
    }  # fmt: skip


def test_a_page_need_not_wait_for_a_lease_to_end_once_the_consent_has_landed(
    world: World,
) -> None:
    """Only the older connection's refresh was in the way of taking over, and that is over."""
    first = world.connect("ada")
    world.clock.advance(5)
    second = world.confirm(link(world, "grace"), "grace")
    assert world.row(first.id).status is Status.SUPERSEDED
    world.make_due(second.id)
    address = world.consent(world.open(world.begin("ada", first.id)))

    def overtaken(request: Any) -> None:
        if "grant_type=refresh_token" in str(request.body):
            suppressed(lambda: world.come_back(address))

    world.http.before = overtaken
    world.run_schedule()
    world.http.before = None
    assert world.row(first.id).status is Status.ACTIVE
    world.clock.advance(5)
    assert world.come_back(address).result.status == "active"


def test_a_confirmed_connection_does_not_say_that_it_awaits_its_confirmation(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    went = link(world, "ada")
    world.clock.advance(60)
    owner_of = world.on.connections.owner_of
    confirm = once(lambda: world.confirm(went))

    def raced(login: str) -> Any:
        confirm()
        return owner_of(login)

    monkeypatch.setattr(world.on.connections, "owner_of", raced)
    world.run_schedule()
    row = world.row(went.result.connection_id)
    assert (row.status, row.last_event) == (Status.ACTIVE, "confirmed")


def test_a_run_that_died_over_an_unconfirmed_link_does_not_make_lost_rotations_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run claims it, which counts an attempt; nothing was sent. `rotation_lost` pages."""
    went = link(world, "ada")
    world.clock.advance(60)
    with monkeypatch.context() as patch:
        patch.setattr(world.on.connections, "settle", die)
        with pytest.raises(Died):
            world.run_schedule()
    one = world.confirm(went)
    world.make_due(one.id)
    world.provider.expire("refresh_token")
    settle(world, 5)

    row = world.row(one.id)
    assert (row.status, row.reason) == (Status.REAUTH_REQUIRED, Reason.GRANT_DEAD)


# ── 11: after the guard was lifted ───────────────────────────────────────────────────────────────


def test_a_lifted_guard_trips_again_for_those_not_tried_before(world: World) -> None:
    """So says docs/operations.md, the guard has tripped.

    For an hour it does not, and an incident that goes on ends the whole fleet.
    """
    world.provider.change_settings({"id_token_lifetime": DAY})
    made = [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, 21)]
    first, later = made[:8], made[8:]
    world.provider.expire("refresh_token")
    for one in first:
        rows(world)[one.id] = replace(world.row(one.id), due_at=world.clock())
    for _ in range(3):
        world.run_schedule()
        world.clock.advance(61)
    assert world.recorded("guard_tripped")
    world.on.control.lift_guard()
    for one in later:
        rows(world)[one.id] = replace(world.row(one.id), due_at=world.clock())
    for _ in range(5):
        world.run_schedule()
        world.clock.advance(61)
    ended = [one for one in later if world.row(one.id).status is Status.REAUTH_REQUIRED]
    assert len(ended) <= 5


# ── 12: the tries of escrow run past the end ─────────────────────────────────────────────────────


@pytest.mark.parametrize("left", [12.1, 12.15, 16.3])
def test_no_write_begins_that_cannot_end_before_the_process_does(
    world: World, monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    """Table and bucket hang, 4 s a try: whoever loses the set must still be able to say so."""
    one = world.connect()
    world.make_due(one.id)
    ends_at: list[float] = []

    def answered(response: requests.Response) -> requests.Response:
        if "grant_type=refresh_token" in str(response.request.body):
            ends_at.append(world.clock.now + left)
        return response

    def spend(seconds: float) -> None:
        world.clock.advance(seconds)
        if ends_at and world.clock.now > ends_at[0]:
            raise Died

    def hangs(*_: Any, **__: Any) -> None:
        spend(4)
        raise UpstreamUnavailable(detail="read timeout")

    monkeypatch.setattr(
        World,
        "remaining",
        lambda world: ends_at[0] - world.clock.now if ends_at else FUNCTION_TIMEOUT,
    )
    monkeypatch.setattr(world.on.connections, "land", hangs)
    monkeypatch.setattr(world.on.escrow, "put", hangs)
    world.http.after = answered
    with suppress(Died, TokenBrokerError):
        world.run_schedule()

    assert world.recorded("token_persist_failed")


# ── 13: strict mode ──────────────────────────────────────────────────────────────────────────────


def test_a_bearer_nobody_had_checked_is_not_handed_out_shorter_than_was_asked_for(
    world: World,
) -> None:
    one = world.connect()
    rows(world)[one.id] = replace(world.row(one.id), verdict=Verdict.UNVERIFIED)
    world.clock.now = float(one.expires_at or 0) - 30
    assert world.hand_out(one.id, min_validity=300).expires_at - world.clock() >= 300


# ── 14: a link that can never be confirmed ───────────────────────────────────────────────────────


def test_a_link_that_can_never_be_confirmed_holds_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gen2: the callback found a foreign nonce and died before it asked for the revoke."""
    world.provider.change_settings({"dialect": "gen2-strict"})
    first = world.connect("ada")
    world.clock.advance(5)
    address = world.consent(world.open(world.begin("grace")))
    with monkeypatch.context() as patch:
        patch.setattr("token_broker.domain.authorization.nonce", lambda _cookie: "another's")
        patch.setattr(world.on.connections, "ask_revoke", die)
        with pytest.raises(Died):
            world.come_back(address)
    world.clock.advance(60)
    world.run_schedule()
    assert (world.row(first.id).hold_until or 0) <= world.clock()
