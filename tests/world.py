"""A whole broker in one process: its real code on in-memory AWS and the Akoya sandbox's own logic.

Nothing here stands in for our code: tables, seal, escrow and the token endpoint are the adapters a
deployed function has; only AWS, the network and time are replaced.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
import urllib3
from moto import mock_aws

from local.akoya_sandbox.answer import Answer
from local.akoya_sandbox.id_tokens import shared_signing_key
from local.akoya_sandbox.ledger import fingerprint
from local.akoya_sandbox.provider import AkoyaProvider
from local.akoya_sandbox.registration import Registration
from tests.fakes.connections import MemoryConnections
from tests.fakes.rows import MemoryRows
from tests.fakes.vault import MemoryClientSecret, MemoryEscrow, MemorySeal, MemorySecretPresence
from tests.tables import Aws, create_storage
from token_broker.adapters.akoya import AkoyaTokenEndpoint
from token_broker.adapters.client_credentials import SecretsManagerClientSecret
from token_broker.adapters.dynamodb import DynamoRows
from token_broker.adapters.escrow import S3Escrow
from token_broker.adapters.id_token import OpenIdTokens, SigningKeys
from token_broker.adapters.seal import KmsSeal
from token_broker.adapters.secret_presence import SecretsManagerPresence
from token_broker.domain.authorization import CodeBinding, Redirect
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import TokenBrokerError
from token_broker.domain.ports import (
    ClientCredentials,
    ClientSecret,
    EscrowedSets,
    Record,
    Seal,
    SecretPresence,
)
from token_broker.domain.refresh_policy import RefreshPolicy, lease_end
from token_broker.domain.secret_text import SecretText
from token_broker.store.authorizations import Authorizations
from token_broker.store.connections import Connections
from token_broker.store.control import Control
from token_broker.store.recent_subjects import RecentSubjects
from token_broker.store.rows import Rows
from token_broker.use_cases import authorize, callback, connections, schedule, token
from token_broker.use_cases.broker import Broker

CLIENT_ID = "f0a7c1de-client"
CLIENT_SECRET = "s3cret~with+signs%and.dots"
IDP = "http://localhost:8702"
BROKER = "https://broker.example"
RETURN_TO = "https://app.example/return"
START = 1_800_000_000
FUNCTION_TIMEOUT = 105.0  # the token function's; the schedule's is longer
END_AFTER = 26 * 3_600
TOMBSTONE = 30 * 86_400

Events = list[tuple[str, dict[str, Any]]]


class FixedClock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> int:
        return int(self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Loopback(requests.adapters.BaseAdapter):
    """HTTP to the sandbox's logic without a socket; `before` may answer or fail in its place.

    Who has waited for longer than its read timeout has hung up, and hears nothing of what happens
    then. With a connect timeout beside it, both together are the deadline of the whole answer.
    """

    def __init__(
        self, provider: AkoyaProvider, *, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        super().__init__()
        self.provider = provider
        self._clock = clock
        self.before: Callable[[requests.PreparedRequest], requests.Response | None] | None = None
        self.after: Callable[[requests.Response], requests.Response] | None = None
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **how: Any) -> requests.Response:
        self.sent.append(request)
        if self.before and (answered := self.before(request)) is not None:
            return answered
        timeout = how.get("timeout") or math.inf
        patience = timeout[1] if isinstance(timeout, tuple) else timeout
        hangs_up_at = self._clock() + patience
        deadline = self._clock() + sum(timeout) if isinstance(timeout, tuple) else math.inf
        answer = self._answer(request, lambda: self._clock() > hangs_up_at)
        if self._clock() > hangs_up_at:
            raise requests.ReadTimeout("no answer in time")
        response = self._received(answer, deadline)
        response.request, response.url = request, str(request.url)
        return self.after(response) if self.after else response

    def _answer(self, request: requests.PreparedRequest, has_hung_up: Callable[[], bool]) -> Answer:
        path = urlsplit(str(request.url)).path
        if path == "/.well-known/openid-configuration":
            return Answer(200, {}, as_json(self.provider.discovery()))
        if request.method == "GET":
            return Answer(200, {}, as_json(self.provider.jwks()))
        return {"/token": self.provider.token, "/revoke": self.provider.revoke}[path](
            authorization=request.headers.get("Authorization"),
            body=str(request.body),
            has_hung_up=has_hung_up,
        )

    def _received(self, answer: Answer, deadline: float) -> requests.Response:
        """Return what comes of an answer until its reader gives up."""
        if answer.lost:
            raise requests.ConnectionError("connection cut")
        if answer.drips == "headers":
            head = self._dripped(answer, answer.head, deadline)
            if isinstance(head, Silenced):
                raise requests.ReadTimeout("no headers in time")
        body = io.BytesIO(answer.body[: answer.cut_at])
        if answer.drips == "body":
            body = self._dripped(answer, answer.body, deadline)
        return http_response(answer.status, body, dict(answer.headers), length=len(answer.body))

    def _dripped(self, answer: Answer, part: bytes, deadline: float) -> io.BytesIO:
        """Let a part come byte by byte; return what has come of it by the deadline."""
        for came in range(len(part)):
            answer.pause()
            if self._clock() > deadline:
                return Silenced(part[:came])
        return io.BytesIO(part)

    def close(self) -> None:
        pass


def as_json(content: Any) -> bytes:
    """Return content as a JSON body."""
    return json.dumps(content).encode()


class Silenced(io.BytesIO):
    """A body of which no more comes than this."""

    def read1(self, size: int | None = -1, /) -> bytes:
        if read := super().read1(size):
            return read
        raise TimeoutError


def http_response(
    status: int,
    body: bytes | io.BytesIO = b"",
    headers: dict[str, str] | None = None,
    *,
    length: int | None = None,
) -> requests.Response:
    """Return an HTTP answer as `requests` would; `length` is what its headers promise."""
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    response.raw = urllib3.HTTPResponse(
        body=io.BytesIO(body) if isinstance(body, bytes) else body,
        headers={} if length is None else {"Content-Length": str(length)},
        status=status,
        preload_content=False,
    )
    return response


class NoTimer(threading.Timer):
    """A deadline that never comes by itself: `Loopback` keeps it, by the world's clock."""

    def start(self) -> None:
        pass


