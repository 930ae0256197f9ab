"""What an answer of Akoya means and what the broker does about it: one table.

The wire forms that lead to each outcome, in both dialects, are `adapters/akoya.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from token_broker.domain.secret_text import SecretText


class Grant(StrEnum):
    """What was sent."""

    AUTHORIZATION_CODE = "authorization_code"
    REFRESH_TOKEN = "refresh_token"
    REVOKE = "revoke"


class Dialect(StrEnum):
    """Which generation of Akoya's identity provider words its errors so."""

    GEN1 = "gen1"  # as documented (Dex)
    GEN2 = "gen2"  # as expected of the newer provider (Ory)


class Outcome(StrEnum):
    """What an answer, or its absence, tells."""

    SUCCESS = "success"
    GARBLED = "garbled"  # 2xx with nothing in it that was asked for
    GRANT_DEAD = "grant_dead"  # the refresh token is refused
    CODE_DEAD = "code_dead"  # the authorization code is refused
    CLIENT_AUTH = "client_auth"  # our credentials are refused
    OUR_BUG = "our_bug"  # our request is refused as malformed
    THROTTLED = "throttled"  # 429, or 503 with Retry-After: nothing was done
    UPSTREAM = "upstream"  # 5xx or a connection cut after the send
    TIMEOUT = "timeout"  # sent, and no answer in time
    UNREACHABLE = "unreachable"  # never sent
    EDGE = "edge"  # something else than the token endpoint answered


class Reaction(StrEnum):
    """What the broker does about it."""

    LAND = "land"  # persist the new set first, then everything else
    ERASE = "erase"  # Akoya has revoked the consent: erase ours
    ABANDON = "abandon"  # this link attempt has failed; its person starts again
    REOPEN = "reopen"  # nothing was used up: the same redirect may be delivered again
    REPEAT = "repeat"  # same token, same holder, promptly, twice at the most; then back off
    REPEAT_ONCE = "repeat_once"  # perhaps still under way: as REPEAT, but once; then a minute
    BACK_OFF = "back_off"  # certainly nothing happened: later
    REPORT = "report"  # later, and a human should look at us
    SUSPECT = "suspect"  # the consent may be over, or Akoya wrong: looked at again and again
    REREAD_SECRET = "reread_secret"  # once with a newer secret, else all sends stop


_CODE, _REFRESH, _REVOKE = Grant.AUTHORIZATION_CODE, Grant.REFRESH_TOKEN, Grant.REVOKE

REACTIONS: Mapping[tuple[Outcome, Grant], Reaction] = {
    (Outcome.SUCCESS, _CODE): Reaction.LAND,
    (Outcome.SUCCESS, _REFRESH): Reaction.LAND,
    (Outcome.SUCCESS, _REVOKE): Reaction.ERASE,
    (Outcome.GARBLED, _CODE): Reaction.ABANDON,
    (Outcome.GARBLED, _REFRESH): Reaction.REPEAT,
    (Outcome.GARBLED, _REVOKE): Reaction.BACK_OFF,
    (Outcome.GRANT_DEAD, _REFRESH): Reaction.SUSPECT,
    (Outcome.GRANT_DEAD, _REVOKE): Reaction.SUSPECT,  # a wrong secret is answered so, too
    (Outcome.CODE_DEAD, _CODE): Reaction.ABANDON,
    (Outcome.CLIENT_AUTH, _CODE): Reaction.REREAD_SECRET,
    (Outcome.CLIENT_AUTH, _REFRESH): Reaction.REREAD_SECRET,
    (Outcome.CLIENT_AUTH, _REVOKE): Reaction.REREAD_SECRET,
    (Outcome.OUR_BUG, _CODE): Reaction.ABANDON,
    (Outcome.OUR_BUG, _REFRESH): Reaction.REPORT,
    (Outcome.OUR_BUG, _REVOKE): Reaction.REPORT,
    (Outcome.THROTTLED, _CODE): Reaction.REOPEN,
    (Outcome.THROTTLED, _REFRESH): Reaction.BACK_OFF,
    (Outcome.THROTTLED, _REVOKE): Reaction.BACK_OFF,
    (Outcome.UPSTREAM, _CODE): Reaction.ABANDON,
    (Outcome.UPSTREAM, _REFRESH): Reaction.REPEAT,
    (Outcome.UPSTREAM, _REVOKE): Reaction.BACK_OFF,
    (Outcome.TIMEOUT, _CODE): Reaction.ABANDON,
    (Outcome.TIMEOUT, _REFRESH): Reaction.REPEAT_ONCE,
    (Outcome.TIMEOUT, _REVOKE): Reaction.BACK_OFF,
    (Outcome.UNREACHABLE, _CODE): Reaction.REOPEN,
    (Outcome.UNREACHABLE, _REFRESH): Reaction.BACK_OFF,
    (Outcome.UNREACHABLE, _REVOKE): Reaction.BACK_OFF,
    (Outcome.EDGE, _CODE): Reaction.REOPEN,  # what a browser brings stops nobody else
    (Outcome.EDGE, _REFRESH): Reaction.BACK_OFF,
    (Outcome.EDGE, _REVOKE): Reaction.BACK_OFF,
}

UNREACHED = frozenset({Outcome.UNREACHABLE, Outcome.EDGE})  # no bank's fault, and no token's


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the token or revocation endpoint, parsed and classified."""

    outcome: Outcome
    detail: str  # status and error code for the log; never a body
    dialect: Dialect | None = None
    refresh_token: SecretText | None = None  # absent from a SUCCESS: the old one stays good
    id_token: SecretText | None = None
    is_type_foreign: bool = False  # it has a token_type, and that is not bearer
    expires_in: int | None = None
    retry_after: int | None = None
    is_for_all: bool = False  # a 429: too many requests of ours, whatever the connection
    interaction_id: str | None = None  # what Akoya's support traces a request by
    reported: bool = False  # documented as a fault of our request: a human should look, too

    @property
    def traced(self) -> Mapping[str, Any]:
        """Return the fields that a log line has of this answer."""
        return {"detail": self.detail, "interaction_id": self.interaction_id}
