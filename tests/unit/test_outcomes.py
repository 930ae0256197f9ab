"""Akoya's answers, their meaning and our reaction: every outcome, dialect and grant has a case.

Source of the wire forms: akoya token-errors and revoke pages (gen1), the newer identity provider's
own software (gen2).
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from typing import Any

import jwt
import pytest
import requests
import urllib3

from tests.loopback import Silenced, http_response
from tests.world import World
from token_broker.adapters.akoya import LARGEST_BODY, REFUSALS, AkoyaTokenEndpoint, Wire, classify
from token_broker.domain.connection import Status
from token_broker.domain.errors import TokenBrokerError
from token_broker.domain.outcome import (
    REACTIONS,
    Answer,
    Dialect,
    Grant,
    Outcome,
    Reaction,
)
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.refresh_policy import CONNECT_TIMEOUT, READ_TIMEOUT
from token_broker.domain.secret_text import SecretText

# What cannot come of a grant: a code is not a refresh token.
IMPOSSIBLE = frozenset(
    {
        (Outcome.GRANT_DEAD, Grant.AUTHORIZATION_CODE),
        (Outcome.CODE_DEAD, Grant.REFRESH_TOKEN),
        (Outcome.CODE_DEAD, Grant.REVOKE),
    }
)
GEN1, GEN2 = Dialect.GEN1, Dialect.GEN2
CODE, REFRESH, REVOKE = Grant.AUTHORIZATION_CODE, Grant.REFRESH_TOKEN, Grant.REVOKE
CLAIMED = "Refresh token is invalid or has already been claimed by another client."
HYDRA = "The provided authorization grant or refresh token is invalid, expired, revoked, …"


def error(status: int, code: str, description: str | None = None) -> Wire:
    body = {"error": code} | ({"error_description": description} if description else {})
    return Wire(status, json.dumps(body).encode())


PAIR = json.dumps({"id_token": "i", "refresh_token": "r"}).encode()
HALF = b'{"id_token":"i","refresh_token":"r'
OVERLONG = PAIR[:-1] + b',"filler":"' + b"x" * LARGEST_BODY
HTML = b"<!doctype html><p>Sign in</p>"
PAGE_WITHOUT_END = HTML + b"<p>" * LARGEST_BODY
EITHER = (GEN1, GEN2)

# What the transport may do instead of answering, as `requests` raises it.
UNSENT = requests.ConnectionError(
    urllib3.exceptions.MaxRetryError(
        urllib3.connectionpool.HTTPConnectionPool("localhost"),
        "/token",
        urllib3.exceptions.NewConnectionError(
            urllib3.connection.HTTPConnection("localhost"), "refused"
        ),
    )
)
UNTRUSTED = requests.exceptions.SSLError(
    urllib3.exceptions.MaxRetryError(
        urllib3.connectionpool.HTTPSConnectionPool("localhost"),
        "/token",
        urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED")),
    )
)
CUT = requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted."))

# (outcome, dialects, grants, what comes back): a wire form, or what the transport raises.
CASES: list[tuple[Outcome, tuple[Dialect, ...], tuple[Grant, ...], Wire | Exception]] = [
    (Outcome.SUCCESS, EITHER, (CODE, REFRESH), Wire(200, PAIR)),
    (Outcome.SUCCESS, EITHER, (REFRESH,), Wire(200, b'{"id_token":"i"}')),
    (Outcome.SUCCESS, EITHER, (CODE, REFRESH), Wire(200, b'{"refresh_token":"r"}')),
    (Outcome.SUCCESS, EITHER, (CODE, REFRESH), Wire(200, PAIR[:-1], cut=Outcome.TIMEOUT)),
    (Outcome.SUCCESS, EITHER, (CODE, REFRESH), Wire(200, PAIR, cut=Outcome.UPSTREAM)),
    (Outcome.SUCCESS, EITHER, (CODE, REFRESH), Wire(200, OVERLONG)),
    (Outcome.SUCCESS, EITHER, (REVOKE,), Wire(200, b"")),
    (Outcome.SUCCESS, EITHER, (REVOKE,), Wire(204, b"")),
    (Outcome.SUCCESS, EITHER, (REVOKE,), Wire(200, b"{}")),
    (Outcome.SUCCESS, EITHER, (REVOKE,), Wire(200, b'{"status":"revoked"}')),
    (Outcome.GARBLED, EITHER, (REVOKE,), Wire(200, HTML)),
    (Outcome.GARBLED, EITHER, (REVOKE,), Wire(200, b" ")),
    (Outcome.GARBLED, EITHER, (REVOKE,), Wire(200, b"[]")),
    (Outcome.GARBLED, EITHER, (REVOKE,), Wire(200, b'"ok"')),
    (Outcome.GARBLED, EITHER, (REVOKE,), error(200, "server_error")),
    (Outcome.GARBLED, EITHER, (REVOKE,), Wire(200, b'{"error":null}')),
    (Outcome.SUCCESS, EITHER, (CODE, REFRESH), Wire(200, PAIR[:-1])),  # its connection was closed
    (Outcome.GARBLED, EITHER, (CODE, REFRESH), Wire(200, b'{"id_token":"i","refresh_tok')),
    (Outcome.GARBLED, EITHER, (CODE, REFRESH), Wire(200, PAGE_WITHOUT_END)),
    (Outcome.EDGE, EITHER, (CODE, REFRESH, REVOKE), Wire(403, PAGE_WITHOUT_END)),
    (Outcome.UPSTREAM, EITHER, (CODE, REFRESH, REVOKE), Wire(200, b"{", cut=Outcome.UPSTREAM)),
    (Outcome.TIMEOUT, EITHER, (CODE, REFRESH, REVOKE), Wire(200, b"", cut=Outcome.TIMEOUT)),
    (Outcome.TIMEOUT, EITHER, (CODE, REFRESH), Wire(200, HALF, cut=Outcome.TIMEOUT)),
    (Outcome.TIMEOUT, EITHER, (CODE, REFRESH, REVOKE), Wire(400, HALF, cut=Outcome.TIMEOUT)),
    (Outcome.GARBLED, EITHER, (CODE, REFRESH), Wire(200, b"")),
    (Outcome.GARBLED, EITHER, (CODE, REFRESH), Wire(200, HTML)),
    (Outcome.GARBLED, EITHER, (CODE, REFRESH), Wire(200, b"[1]")),
    (Outcome.GARBLED, EITHER, (CODE, REFRESH), Wire(200, b'{"id_token":7}')),
    (Outcome.GRANT_DEAD, (GEN1,), (REFRESH,), error(400, "invalid_request", CLAIMED)),
    (Outcome.GRANT_DEAD, (GEN2,), (REFRESH,), error(400, "invalid_grant", HYDRA)),
    (Outcome.GRANT_DEAD, (GEN1,), (REFRESH,), error(400, "invalid_grant")),
    (Outcome.GRANT_DEAD, (GEN2,), (REFRESH,), error(400, "token_inactive")),
    (Outcome.GRANT_DEAD, (GEN2,), (REFRESH,), error(401, "token_inactive")),
    (Outcome.CODE_DEAD, (GEN2,), (CODE,), error(401, "token_inactive")),
    (Outcome.GRANT_DEAD, (GEN1,), (REVOKE,), error(400, "invalid_request")),
    (Outcome.GRANT_DEAD, (GEN2,), (REVOKE,), error(400, "invalid_grant", HYDRA)),
    (Outcome.CODE_DEAD, (GEN1,), (CODE,), error(400, "invalid_request", "Invalid or expired code")),
    (Outcome.CODE_DEAD, (GEN2,), (CODE,), error(400, "invalid_grant", HYDRA)),
    (Outcome.CLIENT_AUTH, (GEN1,), (CODE, REFRESH), error(401, "invalid_client", "Invalid")),
    (Outcome.CLIENT_AUTH, (GEN2,), (CODE, REFRESH), error(401, "invalid_client")),
    (Outcome.CLIENT_AUTH, (GEN2,), (CODE, REFRESH), error(401, "unauthorized_client")),
    (Outcome.CLIENT_AUTH, (GEN1,), (REVOKE,), error(401, "unauthorized_client")),
    (Outcome.CLIENT_AUTH, (GEN2,), (REVOKE,), error(401, "invalid_client")),
    (Outcome.CLIENT_AUTH, EITHER, (CODE, REFRESH, REVOKE), error(403, "invalid_client")),
    (Outcome.OUR_BUG, (GEN1,), (CODE,), error(400, "invalid_request", "redirect_uri did not …")),
    (Outcome.OUR_BUG, (GEN1,), (REFRESH,), error(400, "invalid_request", "No refresh token in")),
    (Outcome.OUR_BUG, (GEN2,), (CODE, REFRESH), error(400, "unsupported_grant_type")),
    (Outcome.OUR_BUG, (GEN1,), (REVOKE,), error(400, "unsupported_token_type")),
    (Outcome.OUR_BUG, (GEN2,), (CODE, REFRESH, REVOKE), error(400, "invalid_scope")),
    (Outcome.OUR_BUG, EITHER, (CODE, REFRESH, REVOKE), error(400, "something_new")),
    (Outcome.THROTTLED, EITHER, (CODE, REFRESH, REVOKE), Wire(429, b"", "7")),
    (Outcome.THROTTLED, EITHER, (CODE, REFRESH, REVOKE), Wire(429, HTML)),
    (Outcome.UPSTREAM, EITHER, (CODE, REFRESH, REVOKE), error(500, "server_error")),
    (Outcome.UPSTREAM, EITHER, (CODE, REFRESH, REVOKE), Wire(503, HTML)),
    (Outcome.UPSTREAM, (GEN2,), (REFRESH,), error(400, "invalid_request", "concurrent requests")),
    (Outcome.UPSTREAM, EITHER, (CODE, REFRESH, REVOKE), CUT),
    (Outcome.UPSTREAM, EITHER, (CODE, REFRESH, REVOKE), requests.exceptions.SSLError("EOF")),
    (Outcome.TIMEOUT, EITHER, (CODE, REFRESH, REVOKE), requests.ReadTimeout()),
    (Outcome.UNREACHABLE, EITHER, (CODE, REFRESH, REVOKE), requests.ConnectTimeout()),
    (Outcome.UNREACHABLE, EITHER, (CODE, REFRESH, REVOKE), UNTRUSTED),
    (Outcome.UNREACHABLE, EITHER, (CODE, REFRESH, REVOKE), UNSENT),
    (Outcome.EDGE, EITHER, (CODE, REFRESH, REVOKE), Wire(302, HTML)),
    (Outcome.EDGE, EITHER, (CODE, REFRESH, REVOKE), Wire(403, HTML)),
    (Outcome.EDGE, EITHER, (CODE, REFRESH, REVOKE), Wire(404, b'{"message":"no route"}')),
    (Outcome.EDGE, EITHER, (CODE, REFRESH, REVOKE), Wire(401, HTML)),
    (Outcome.EDGE, EITHER, (CODE, REFRESH, REVOKE), Wire(400, HTML)),
    (Outcome.EDGE, EITHER, (CODE, REFRESH, REVOKE), Wire(400, b'{"error":{"code":7}}')),
]
SPREAD = [
    (outcome, dialect, grant, back)
    for outcome, dialects, grants, back in CASES
    for dialect in dialects
    for grant in grants
]


def test_every_outcome_and_grant_has_one_reaction_or_is_declared_impossible() -> None:
    assert set(product(Outcome, Grant)) == REACTIONS.keys() | IMPOSSIBLE
    assert not REACTIONS.keys() & IMPOSSIBLE
    assert set(REACTIONS.values()) == set(Reaction)


def test_every_cell_of_outcome_dialect_and_grant_has_a_case() -> None:
    cells = {(outcome, grant, dialect) for outcome, dialect, grant, _ in SPREAD}
    assert cells == {(*cell, dialect) for cell, dialect in product(REACTIONS, Dialect)}


def test_every_refusal_the_code_knows_has_a_case() -> None:
    cases = {
        (grant, back.status, json.loads(back.body)["error"])
        for _, _, grant, back in SPREAD
        if isinstance(back, Wire) and back.body.startswith(b'{"error": "')
    }
    known = {(form.grant, form.status, form.error) for form in REFUSALS}
    assert known <= cases


class Wired(requests.adapters.BaseAdapter):
    """A network that gives one thing back."""

    def __init__(self, back: Wire | Exception) -> None:
        super().__init__()
        self.back = back
        self.sent = 0

    def send(self, *_: Any, **__: Any) -> requests.Response:
        self.sent += 1
        if isinstance(self.back, Exception):
            raise self.back
        headers = {"Retry-After": self.back.retry_after} if self.back.retry_after else {}
        body = Silenced(self.back.body) if self.back.cut is Outcome.TIMEOUT else self.back.body
        length = len(self.back.body) + 1 if self.back.cut is Outcome.UPSTREAM else None
        return http_response(self.back.status, body, headers, length=length)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("outcome", "dialect", "grant", "back"), SPREAD)
def test_an_answer_is_taken_for_what_it_means_and_nothing_is_sent_twice(
    outcome: Outcome, dialect: Dialect, grant: Grant, back: Wire | Exception
) -> None:
    network, session = Wired(back), requests.Session()
    session.mount("http://", network)
    endpoint = AkoyaTokenEndpoint(session, "http://idp")
    credentials = ClientCredentials(client_id="c", client_secret=SecretText("s"))
    secret = SecretText("sent")
    ask: dict[Grant, Callable[[], Answer]] = {
        CODE: lambda: endpoint.exchange(
            secret, redirect_uri="u", code_verifier=None, credentials=credentials
        ),
        REFRESH: lambda: endpoint.refresh(secret, credentials=credentials),
        REVOKE: lambda: endpoint.revoke(secret, credentials=credentials),
    }

    assert ask[grant]().outcome is outcome
    assert network.sent == 1


@pytest.mark.parametrize(
    ("written", "read"),
    [(86399, 86399), ("86399", 86399), (86399.0, 86399), (86399.9, 86399)]
    + [(odd, None) for odd in ("soon", -1, -1.5, 1e99, True, float("nan"), float("inf"))],
)
def test_expires_in_is_read_however_it_is_written_or_not_at_all(
    written: object, read: int | None
) -> None:
    body = json.dumps({"id_token": "i", "refresh_token": "r", "expires_in": written}).encode()
    assert classify(REFRESH, Wire(200, body)).expires_in == read


def test_nothing_of_a_body_reaches_the_detail_that_is_logged() -> None:
    body = json.dumps({"error": "leak me: rt-12345", "refresh_token": "rt-12345"}).encode()
    assert "12345" not in classify(REFRESH, Wire(400, body)).detail


def test_a_code_goes_with_basic_and_a_refresh_token_with_body_credentials(world: World) -> None:
    connection = world.connect()
    world.make_due(connection.id)
    world.run_schedule()

    code, refresh = (r for r in world.http.sent if str(r.url).endswith("/token"))

    assert str(code.headers["Authorization"]).startswith("Basic ")
    assert "client_secret" not in str(code.body)
    assert "Authorization" not in refresh.headers
    assert "client_secret=" in str(refresh.body)


# ── what was read is kept ────────────────────────────────────────────────────────────────────────


def first_answer(
    world: World, grant_type: str, altered: Callable[[requests.Response], requests.Response]
) -> None:
    """Alter the first answer to a grant on its way back."""
    left = [altered]

    def on_answer(response: requests.Response) -> requests.Response:
        if f"grant_type={grant_type}" in str(response.request.body) and left:
            return left.pop()(response)
        return response

    world.http.after = on_answer


CUTS = ["cut_behind_refresh_token", "cut_before_id_token"]


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
@pytest.mark.parametrize("fault", CUTS)
def test_a_rotation_whose_answer_was_cut_behind_its_refresh_token_is_kept(
    fault: str, dialect: str
) -> None:
    world = World.in_memory(dialect)
    one = world.connect()
    world.make_due(one.id)
    world.provider.arm({"fault": fault, "times": 1})
    world.run_schedule()

    row = world.row(one.id)
    assert (row.status, row.generation) == (Status.ACTIVE, 2)
    assert world.is_alive(row)
    assert world.sends() == 1


@pytest.mark.parametrize("fault", CUTS)
def test_a_code_whose_answer_was_cut_behind_its_refresh_token_is_not_lost(fault: str) -> None:
    world = World.in_memory()
    world.provider.arm({"fault": fault, "on": ["exchange"], "times": 1})

    with suppress(TokenBrokerError):  # whether it counts without a nonce is decided elsewhere
        world.link()

    (row,) = world.broker.connections.every()
    assert world.is_alive(world.row(row.id))


def test_the_living_bearer_stays_where_the_new_set_has_none() -> None:
    world = World.in_memory()
    one = world.connect()
    before = world.hand_out(one.id)
    world.make_due(one.id)
    world.provider.arm({"fault": "cut_before_id_token", "times": 1})
    world.run_schedule()

    row = world.row(one.id)
    assert (row.generation, row.expires_at, row.issued_at) == (2, before.expires_at, one.issued_at)
    bearer = world.hand_out(one.id)
    assert bearer.id_token == before.id_token
    assert (bearer.generation, bearer.expires_at) == (2, before.expires_at)
    assert world.is_accepted(bearer)


def test_a_bearer_that_was_rejected_does_not_stay() -> None:
    world = World.in_memory()
    one = world.connect()
    world.provider.arm({"fault": "cut_before_id_token", "times": 1})

    with pytest.raises(TokenBrokerError):
        world.hand_out(one.id, rejected=1)

    row = world.row(one.id)
    assert row.generation == 2
    assert world.is_alive(row)
    assert row.remaining(world.clock()) == 0


def test_what_drips_in_within_the_deadline_is_an_answer_as_any_other() -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    world.provider.arm({"fault": "dripping_body", "times": 1, "seconds": 0.02})
    world.run_schedule()

    assert world.row(one.id).generation == 2
    assert world.sends() == 1


@pytest.mark.parametrize("fault", ["dripping_headers", "dripping_body"])
def test_an_answer_that_never_ends_takes_no_longer_than_the_deadline(fault: str) -> None:
    world = World.in_memory("gen2-grace")
    one = world.connect()
    world.make_due(one.id)
    began = world.clock()
    world.provider.arm({"fault": fault, "times": 1})
    answer = world.broker.token_endpoint.refresh(
        world.broker.seal.open(world.row(one.id)).refresh_token,
        credentials=world.broker.client_secret.read(),
    )

    assert answer.outcome is Outcome.TIMEOUT
    assert world.clock() - began == CONNECT_TIMEOUT + READ_TIMEOUT + 1


@pytest.mark.parametrize(
    "claim",
    [
        {"iat": 10**40},  # a number of DynamoDB has 38 digits at the most
        {"nonce": ["a"]},
        {"nonce": {"a": 1}},
    ],
    ids=str,
)
def test_a_set_is_kept_also_if_a_claim_beside_it_is_absurd(
    world: World, claim: dict[str, Any]
) -> None:
    def absurd(response: requests.Response) -> requests.Response:
        body = json.loads(response.raw.read())
        claims = jwt.decode(body["id_token"], options={"verify_signature": False})
        body["id_token"] = jwt.encode(claims | claim, "k" * 32, algorithm="HS256")
        return http_response(response.status_code, json.dumps(body).encode())

    first_answer(world, "authorization_code", absurd)

    with suppress(TokenBrokerError):  # anything else has lost the set
        world.link()


def test_nobody_repeats_a_send_that_would_outlast_the_lease() -> None:
    """However long the process lives: once the lease is over, another may be sending."""
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)

    def cut_off_late(_: requests.PreparedRequest) -> None:
        world.clock.advance(40)
        raise requests.ConnectionError("cut")

    world.http.before = cut_off_late
    world.run_schedule()

    assert world.sends() == 2  # the second ends 80 s into the lease's 115 seconds
