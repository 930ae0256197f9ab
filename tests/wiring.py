"""A broker, its provider and its clock, wired as `runtime/bootstrap.py` wires what is deployed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Self

import requests

from local.akoya_sandbox.id_tokens import shared_signing_key
from local.akoya_sandbox.provider import AkoyaProvider
from local.akoya_sandbox.registration import Registration
from tests.clock import FixedClock, NoTimer
from tests.loopback import Loopback
from token_broker.adapters.akoya import AkoyaTokenEndpoint
from token_broker.adapters.id_token import OpenIdTokens
from token_broker.domain.authorization import CodeBinding
from token_broker.domain.ports import ClientSecret, EscrowedSets, Record, Seal, SecretPresence
from token_broker.domain.refresh_policy import RefreshPolicy
from token_broker.domain.secret_text import SecretText
from token_broker.store.authorizations import Authorizations
from token_broker.store.connections import Connections
from token_broker.store.control import Control
from token_broker.store.recent_subjects import RecentSubjects
from token_broker.store.rows import Rows
from token_broker.use_cases import authorize, callback
from token_broker.use_cases.broker import Broker

CLIENT_ID = "f0a7c1de-client"
CLIENT_SECRET = "s3cret~with+signs%and.dots"
LOGIN_KEY = SecretText("k" * 43)
IDP = "http://localhost:8702"
BROKER = "https://broker.example"
RETURN_TO = "https://app.example/return"

Events = list[tuple[str, dict[str, Any]]]


@dataclass
class Wired:
    """A broker and the provider it talks to, by one clock; it records into `events`."""

    clock: FixedClock
    provider: AkoyaProvider
    http: Loopback
    broker: Broker
    finishing: callback.Finishing
    linking: authorize.AuthorizeBroker
    events: Events

    @classmethod
    def over(
        cls,
        clock: FixedClock,
        *,
        connections: Rows,
        authorizations: Rows,
        control: Rows,
        escrow: EscrowedSets,
        seal: Seal,
        client_secret: ClientSecret,
        secret_presence: SecretPresence,
    ) -> Self:
        """Wire a broker over storage."""
        events: Events = []
        provider = AkoyaProvider(
            issuer=f"{IDP}/",
            registration=Registration(CLIENT_ID, CLIENT_SECRET, (f"{BROKER}/callback",)),
            signing_key=shared_signing_key("ES256"),
            clock=lambda: clock.now,
            wait=clock.advance,
        )
        http = Loopback(provider, clock=lambda: clock.now)
        session = requests.Session()
        session.trust_env = False
        session.mount("http://", http)
        numbers, record = itertools.count(1), _into(events)

        def new_id() -> str:
            return f"{next(numbers):032x}"

        def new_secret() -> SecretText:
            return SecretText(f"{next(numbers):043d}")

        broker = Broker(
            environment="sandbox",
            client_id=CLIENT_ID,
            provider=IDP,
            connections=Connections(
                connections, clock=clock, new_secret=lambda: LOGIN_KEY, record=record
            ),
            escrow=escrow,
            control=Control(control, clock=clock, record=record),
            seal=seal,
            client_secret=client_secret,
            token_endpoint=AkoyaTokenEndpoint(
                session,
                IDP,
                timer=NoTimer,
            ),
            id_tokens=OpenIdTokens(
                session,
                issuer=IDP,
                client_id=CLIENT_ID,
                strict=True,
                clock=clock,
                record=record,
            ),
            policy=RefreshPolicy(margin=3_600, keep_alive=7 * 86_400),
            clock=clock,
            ticks=lambda: clock.now,
            pause=clock.advance,
            new_id=new_id,
            record=record,
        )
        linking = authorize.AuthorizeBroker(
            authorizations=Authorizations(authorizations),
            connections=broker.connections,
            secret_presence=secret_presence,
            authorization_endpoint=f"{IDP}/auth",
            client_id=CLIENT_ID,
            scopes=("openid", "profile", "offline_access"),
            return_to_allow_list=("https://app.example/return", "https://app.example/under/"),
            send_pkce=True,
            clock=clock,
            new_secret=new_secret,
            new_id=new_id,
            record=record,
        )
        finishing = callback.Finishing(
            authorizations=linking.authorizations,
            recent_subjects=RecentSubjects(control),
            code_binding=CodeBinding.NONCE,
        )
        return cls(
            clock=clock,
            provider=provider,
            http=http,
            broker=broker,
            finishing=finishing,
            linking=linking,
            events=events,
        )


def _into(events: Events) -> Record:
    """Return how to record into a list."""

    def record(event: str, *, value: int = 1, **fields: Any) -> None:
        events.append((event, fields | {"value": value}))

    return record
