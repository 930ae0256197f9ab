"""The two identity providers Akoya is known to have run, as tables of what each does and says.

gen1 is the one whose behaviour and error texts Akoya documents; gen2 is inferred from tokens and
scripts seen in public (akoya-sandbox.md, "Documented and inferred").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Situation(StrEnum):
    """Why the token or revoke endpoint refuses; the wire answer depends on the dialect."""

    CLIENT_INVALID = "client_invalid"
    CLIENT_BADLY_ENCODED = "client_badly_encoded"
    CLIENT_TWO_METHODS = "client_two_methods"
    PARAMETER_REPEATED = "parameter_repeated"
    GRANT_TYPE_MISSING = "grant_type_missing"
    GRANT_TYPE_UNSUPPORTED = "grant_type_unsupported"
    CODE_DEAD = "code_dead"
    REDIRECT_URI_DIFFERS = "redirect_uri_differs"
    CODE_VERIFIER_WRONG = "code_verifier_wrong"
    REFRESH_TOKEN_MISSING = "refresh_token_missing"
    REFRESH_TOKEN_DEAD = "refresh_token_dead"
    REVOCATION_INVALID = "revocation_invalid"
    REVOCATION_HINT_UNSUPPORTED = "revocation_hint_unsupported"
    REVOCATION_SECRET_WRONG = "revocation_secret_wrong"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An OAuth error answer (RFC 6749 section 5.2)."""

    status: int
    error: str
    description: str | None = None


# Akoya's published table of token errors, to the letter; what it leaves open follows RFC 6749 5.2
# and RFC 7636 4.6.
_GEN1_REFUSALS: Mapping[Situation, Refusal] = {
    Situation.CLIENT_INVALID: Refusal(401, "invalid_client", "Invalid client credentials."),
    Situation.CLIENT_BADLY_ENCODED: Refusal(
        400, "invalid_request", "client_secret improperly encoded"
    ),
    Situation.CLIENT_TWO_METHODS: Refusal(
        400, "invalid_request", "More than one client authentication method in request."
    ),
    Situation.PARAMETER_REPEATED: Refusal(
        400, "invalid_request", "A parameter appears more than once in request."
    ),
    Situation.GRANT_TYPE_MISSING: Refusal(400, "invalid_grant"),
    Situation.GRANT_TYPE_UNSUPPORTED: Refusal(400, "invalid_grant"),
    Situation.CODE_DEAD: Refusal(400, "invalid_request", "Invalid or expired code parameter."),
    Situation.REDIRECT_URI_DIFFERS: Refusal(
        400, "invalid_request", "redirect_uri did not match URI from initial request."
    ),
    Situation.CODE_VERIFIER_WRONG: Refusal(400, "invalid_grant", "Invalid code_verifier."),
    Situation.REFRESH_TOKEN_MISSING: Refusal(
        400, "invalid_request", "No refresh token in request."
    ),
    Situation.REFRESH_TOKEN_DEAD: Refusal(
        400,
        "invalid_request",
        "Refresh token is invalid or has already been claimed by another client.",
    ),
    Situation.REVOCATION_INVALID: Refusal(400, "invalid_request"),
    Situation.REVOCATION_HINT_UNSUPPORTED: Refusal(400, "unsupported_token_type"),
    Situation.REVOCATION_SECRET_WRONG: Refusal(401, "unauthorized_client"),
}

_GEN2_GRANT_DEAD = Refusal(
    400,
    "invalid_grant",
    "The authorization grant or refresh token is invalid, expired, revoked, does not match the"
    " redirect URI of the authorization request, or was issued to another client.",
)
_GEN2_REFUSALS: Mapping[Situation, Refusal] = {
    **_GEN1_REFUSALS,
    Situation.CLIENT_INVALID: Refusal(
        401,
        "invalid_client",
        "Client authentication failed: unknown client, no client authentication, or an"
        " unsupported method.",
    ),
    Situation.GRANT_TYPE_MISSING: Refusal(
        400, "invalid_request", "The request has no grant_type parameter."
    ),
    Situation.GRANT_TYPE_UNSUPPORTED: Refusal(
        400, "unsupported_grant_type", "The grant type is not supported."
    ),
    Situation.CODE_DEAD: _GEN2_GRANT_DEAD,
    Situation.REDIRECT_URI_DIFFERS: _GEN2_GRANT_DEAD,
    Situation.CODE_VERIFIER_WRONG: _GEN2_GRANT_DEAD,
    Situation.REFRESH_TOKEN_MISSING: _GEN2_GRANT_DEAD,
    Situation.REFRESH_TOKEN_DEAD: _GEN2_GRANT_DEAD,
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One identity provider's rules.

    `reuse_window` is in seconds from the first use of a refresh token; a second use within it
    follows `reuse_within_window`, a later one `reuse_after_window`.
    """

    name: str
    meaning: str
    refusals: Mapping[Situation, Refusal]
    generation: Literal[1, 2]
    reuse_window: int
    reuse_within_window: Literal["same_successor", "another_successor"]
    reuse_after_window: Literal["refuse", "revoke_family"]
    relink_replaces: bool
    code_reuse_revokes: bool
    shortest_state: int


def _gen1(name: str, meaning: str, *, reuse_window: int) -> Dialect:
    return Dialect(
        name=name,
        meaning=meaning,
        refusals=_GEN1_REFUSALS,
        generation=1,
        reuse_window=reuse_window,
        reuse_within_window="same_successor",
        reuse_after_window="refuse",
        relink_replaces=True,
        code_reuse_revokes=False,
        shortest_state=0,
    )


def _gen2(name: str, meaning: str, *, reuse_window: int) -> Dialect:
    return Dialect(
        name=name,
        meaning=meaning,
        refusals=_GEN2_REFUSALS,
        generation=2,
        reuse_window=reuse_window,
        reuse_within_window="another_successor",
        reuse_after_window="revoke_family",
        relink_replaces=False,
        code_reuse_revokes=True,
        shortest_state=8,
    )


DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        _gen1(
            "gen1",
            "A used refresh token is refused; its successor lives on.",
            reuse_window=0,
        ),
        _gen1(
            "gen1-reuse-window",
            "A used refresh token gives its own successor again for 3 s, then it is refused.",
            reuse_window=3,
        ),
        _gen2(
            "gen2-strict",
            "A used refresh token is refused and every token of its consent dies with it.",
            reuse_window=0,
        ),
        _gen2(
            "gen2-grace",
            "A used refresh token gives another successor for 60 s, then as gen2-strict.",
            reuse_window=60,
        ),
    )
}
