"""What the sandbox can be told to do wrong: a table of small values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .answer import Answer, json_answer
from .data_api import DATA_ERRORS
from .dialects import Situation

Operation = Literal["exchange", "refresh", "revoke", "data"]
Claims = dict[str, Any]

_TOKENS: tuple[Operation, ...] = ("refresh", "exchange")
_OAUTH: tuple[Operation, ...] = (*_TOKENS, "revoke")
_ALL: tuple[Operation, ...] = (*_OAUTH, "data")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What some faults can be told: a status, seconds to wait, seconds of Retry-After (or none)."""

    status: int = 500
    seconds: float = 60.0
    retry_after: int | None = None


def _as_it_is(answer: Answer, _parameters: Parameters) -> Answer:
    return answer


def _same_claims(claims: Claims) -> Claims:
    return claims


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave; the first of `on` is where it is armed unless told otherwise.

    A request with `takes_effect` False changes nothing at the provider. One that `waits` is held
    back before or after what it does, and only then answered; with `heeds_hanging_up` it changes
    nothing either if its client has gone by then. `seconds` are to wait unless told otherwise.
    `refusals` refuse it as if it were at fault. `refresh_token` says what a token answer does about
    that token; `claims` and `kid` change the id_token before it is signed; `answer` has the last
    word.
    """

    name: str
    meaning: str
    on: tuple[Operation, ...]
    takes_effect: bool = True
    waits: Literal["before", "after"] | None = None
    heeds_hanging_up: bool = False
    seconds: float = 60.0
    refusals: Mapping[Operation, Situation] = field(default_factory=dict)
    refresh_token: Literal["rotated", "unchanged", "missing"] = "rotated"
    claims: Callable[[Claims], Claims] = _same_claims
    kid: str | None = None
    answer: Callable[[Answer, Parameters], Answer] = _as_it_is


def _lost(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, lost=True)


def _failed(_answer: Answer, parameters: Parameters) -> Answer:
    """A 500 is the provider's own; any other 5xx comes from a gateway before it."""
    if parameters.status == 500:  # noqa: PLR2004
        return json_answer(500, {"error": "server_error"}, {})
    return _html_page(parameters.status, "Upstream error")


def _empty(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, body=b"")


def _html(_answer: Answer, _parameters: Parameters) -> Answer:
    return _html_page(200, "Welcome")


def _redirect(_answer: Answer, _parameters: Parameters) -> Answer:
    return Answer(302, {"Location": "/", "Content-Type": "text/html; charset=utf-8"})


def too_many(retry_after: int | None) -> Answer:
    """Return Akoya's answer to too many requests, with the seconds to wait if it says them."""
    error = DATA_ERRORS[1207]
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return json_answer(error.status, error.body(), headers)


def _throttled(_answer: Answer, parameters: Parameters) -> Answer:
    return too_many(parameters.retry_after)


def _as_text(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, headers={**answer.headers, "Content-Type": "text/plain"})


def _with(**members: object) -> Callable[[Answer, Parameters], Answer]:
    """Change members of a good answer; None takes one out."""

    def change(answer: Answer, _parameters: Parameters) -> Answer:
        if answer.status != 200:  # noqa: PLR2004
            return answer
        body = {**answer.json(), **members}
        kept = {name: value for name, value in body.items() if value is not None}
        return replace(answer, body=json.dumps(kept).encode())

    return change


def _cut_behind_refresh_token(answer: Answer, _parameters: Parameters) -> Answer:
    """Cut right behind the closing quote; whatever stood after it is lost."""
    if answer.status != 200 or "refresh_token" not in answer.json():  # noqa: PLR2004
        return answer
    token = json.dumps(answer.json()["refresh_token"]).encode()
    return replace(answer, cut_at=answer.body.index(token) + len(token))


def _cut_before_id_token(answer: Answer, parameters: Parameters) -> Answer:
    """As a server answers that puts the refresh_token first."""
    if answer.status != 200 or "refresh_token" not in answer.json():  # noqa: PLR2004
        return answer
    members = answer.json()
    first = {"refresh_token": members.pop("refresh_token"), **members}
    return _cut_behind_refresh_token(replace(answer, body=json.dumps(first).encode()), parameters)


def _dripping(part: Literal["headers", "body"]) -> Callable[[Answer, Parameters], Answer]:
    return lambda answer, _parameters: replace(answer, drips=part)


def _json_error(_answer: Answer, _parameters: Parameters) -> Answer:
    return json_answer(200, {"error": "server_error"}, {})


def _html_page(status: int, title: str) -> Answer:
    page = f"<!doctype html><html><head><title>{title}</title></head><body>{title}</body></html>"
    return Answer(status, {"Content-Type": "text/html; charset=utf-8"}, page.encode())