class Inline(Executor):
    """Runs each task at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass
class World:
    """Everything, with handles on what a test wants to turn."""

    clock: FixedClock
    provider: AkoyaProvider
    http: Loopback
    broker: Broker
    finishing: callback.Finishing
    linking: authorize.AuthorizeBroker
    events: Events
    browser: dict[str, SecretText] = field(default_factory=dict)
    time_left: float = FUNCTION_TIMEOUT
    address: str = ""  # a redirect kept for redelivery
    _aws: Aws | None = None
    _memory: MemoryConnections | None = None
    prefix: str = ""

    @property
    def aws(self) -> Aws:
        """The in-memory AWS this world's storage is on."""
        assert self._aws is not None
        return self._aws

    @property
    def is_in_memory(self) -> bool:
        """Whether this world stands on fakes."""
        return self._aws is None

    @property
    def memory(self) -> MemoryConnections:
        """The connections of a world in memory."""
        assert self._memory is not None
        return self._memory

    @classmethod
    @contextmanager
    def created(cls) -> Iterator[World]:
        """Create a world on an AWS of its own."""
        with mock_aws():
            yield cls.on_aws(Aws.connect())

    @classmethod
    def on_aws(cls, aws: Aws) -> World:
        """Create a world with storage of its own on an AWS that others use too."""
        prefix = f"world{next(_worlds)}"
        create_storage(aws, prefix, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
        clock = FixedClock()
        events: Events = []
        world = _create(
            cls,
            clock,
            events,
            connections=DynamoRows(aws.dynamodb, f"{prefix}-connections"),
            authorizations=DynamoRows(aws.dynamodb, f"{prefix}-authorizations"),
            control=DynamoRows(aws.dynamodb, f"{prefix}-control"),
            escrow=S3Escrow(aws.s3, f"{prefix}-escrow"),
            seal=KmsSeal(aws.kms, aws.key_arn, environment="sandbox"),
            client_secret=SecretsManagerClientSecret(
                aws.secretsmanager, f"{prefix}-client-secret", client_id=CLIENT_ID, clock=clock
            ),
            secret_presence=SecretsManagerPresence(
                aws.secretsmanager, f"{prefix}-client-secret", clock=clock
            ),
        )
        world._aws, world.prefix = aws, prefix
        return world

    @classmethod
    def in_memory(cls, dialect: str | None = None) -> World:
        """Create a world on fakes, fast enough to be made thousands of times."""
        clock = FixedClock()
        credentials = ClientCredentials(
            client_id=CLIENT_ID, client_secret=SecretText(CLIENT_SECRET)
        )
        connections = MemoryRows()
        world = _create(
            cls,
            clock,
            [],
            connections=connections,
            authorizations=MemoryRows(),
            control=MemoryRows(),
            escrow=MemoryEscrow(),
            seal=MemorySeal(),
            client_secret=MemoryClientSecret(credentials),
            secret_presence=MemorySecretPresence(),
        )
        world._memory = MemoryConnections(connections)
        if dialect:
            world.provider.change_settings({"dialect": dialect})
        return world

    # ── what the parties do ──────────────────────────────────────────────────────────────────────

    def remaining(self) -> float:
        return self.time_left

    def begin(self, subject: str = "ada", connection_id: str | None = None) -> authorize.Begun:
        return authorize.begin(
            self.linking,
            subject=subject,
            connector="mikomo",
            return_to=RETURN_TO,
            connection_id=connection_id,
            base_url=BROKER,
        )

    def open(self, begun: authorize.Begun) -> str:
        """Open the start link in the browser; return where it is sent."""
        opening = authorize.start(self.linking, ticket=begun.start_url.rpartition("/")[2])
        self.browser[opening.cookie_name] = opening.cookie
        return opening.authorization_url

    def consent(self, authorization_url: str, user: str = "mikomo_1") -> str:
        """Sign in at the bank and consent; return the redirect's address."""
        pending = self.provider.begin(urlsplit(authorization_url).query)
        assert self.provider.sign_in(pending.id, user, user)
        login = self.provider.pending(pending.id).login
        assert login is not None
        return self.provider.allow(pending.id, [account.account_id for account in login.accounts])

    def come_back(self, address: str, *, cookies: dict[str, SecretText] | None = None) -> Redirect:
        """Deliver the redirect to the callback."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        return callback.finish(
            self.broker,
            self.finishing,
            response=callback.AuthorizationResponse(
                state=SecretText(query["state"]) if "state" in query else None,
                code=SecretText(query["code"]) if "code" in query else None,
                error=query.get("error"),
                issuer=query.get("iss"),
            ),
            cookies=self.browser if cookies is None else cookies,
            remaining=self.remaining,
        )

    def confirm(self, went: Redirect, subject: str = "ada") -> Connection:
        assert went.confirmation is not None
        return connections.confirm(
            self.broker.connections,
            self.broker.policy,
            self.clock,
            self.broker.record,
            connection_id=went.result.connection_id,
            subject=subject,
            confirmation=went.confirmation,
        )

    def link(
        self, subject: str = "ada", connection_id: str | None = None, user: str = "mikomo_1"
    ) -> Redirect:
        """Connect a bank, or renew a connection, from start to the page that is told."""
        return self.come_back(self.consent(self.open(self.begin(subject, connection_id)), user))

    def connect(self, subject: str = "ada", user: str = "mikomo_1") -> Connection:
        """Connect a bank from start to confirmation."""
        return self.confirm(self.link(subject, user=user), subject)

    def hand_out(
        self, connection_id: str, *, min_validity: int | None = None, rejected: int | None = None
    ) -> token.Bearer:
        return token.hand_out(
            self.broker,
            connection_id=connection_id,
            min_validity=min_validity,
            rejected=rejected,
            remaining=self.remaining,
        )

    def is_accepted(self, bearer: token.Bearer) -> bool:
        """Call the data API with a bearer; tell whether it takes it."""
        answer = self.provider.data(
            product="accounts-info",
            connector=bearer.connector,
            authorization=f"Bearer {bearer.id_token.reveal()}",
            interaction_type="BATCH",
            last_access="2027-01-15T08:00:00Z",
        )
        return answer.status == HTTPStatus.OK

    def run_schedule(self, *, limit: int = 1000) -> schedule.Run:
        return schedule.tend_due(
            self.broker,
            schedule.Tending(
                rate=1000,
                limit=limit,
                quarantine=7 * 86_400,
                tombstone=TOMBSTONE,
                end_after=END_AFTER,
            ),
            workers=Inline(),
            remaining=self.remaining,
        )

    def pass_a_lease(self) -> None:
        """Let time pass until no lease of a process that is gone holds."""
        self.clock.advance(lease_end(0, FUNCTION_TIMEOUT) + 1)

    def pass_minutes(self, minutes: int = 1, goes_on: Callable[[], object] = lambda: None) -> None:
        """Let the schedule run each minute, after one who goes on and may be refused."""
        for _ in range(minutes):
            self.clock.advance(61)
            with suppress(TokenBrokerError):
                goes_on()
            self.run_schedule()

    def pass_refusals(self, connection_id: str) -> Connection:
        """Let the schedule look at a refused connection until it is no longer ACTIVE."""
        for _ in range(60):
            row = self.row(connection_id)
            if row.status is not Status.ACTIVE:
                return row
            self.make_due(connection_id)
            self.run_schedule()
        raise AssertionError("it does not end")

    def make_due(self, connection_id: str) -> None:
        """Let time pass until the connection is due."""
        due_at = self.row(connection_id).due_at
        assert due_at is not None
        self.clock.now = max(self.clock.now, float(due_at))

    def row(self, connection_id: str) -> Connection:
        return self.broker.connections.get(connection_id)

    def active(self) -> list[Connection]:
        rows = [self.row(one.id) for one in self.broker.connections.every()]
        return [row for row in rows if row.status is Status.ACTIVE]

    def living(self) -> set[str]:
        """Return the fingerprints of the refresh tokens that Akoya would take."""
        return {
            token["fingerprint"]
            for grant in self.provider.grants()
            if not grant["ended"]
            for token in grant["refresh_tokens"]
        }

    def is_alive(self, row: Connection) -> bool:
        """Tell whether Akoya would take the refresh token of a row."""
        if row.sealed is None:
            return False
        return fingerprint(self.broker.seal.open(row).refresh_token.reveal()) in self.living()

    def refused(self) -> list[dict[str, Any]]:
        """Return the token requests that Akoya did not answer with a set."""
        requests = self.provider.ledger()["requests"]
        return [one for one in requests if one["endpoint"] == "token" and one["status"] != 200]

    def recorded(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def sends(self, grant_type: str = "refresh_token") -> int:
        """Count the token requests of a grant that left for Akoya."""
        return sum(f"grant_type={grant_type}" in str(request.body) for request in self.http.sent)


_worlds = itertools.count(1)


def _into(events: Events) -> Record:
    """Return how to record into a list."""

    def record(event: str, *, value: int = 1, **fields: Any) -> None:
        events.append((event, fields | {"value": value}))

    return record


def _create(
    cls: type[World],
    clock: FixedClock,
    events: Events,
    *,
    connections: Rows,
    authorizations: Rows,
    control: Rows,
    escrow: EscrowedSets,
    seal: Seal,
    client_secret: ClientSecret,
    secret_presence: SecretPresence,
) -> World:
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
        connections=Connections(connections, clock=clock, record=record),
        escrow=escrow,
        control=Control(control, clock=clock),
        seal=seal,
        client_secret=client_secret,
        token_endpoint=AkoyaTokenEndpoint(
            session,
            token_endpoint=f"{IDP}/token",
            revocation_endpoint=f"{IDP}/revoke",
            timer=NoTimer,
        ),
        id_tokens=OpenIdTokens(
            SigningKeys(
                session,
                f"{IDP}/.well-known/openid-configuration",
                issuer=IDP,
                strict=True,
                clock=clock,
                record=record,
            ),
            issuer=IDP,
            client_id=CLIENT_ID,
            strict=True,
            clock=clock,
            record=record,
        ),
        policy=RefreshPolicy(margin=3_600, keep_alive=7 * 86_400),
        clock=clock,
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
