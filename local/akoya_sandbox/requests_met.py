"""What every request meets: the ledger opens it, a fault may strike it, it is decided, closed."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace

from .answer import Answer, error_of, json_answer
from .armed_faults import UNHARMED, Armed, ArmedFaults
from .faults import NO_FAULT, Operation, too_many
from .grant_store import GrantStore
from .grants import PendingAuthorization
from .id_tokens import SigningKey, shared_signing_key
from .ledger import Ledger, Request, fingerprint
from .registration import (
    Refused,
    Registration,
)
from .settings import Settings

CONNECTORS: Mapping[str, str] = {"mikomo": "Mikomo bank"}


HasHungUp = Callable[[], bool]
"""Whether the client has closed its side of the connection."""


def stays() -> bool:
    """Say of a client that it has not hung up."""
    return False


class MeetsRequests:
    """The state of one registered app's provider, and the way each request takes through it."""

    def __init__(
        self,
        *,
        issuer: str,
        registration: Registration,
        connectors: Mapping[str, str] = CONNECTORS,
        settings: Settings | None = None,
        signing_key: SigningKey | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.issuer = issuer
        self.connectors = connectors
        self._clock = clock
        self._random = random
        self._wait = wait
        self._signing_keys = [signing_key or shared_signing_key()]
        self._at_start = (registration, settings or Settings())
        self._mutex = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._registration, settings = self._at_start
        self._pending: dict[str, PendingAuthorization] = {}
        self._ledger = Ledger(self._clock)
        self._faults = ArmedFaults()
        self._let_through: list[float] = []  # the moments of the last second's requests
        self._store = GrantStore(
            settings=settings, ledger=self._ledger, clock=self._clock, random=self._random
        )

    def _answer(
        self,
        endpoint: str,
        operation: Operation | None,
        presented: str | None,
        decide: Callable[[Armed], Answer],
        *,
        has_hung_up: HasHungUp,
        grant_type: str | None = None,
    ) -> Answer:
        """Open the request in the ledger, let a fault strike, decide, close it."""
        with self._mutex:
            ledger = self._ledger
            request = ledger.received(
                endpoint,
                grant_type=grant_type,
                presented=fingerprint(presented) if presented else None,
                login=self._store.login_of(presented) if presented else None,
            )
            is_too_many = self._is_too_many()
            armed = UNHARMED if is_too_many else self._faults.strike(operation, request.login)
        if armed.fault.waits == "before":
            self._hold_back(armed)
        with self._mutex:
            ledger.deciding = request
            try:
                if is_too_many:
                    answer = too_many(retry_after=1)
                elif armed.fault.heeds_hanging_up and has_hung_up():
                    answer = Answer(200, {}, lost=True)
                else:
                    answer = self._decided(operation, decide, armed)
            except Refused as refused:
                answer = self._refusal(refused, request)
            finally:
                ledger.deciding = None
            answer = armed.fault.answer(answer, armed.parameters)
            answer = replace(answer, pause=lambda: self._hold_back(armed))
            request.fault = None if armed.fault is NO_FAULT else armed.fault.name
        if armed.fault.waits == "after":
            self._hold_back(armed)
        with self._mutex:
            ledger.answered(request, status=answer.status, error=error_of(answer), lost=answer.lost)
            return answer

    def _is_too_many(self) -> bool:
        """Return whether this request is above what is let through in a second, and count it."""
        most, now = self._store.settings.requests_per_second, self._clock()
        if most is None:
            return False
        self._let_through = [at for at in self._let_through if at > now - 1]
        if len(self._let_through) >= most:
            return True
        self._let_through.append(now)
        return False

    def _hold_back(self, armed: Armed) -> None:
        (self._wait or armed.disarmed.wait)(armed.parameters.seconds)

    def _decided(
        self, operation: Operation | None, decide: Callable[[Armed], Answer], armed: Armed
    ) -> Answer:
        refusal = armed.fault.refusals.get(operation) if operation else None
        if refusal is not None:
            raise Refused(refusal, armed.fault.name)
        return decide(armed) if armed.fault.takes_effect else Answer(200, {})

    def _refusal(self, refused: Refused, request: Request) -> Answer:
        if request.presented is not None:
            kind = "code" if request.grant_type == "authorization_code" else "refresh_token"
            self._ledger.record(
                f"{kind}.refused",
                fingerprint=request.presented,
                login=request.login,
                reason=refused.why,
            )
        refusal = self._store.settings.rules.refusals[refused.situation]
        body = {"error": refusal.error}
        if refusal.description is not None:
            body["error_description"] = refusal.description
        headers = self._interaction()
        if refusal.error == "invalid_client":
            headers["WWW-Authenticate"] = 'Basic realm="Akoya sandbox"'
        return json_answer(refusal.status, body, headers)

    def _interaction(self, interaction_id: str | None = None) -> dict[str, str]:
        fresh = str(uuid.UUID(bytes=self._random(16), version=4))
        return {"x-akoya-interaction-id": interaction_id or fresh}