NO_FAULT = Fault("none", "All goes well.", ())

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "lost_before_commit",
            "The connection is cut and nothing happened.",
            _ALL,
            takes_effect=False,
            answer=_lost,
        ),
        Fault(
            "lost_after_commit",
            "It happened, and the connection is cut before the answer.",
            _ALL,
            answer=_lost,
        ),
        Fault(
            "slow",
            "Nothing happens for `seconds`; then it happens and is answered.",
            _ALL,
            waits="before",
        ),
        Fault(
            "slow_then_lost",
            "Nothing happens for `seconds`; then the connection is cut and nothing happened.",
            _ALL,
            takes_effect=False,
            waits="before",
            answer=_lost,
        ),
        Fault(
            "slow_after_commit",
            "It happens, and is answered after `seconds`.",
            _ALL,
            waits="after",
        ),
        Fault(
            "slow_unless_hung_up",
            "Nothing happens for `seconds`; then it happens and is answered, unless the client has"
            " hung up: then nothing happened.",
            _ALL,
            waits="before",
            heeds_hanging_up=True,
        ),
        Fault(
            "dripping_headers",
            "It happens, and the headers come a byte every `seconds`.",
            _OAUTH,
            seconds=1.0,
            answer=_dripping("headers"),
        ),
        Fault(
            "dripping_body",
            "It happens, and the body comes a byte every `seconds`.",
            _OAUTH,
            seconds=1.0,
            answer=_dripping("body"),
        ),
        Fault(
            "cut_behind_refresh_token",
            "It happened, and the answer is cut behind the refresh_token, its last member.",
            _TOKENS,
            answer=_cut_behind_refresh_token,
        ),
        Fault(
            "cut_before_id_token",
            "It happened, and the answer is cut behind the refresh_token, its first member.",
            _TOKENS,
            answer=_cut_before_id_token,
        ),
        Fault(
            "error_before_commit",
            "A 5xx (`status`) and nothing happened.",
            _ALL,
            takes_effect=False,
            answer=_failed,
        ),
        Fault(
            "error_after_commit", "It happened, and the answer is a 5xx.", _OAUTH, answer=_failed
        ),
        Fault("empty", "It happened, and the answer is 200 with no body.", _TOKENS, answer=_empty),
        Fault("html", "It happened, and the answer is 200 with a page.", _TOKENS, answer=_html),
        Fault(
            "redirect",
            "A 302 to a page and nothing happened.",
            _ALL,
            takes_effect=False,
            answer=_redirect,
        ),
        Fault(
            "too_many_requests",
            "A 429 and nothing happened; with `retry_after` that header comes too.",
            _ALL,
            takes_effect=False,
            answer=_throttled,
        ),
        Fault(
            "wrong_secret",
            "The app's credentials are refused although they are right.",
            _OAUTH,
            refusals={
                "exchange": Situation.CLIENT_INVALID,
                "refresh": Situation.CLIENT_INVALID,
                "revoke": Situation.REVOCATION_SECRET_WRONG,
            },
        ),
        Fault(
            "grant_dead",
            "The refresh token is refused although it lives.",
            ("refresh",),
            refusals={"refresh": Situation.REFRESH_TOKEN_DEAD},
        ),
        Fault(
            "revoke_refused",
            "The revoke is refused although the refresh token lives.",
            ("revoke",),
            refusals={"revoke": Situation.REVOCATION_INVALID},
        ),
        Fault(
            "revoke_html",
            "A 200 with a page to a revoke, and nothing happened.",
            ("revoke",),
            takes_effect=False,
            answer=_html,
        ),
        Fault(
            "revoke_error",
            "A 200 with a JSON error to a revoke, and nothing happened.",
            ("revoke",),
            takes_effect=False,
            answer=_json_error,
        ),
        Fault(
            "code_dead",
            "The code is refused as used although it lives.",
            ("exchange",),
            refusals={"exchange": Situation.CODE_DEAD},
        ),
        Fault(
            "refresh_token_missing",
            "No rotation, and the answer has no refresh_token: the old one stays good.",
            _TOKENS,
            refresh_token="missing",
        ),
        Fault(
            "refresh_token_unchanged",
            "No rotation, and the answer repeats the refresh_token.",
            ("refresh",),
            refresh_token="unchanged",
        ),
        Fault(
            "id_token_missing",
            "Rotated, and the answer has no id_token.",
            _TOKENS,
            answer=_with(id_token=None),
        ),
        Fault(
            "expires_in_string",
            'expires_in is "899", a string.',
            _TOKENS,
            answer=_with(expires_in="899"),
        ),
        Fault(
            "expires_in_absurd",
            "expires_in is beyond any clock.",
            _TOKENS,
            answer=_with(expires_in=10**30),
        ),
        Fault(
            "expires_in_missing",
            "There is no expires_in.",
            _TOKENS,
            answer=_with(expires_in=None),
        ),
        Fault("content_type", "A good answer calls itself text/plain.", _TOKENS, answer=_as_text),
        Fault(
            "aud_string",
            "aud is the client id.",
            _TOKENS,
            claims=lambda claims: {**claims, "aud": claims["recipientId"]},
        ),
        Fault(
            "aud_list",
            "aud is a list of the client id.",
            _TOKENS,
            claims=lambda claims: {**claims, "aud": [claims["recipientId"]]},
        ),
        Fault(
            "aud_other",
            "aud is a name instead of the client id, as in Akoya's oldest sample.",
            _TOKENS,
            claims=lambda claims: {**claims, "aud": "recipient"},
        ),
        Fault(
            "iss_without_slash",
            "iss has lost its trailing slash.",
            _TOKENS,
            claims=lambda claims: {**claims, "iss": claims["iss"].rstrip("/")},
        ),
        Fault(
            "sub_changed",
            "The id_token is of somebody else.",
            _TOKENS,
            claims=lambda claims: {**claims, "sub": claims["sub"][::-1]},
        ),
        Fault(
            "many_accounts",
            "The id_token names 2,000 accounts.",
            _TOKENS,
            claims=lambda claims: {**claims, "accounts": [f"account-{n:027}" for n in range(2000)]},
        ),
        Fault(
            "nonce_missing",
            "The id_token does not repeat the nonce.",
            ("exchange",),
            claims=lambda claims: {k: v for k, v in claims.items() if k != "nonce"},
        ),
        Fault("unknown_key", "The id_token names a key nobody published.", _TOKENS, kid="unknown"),
    )
}
