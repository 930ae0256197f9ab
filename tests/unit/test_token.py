"""Handing out the bearer: what each state and wish is answered with, and what it costs Akoya."""

from __future__ import annotations

import json
from dataclasses import replace

import jwt
import pytest
import requests
from botocore.model import OperationModel

from operations.adopt import adopt
from tests.loopback import http_response
from tests.world import World
from token_broker.domain.connection import Connection, Lease, Reason, Status
from token_broker.domain.errors import (
    BrokerMisconfigured,
    ConnectionGone,
    ConnectionNotFound,
    NotConfirmed,
    ReauthorizationRequired,
    RefreshInProgress,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.ports import Sealer
from token_broker.domain.refresh_policy import SEND_BUDGET
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Verdict

LIFE = 899  # what the sandbox states of its id_tokens, a second less than they live


@pytest.fixture
def connection(world: World) -> Connection:
    return world.connect()


def away(_: requests.PreparedRequest) -> requests.Response:
    """Answer as a provider that is down."""
    return http_response(503)


def test_a_fresh_bearer_is_handed_out_without_asking_akoya(
    world: World, connection: Connection
) -> None:
    for _ in range(3):
        assert world.hand_out(connection.id).generation == 1
    assert world.sends() == 0


def test_a_stale_bearer_is_refreshed_first(world: World, connection: Connection) -> None:
    world.clock.advance(LIFE - 60)

    bearer = world.hand_out(connection.id)

    assert (bearer.generation, bearer.expires_at) == (2, world.clock() + LIFE)


def test_the_caller_may_wish_for_a_longer_validity_up_to_half_a_life(
    world: World, connection: Connection
) -> None:
    world.clock.advance(LIFE - 200)
    assert world.hand_out(connection.id, min_validity=199).generation == 1
    assert world.hand_out(connection.id, min_validity=200).generation == 2

    # However much is asked for, a bearer with more than half its life left is served as it is.
    for _ in range(3):
        assert world.hand_out(connection.id, min_validity=86_400).generation == 2
    assert world.sends() == 1


def test_a_bearer_that_cannot_be_renewed_is_served_with_its_true_expiry(
    world: World, connection: Connection
) -> None:
    world.clock.advance(LIFE - 30)
    world.http.before = away

    bearer = world.hand_out(connection.id)

    assert (bearer.generation, bearer.expires_at - world.clock()) == (1, 30)


def test_a_bearer_whose_successor_came_without_one_is_served_with_its_true_expiry(
    world: World, connection: Connection
) -> None:
    world.clock.advance(LIFE - 30)
    world.provider.arm({"fault": "id_token_missing", "times": 1})

    bearer = world.hand_out(connection.id)

    assert (bearer.generation, bearer.expires_at - world.clock()) == (2, 30)
    assert world.row(connection.id).generation == 2


def test_a_bearer_whose_verdict_cannot_be_noted_is_served(
    world: World, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise UpstreamUnavailable(detail="away")

    world.broker.connections.judge(connection, Verdict.UNVERIFIED)
    monkeypatch.setattr(world.broker.connections, "judge", away)

    assert world.is_accepted(world.hand_out(connection.id))


def test_an_expired_bearer_that_cannot_be_renewed_is_not_served(
    world: World, connection: Connection
) -> None:
    world.clock.advance(LIFE)
    world.http.before = away

    with pytest.raises(UpstreamUnavailable) as refused:
        world.hand_out(connection.id)
    assert refused.value.retry_after


def test_callers_do_not_hammer_akoya_while_a_connection_rests(
    world: World, connection: Connection
) -> None:
    world.clock.advance(LIFE)
    world.http.before = away
    for _ in range(5):
        with pytest.raises(UpstreamUnavailable):
            world.hand_out(connection.id)

    assert world.sends() == 3  # one send and its two prompt repeats

    world.http.before = None
    world.clock.advance(60)
    assert world.hand_out(connection.id).generation == 2


def test_nothing_is_sent_without_time_to_persist_the_answer(
    world: World, connection: Connection
) -> None:
    prepare = world.broker.seal.prepare

    def slowly(connection_id: str, **of: str) -> Sealer:
        world.time_left = SEND_BUDGET - 1
        return prepare(connection_id, **of)

    object.__setattr__(world.broker.seal, "prepare", slowly)
    world.clock.advance(LIFE)

    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id)

    assert world.sends() == 0
    row = world.row(connection.id)
    assert (row.lease, row.unsettled) == (None, 0)


def test_while_another_attempt_holds_the_lease_the_caller_is_told_to_come_again(
    world: World, connection: Connection
) -> None:
    world.clock.advance(LIFE)
    world.broker.connections.claim(
        connection.id,
        lease=Lease(id="other", until=world.clock() + 95),
        now=world.clock(),
        due_at=world.clock() + 155,
        statuses={Status.ACTIVE},
        generation=1,
    )

    with pytest.raises(RefreshInProgress) as told:
        world.hand_out(connection.id)
    assert told.value.retry_after
    assert world.sends() == 0


# ── states ───────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_handed_out_before_the_confirmation(world: World) -> None:
    went = world.link()

    with pytest.raises(NotConfirmed):
        world.hand_out(went.result.connection_id)


def test_nothing_is_handed_out_once_a_disconnect_is_asked_for(
    world: World, connection: Connection
) -> None:
    world.broker.connections.ask_revoke(connection.id, now=world.clock())

    with pytest.raises(ConnectionGone):
        world.hand_out(connection.id)


@pytest.mark.parametrize("fault", ["slow", "slow_then_lost"])
def test_nothing_is_handed_out_if_a_disconnect_is_asked_for_while_akoya_takes_its_time(
    world: World, connection: Connection, fault: str
) -> None:
    def meanwhile(_: float) -> None:
        world.broker.connections.ask_revoke(connection.id, now=world.clock())

    world.clock.advance(LIFE - 30)
    world.provider.arm({"fault": fault, "times": 1})
    world.provider._wait = meanwhile

    with pytest.raises(ConnectionGone):
        world.hand_out(connection.id)


@pytest.mark.parametrize("status", [Status.REAUTH_REQUIRED, Status.SUPERSEDED])
def test_nothing_is_handed_out_where_only_a_new_consent_helps(status: Status) -> None:
    world = World.in_memory()
    one = world.connect()
    world.memory[one.id] = replace(world.row(one.id), status=status)

    with pytest.raises(ReauthorizationRequired):
        world.hand_out(one.id)


def test_an_unknown_connection_is_not_found(world: World) -> None:
    with pytest.raises(ConnectionNotFound):
        world.hand_out("0" * 32)


# ── what cannot be verified ──────────────────────────────────────────────────────────────────────


def test_a_bearer_that_did_not_verify_is_not_served_and_not_refreshed_at_each_call(
    world: World, connection: Connection
) -> None:
    world.broker.connections.judge(world.row(connection.id), Verdict.BAD)

    for _ in range(3):
        with pytest.raises(UpstreamUnavailable):
            world.hand_out(connection.id)
    assert world.sends() == 0


def test_asking_does_not_rotate_at_every_call_while_the_signing_keys_are_away() -> None:
    """A cold container, strict mode, and discovery answers 503: no bearer can be checked."""
    world = World.in_memory()
    world.http.before = lambda request: http_response(503) if request.method == "GET" else None
    one = world.connect()

    for _ in range(10):
        with pytest.raises(TokenBrokerError):
            world.hand_out(one.id)
        world.clock.advance(2)

    assert world.sends() <= 1


def test_a_bearer_nobody_had_checked_is_not_handed_out_shorter_than_was_asked_for(
    world: World, connection: Connection
) -> None:
    world.broker.connections.judge(world.row(connection.id), Verdict.UNVERIFIED)
    world.clock.advance(LIFE - 30)

    bearer = world.hand_out(connection.id, min_validity=300)

    assert bearer.expires_at - world.clock() >= 300


def test_checking_an_id_token_never_raises() -> None:
    """When it is checked, its set is already durable."""
    payload = json.dumps({"iss": ["a", "list"], "sub": "s"}).encode()
    token = jwt.PyJWS().encode(payload, "k" * 32, algorithm="HS256")

    id_tokens = World.in_memory().broker.id_tokens
    id_tokens.verify(SecretText(token), nonce=None)
    id_tokens.verify_at_hand(SecretText(token), nonce=None)


def test_a_refresh_with_the_signing_key_at_hand_writes_its_row_twice_to_claim_and_to_land(
    world: World, connection: Connection
) -> None:
    world.make_due(connection.id)
    writes: list[str] = []

    def note(model: OperationModel, **_: object) -> None:
        if not model.name.startswith(("Get", "Query", "Describe")):
            writes.append(model.name)

    world.aws.dynamodb.meta.events.register("before-call.dynamodb", note)
    world.run_schedule()

    assert writes == ["UpdateItem", "UpdateItem"]
    row = world.row(connection.id)
    assert (row.generation, row.verdict) == (2, Verdict.OK)


def test_a_bearer_whose_key_is_not_at_hand_is_checked_once_its_set_is_durable(
    world: World, connection: Connection
) -> None:
    world.provider.change_signing_key()
    world.clock.advance(LIFE)
    found: list[Connection] = []

    def keys_are_asked_for(request: requests.PreparedRequest) -> None:
        if str(request.url).endswith("openid-configuration"):
            found.append(world.row(connection.id))

    world.http.before = keys_are_asked_for
    assert world.hand_out(connection.id).generation == 2

    assert [(row.generation, row.verdict) for row in found] == [(2, Verdict.UNVERIFIED)]
    assert world.row(connection.id).verdict is Verdict.OK


def test_a_set_whose_bearer_is_known_to_be_bad_lands_all_the_same(
    world: World, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.advance(LIFE)
    monkeypatch.setattr(world.broker.id_tokens, "_client_id", "another")

    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id)

    row = world.row(connection.id)
    assert (row.generation, row.verdict) == (2, Verdict.BAD)
    assert world.is_alive(row)
    assert len(world.recorded("id_token_rejected")) == 1
    assert len(world.recorded("id_token_unverified")) == 1


def test_a_rotation_without_a_bearer_keeps_the_connection_and_is_retried_by_the_schedule(
    world: World, connection: Connection
) -> None:
    world.provider.arm({"fault": "id_token_missing", "times": 1})
    world.clock.advance(LIFE)
    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id)
    assert world.row(connection.id).generation == 2

    world.make_due(connection.id)
    world.run_schedule()

    assert world.hand_out(connection.id).generation == 3


