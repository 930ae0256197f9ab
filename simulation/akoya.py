"""Akoya as its callers meet it: answers that take their time, outages, and a bank that hangs."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass

from simulation.clockwork import Clockwork, Machine
from token_broker.domain.connection import Connection
from token_broker.domain.outcome import Answer, Outcome
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.refresh_policy import CONNECT_TIMEOUT, READ_TIMEOUT
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Claims, TokenSet, Verdict

# Assumed, for Akoya publishes none: half of the answers come within MEDIAN seconds, and one in a
# hundred takes longer than four times that (log-normal).
MEDIAN = 0.3
SPREAD = math.log(4) / 2.326
# Assumed seconds of one whole processor for a refresh, all its calls to AWS included. make load saw
# 11 ms on a busy machine without TLS (docs/scaling.md, "What this stands on").
CPU = 0.007
AWS_CALLS = 0.03  # seconds that a refresh waits for AWS, in five calls


@dataclass(frozen=True, slots=True)
class Trouble:
    """An outage of one bank, or of all of Akoya where none is named."""

    begins: float
    ends: float
    bank: str | None = None
    hangs: bool = False  # else it answers at once that it is away

    def is_met(self, bank: str, now: float) -> bool:
        """Return whether a request for a bank meets it now."""
        return self.begins <= now < self.ends and self.bank in (None, bank)


class Akoya:
    """Akoya's token endpoint, for all functions."""

    def __init__(
        self, clock: Clockwork, *, life: int, seed: int, troubles: Collection[Trouble] = ()
    ) -> None:
        """`life`: of its bearers, in seconds."""
        self.clock = clock
        self.life = life
        self.troubles = troubles
        self.sends: list[float] = []
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def answer(self, bank: str, *, within: float) -> Answer:
        """Answer a refresh after a while, or let its sender wait for as long as it does."""
        now = self.clock.ticks()
        self.sends.append(now)
        met = next((one for one in self.troubles if one.is_met(bank, now)), None)
        if met and met.hangs:
            self.clock.pause(within)
            return Answer(outcome=Outcome.TIMEOUT, detail="simulated")
        self.clock.pause(self._random.lognormvariate(math.log(MEDIAN), SPREAD))
        if met:
            return Answer(outcome=Outcome.UPSTREAM, detail="simulated")
        return Answer(
            outcome=Outcome.SUCCESS,
            detail="",
            refresh_token=SecretText(bank),
            id_token=BEARER,
            expires_in=self.life,
        )


BEARER = SecretText("a bearer")


class Endpoint:
    """The token endpoint as one process reaches it."""

    def __init__(self, akoya: Akoya, machine: Machine) -> None:
        self._akoya = akoya
        self._machine = machine

    def refresh(
        self,
        refresh_token: SecretText,
        *,
        credentials: ClientCredentials,
        read_timeout: int = READ_TIMEOUT,
    ) -> Answer:
        """Send, and wait for the answer."""
        del credentials
        answer = self._akoya.answer(refresh_token.reveal(), within=CONNECT_TIMEOUT + read_timeout)
        self._machine.compute(CPU / 2, beside=AWS_CALLS / 2)
        return answer

    def exchange(self, code: SecretText, **of: object) -> Answer:
        """Not simulated: no bank is linked."""
        raise NotImplementedError

    def revoke(self, refresh_token: SecretText, **of: object) -> Answer:
        """Not simulated: no consent is revoked."""
        raise NotImplementedError


class Sealer:
    """Seals so that only the size matters."""

    def seal(self, tokens: TokenSet, *, generation: int) -> bytes:
        """Keep what the next send needs: whose bank it is."""
        del generation
        return tokens.refresh_token.reveal().encode()


class Seal:
    """What a refresh does before its send, in time and nothing else."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def prepare(self, connection_id: str, *, subject: str, connector: str) -> Sealer:
        """Spend what comes before a send."""
        del connection_id, subject, connector
        self._machine.compute(CPU / 2, beside=AWS_CALLS / 2)
        return Sealer()

    def open(self, connection: Connection) -> TokenSet:
        """Open a set."""
        return TokenSet(
            refresh_token=SecretText((connection.sealed or b"").decode()), id_token=BEARER
        )


class IdTokens:
    """Bearers that are what they should be."""

    def prepare(self) -> None:
        """Have the keys at hand."""

    def accepts_issuer(self, issuer: str) -> bool:
        """Return True."""
        return bool(issuer)

    def claims(self, id_token: SecretText | None) -> Claims | None:
        """Return None: the answer says how long the bearer lives."""
        del id_token
        return None

    def verify(
        self, id_token: SecretText | None, *, nonce: str | None, about: str | None = None
    ) -> Verdict:
        """Return that it is well."""
        del id_token, nonce, about
        return Verdict.OK

    def verify_at_hand(
        self, id_token: SecretText | None, *, nonce: str | None, about: str | None = None
    ) -> Verdict:
        """Return that it is well."""
        return self.verify(id_token, nonce=nonce, about=about)

    def acceptable(self, verdict: Verdict) -> bool:
        """Return whether it may be handed out."""
        return verdict is Verdict.OK