def test_the_tokens_of_another_login_are_kept_but_never_handed_out(
    world: World, connection: Connection
) -> None:
    world.provider.arm({"fault": "sub_changed", "times": 1})
    world.clock.advance(LIFE)

    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id)
    world.clock.advance(1)
    world.run_schedule()

    row = world.row(connection.id)
    assert (row.status, row.reason) == (Status.REAUTH_REQUIRED, Reason.LOGIN_CHANGED)
    assert world.recorded("subject_changed")


# ── ours, not theirs ─────────────────────────────────────────────────────────────────────────────


def test_a_refused_client_secret_is_read_again_once_and_then_stops_all_sends(
    world: World, connection: Connection
) -> None:
    world.provider.change_client_secret("changed at Akoya, not here")
    world.clock.advance(LIFE)

    with pytest.raises(BrokerMisconfigured):
        world.hand_out(connection.id)
    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id)

    assert world.sends() == 1
    assert world.row(connection.id).status is Status.ACTIVE
    assert world.recorded("breaker_opened")


def test_a_secret_changed_in_secrets_manager_is_taken_up_at_the_first_refusal(
    world: World, connection: Connection
) -> None:
    world.provider.change_client_secret("changed-on-both-sides")
    world.aws.secretsmanager.put_secret_value(
        SecretId=f"{world.prefix}-client-secret",
        SecretString='{"client_id":"f0a7c1de-client","client_secret":"changed-on-both-sides"}',
    )
    world.clock.advance(200)  # the old secret is still cached
    world.clock.now = float(connection.expires_at or 0)

    assert world.hand_out(connection.id).generation == 2
    assert not world.recorded("breaker_opened")


def test_a_bearer_that_still_lives_is_served_while_the_breaker_is_open(
    world: World, connection: Connection
) -> None:
    world.clock.advance(LIFE - 30)
    world.broker.control.open_breaker(until=world.clock() + 60)

    assert world.hand_out(connection.id).generation == 1
    assert world.sends() == 0


def test_nothing_is_sent_from_a_table_that_is_a_copy(world: World, connection: Connection) -> None:
    world.clock.advance(LIFE)
    world.aws.dynamodb.update_item(
        TableName=f"{world.prefix}-connections",
        Key={"id": {"S": "identity"}},
        UpdateExpression="SET table_id = :original",
        ExpressionAttributeValues={":original": {"S": "of-the-original"}},
    )

    with pytest.raises(BrokerMisconfigured, match="table_id: of-the-original"):
        world.hand_out(connection.id)
    with pytest.raises(BrokerMisconfigured):
        world.run_schedule()
    assert world.sends() == 0
    assert world.row(connection.id).status is Status.ACTIVE

    adopt(world.broker)
    assert world.hand_out(connection.id).generation == 2
