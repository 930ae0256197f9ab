"""Who is wired to whom: one builder a function, each importing only what its function needs."""

from __future__ import annotations

import os
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from token_broker.adapters.dynamodb import DynamoRows
from token_broker.domain.ports import Remaining
from token_broker.domain.refresh_policy import SENDING_WINDOW, RefreshPolicy
from token_broker.domain.secret_text import SecretText
from token_broker.runtime import settings
from token_broker.runtime.observability import record
from token_broker.runtime.on_demand import on_demand, ready
from token_broker.runtime.settings import IdTokenVerification
from token_broker.store.connections import Connections

if TYPE_CHECKING:
    import requests
    from mypy_boto3_dynamodb import DynamoDBClient

    from token_broker.domain.ports import TokenEndpoint
    from token_broker.store.authorizations import Authorizations
    from token_broker.use_cases.authorize import AuthorizeBroker
    from token_broker.use_cases.broker import Broker
    from token_broker.use_cases.callback import Finishing
    from token_broker.use_cases.schedule import Tending

# A call that hangs must leave time for the next; boto3's own default waits a minute. The two
# tries a new token set is given are as long as TABLE_TRY and ESCROW_TRY in use_cases/persist.py.
MOST_THREADS = 96  # of a run, which share a client: without a place each call would connect anew
SHARED = Config(max_pool_connections=MOST_THREADS)
PATIENT = SHARED.merge(Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3}))
ONE_TRY_ON_TABLE = SHARED.merge(
    Config(connect_timeout=0.7, read_timeout=1.3, retries={"total_max_attempts": 1})
)
IMPATIENT = SHARED.merge(
    Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 1})
)


ONE_CALLER_IN = 5  # of the rate's places a process gives to callers that do not queue up


def clock() -> int:
    """Return whole seconds since the epoch."""
    return int(time.time())


def new_secret() -> SecretText:
    """Return 256 random bits as URL-safe text."""
    return SecretText(secrets.token_urlsafe(32))


def new_id() -> str:
    """Return an identifier that never repeats."""
    return uuid.uuid4().hex


def remaining(context: Any) -> Remaining:
    """Return how to ask Lambda for the seconds this invocation has left."""
    return lambda: float(context.get_remaining_time_in_millis()) / 1000


def connections(
    environ: Mapping[str, str], client: DynamoDBClient, *, impatient: DynamoDBClient | None = None
) -> Connections:
    """Build the connections table; `impatient` is a client that does not retry."""
    name = settings.connections_table_name(environ)
    rows = DynamoRows(client, name)
    once = DynamoRows(impatient, name) if impatient else None
    return Connections(rows, clock=clock, new_secret=new_secret, record=record, impatient=once)


def authorizations(environ: Mapping[str, str], client: DynamoDBClient) -> Authorizations:
    """Build the authorizations table."""
    from token_broker.store.authorizations import Authorizations  # noqa: PLC0415

    return Authorizations(DynamoRows(client, settings.authorizations_table_name(environ)))


def policy(environ: Mapping[str, str]) -> RefreshPolicy:
    """Build the refresh policy."""
    return RefreshPolicy(
        margin=settings.refresh_margin(environ), keep_alive=settings.keep_alive(environ)
    )


def linking(environ: Mapping[str, str] = os.environ) -> tuple[AuthorizeBroker, str]:
    """Build what `authorize` stands on, and the public base URL."""
    from token_broker.adapters.client_credentials import SecretsManagerPresence  # noqa: PLC0415
    from token_broker.use_cases.authorize import AuthorizeBroker  # noqa: PLC0415

    provider = settings.IdentityProvider.from_env(environ)
    client = boto3.client("dynamodb", config=PATIENT)
    presence = on_demand(lambda: boto3.client("secretsmanager", config=IMPATIENT))
    broker = AuthorizeBroker(
        authorizations=authorizations(environ, client),
        connections=connections(environ, client),
        secret_presence=SecretsManagerPresence(
            presence, settings.client_secret_id(environ), clock=clock
        ),
        authorization_endpoint=provider.authorization_endpoint,
        client_id=provider.client_id,
        scopes=settings.scopes(environ),
        return_to_allow_list=settings.return_to_allow_list(environ),
        send_pkce=provider.send_pkce,
        clock=clock,
        new_secret=new_secret,
        new_id=new_id,
        record=record,
    )
    return broker, settings.public_base_url(environ)


def session() -> requests.Session:
    """Return how Akoya is talked to."""
    import requests  # noqa: PLC0415

    from token_broker.adapters.deadline import DeadlineAdapter  # noqa: PLC0415

    made, adapter = requests.Session(), DeadlineAdapter(pool_maxsize=MOST_THREADS)
    made.trust_env = False  # no proxy, no .netrc credentials beside our own
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


def token_endpoint(session: requests.Session, base_url: str) -> TokenEndpoint:
    """Build the token and revocation endpoints of an identity provider."""
    from token_broker.adapters.akoya import AkoyaTokenEndpoint  # noqa: PLC0415

    return AkoyaTokenEndpoint(session, base_url)


def sending(
    environ: Mapping[str, str] = os.environ, *, dynamodb: DynamoDBClient | None = None
) -> Broker:
    """Build what every function that may talk to Akoya stands on.

    What only a send needs, or a set that the table does not take, is made when it comes to that.
    """
    from token_broker.adapters.client_credentials import (  # noqa: PLC0415
        SecretsManagerClientSecret,
    )
    from token_broker.adapters.escrow import S3Escrow  # noqa: PLC0415
    from token_broker.adapters.id_token import OpenIdTokens  # noqa: PLC0415
    from token_broker.adapters.seal import KmsSeal  # noqa: PLC0415
    from token_broker.store.control import Control  # noqa: PLC0415
    from token_broker.use_cases.broker import Broker  # noqa: PLC0415

    provider = settings.IdentityProvider.from_env(environ)
    akoya = on_demand(session)
    s3 = on_demand(lambda: boto3.client("s3", config=IMPATIENT))
    secrets_manager = on_demand(lambda: boto3.client("secretsmanager", config=PATIENT))
    dynamodb = dynamodb or boto3.client("dynamodb", config=PATIENT)
    impatient = boto3.client("dynamodb", config=ONE_TRY_ON_TABLE)
    return Broker(
        environment=provider.environment,
        client_id=provider.client_id,
        provider=provider.base_url,
        connections=connections(environ, dynamodb, impatient=impatient),
        escrow=S3Escrow(s3, settings.escrow_bucket_name(environ)),
        control=Control(
            DynamoRows(dynamodb, settings.control_table_name(environ)), clock=clock, record=record
        ),
        seal=KmsSeal(
            boto3.client("kms", config=PATIENT),
            settings.token_key_arn(environ),
            environment=provider.environment,
        ),
        client_secret=SecretsManagerClientSecret(
            secrets_manager,
            settings.client_secret_id(environ),
            client_id=provider.client_id,
            clock=clock,
        ),
        token_endpoint=on_demand(lambda: token_endpoint(akoya, provider.base_url)),
        id_tokens=OpenIdTokens(
            akoya,
            issuer=provider.base_url,
            client_id=provider.client_id,
            strict=provider.verification is IdTokenVerification.STRICT,
            clock=clock,
            record=record,
        ),
        policy=policy(environ),
        clock=clock,
        ticks=time.monotonic,
        pause=time.sleep,
        new_id=new_id,
        record=record,
    )


def finishing(environ: Mapping[str, str] = os.environ) -> tuple[Broker, Finishing]:
    """Build what `callback` stands on."""
    from token_broker.store.recent_subjects import RecentSubjects  # noqa: PLC0415
    from token_broker.use_cases.callback import Finishing  # noqa: PLC0415

    provider = settings.IdentityProvider.from_env(environ)
    dynamodb = boto3.client("dynamodb", config=PATIENT)
    broker = sending(environ, dynamodb=dynamodb)
    ready(broker.token_endpoint)  # a person waits, and Lambda gives a start more CPU than a request
    return broker, Finishing(
        authorizations=authorizations(environ, dynamodb),
        recent_subjects=RecentSubjects(DynamoRows(dynamodb, settings.control_table_name(environ))),
        code_binding=provider.code_binding,
    )


def tending(environ: Mapping[str, str] = os.environ) -> tuple[Broker, Tending]:
    """Build what `refresh` stands on."""
    from token_broker.use_cases.lane import LANES_SHARE  # noqa: PLC0415
    from token_broker.use_cases.schedule import Tending  # noqa: PLC0415

    rate = LANES_SHARE * settings.rate_limit(environ)
    return sending(environ), Tending(
        rate=rate,
        limit=int(rate * SENDING_WINDOW),
        quarantine=settings.quarantine(environ),
        tombstone=settings.tombstone(environ),
        end_after=settings.end_after(environ),
        threads=settings.refresh_threads(environ),
    )


def handing_out(environ: Mapping[str, str] = os.environ) -> tuple[Broker, bool]:
    """Build what `token` stands on, and whether a caller must name the subject."""
    from token_broker.use_cases.door import Door  # noqa: PLC0415
    from token_broker.use_cases.pace import Bucket  # noqa: PLC0415

    broker = sending(environ)
    turns = Bucket(
        settings.rate_limit(environ),
        ticks=broker.ticks,
        pause=broker.pause,
        slow_for=broker.control.slow_for,
    )
    door = Door(rate=settings.rate_limit(environ), one_in=ONE_CALLER_IN)
    return replace(broker, turns=turns, door=door), settings.require_subject(environ)


def connections_admin(
    environ: Mapping[str, str] = os.environ,
) -> tuple[Connections, RefreshPolicy, bool]:
    """Build what `connections` stands on, which opens nothing and sends nothing.

    And whether a caller must name the subject.
    """
    client = boto3.client("dynamodb", config=PATIENT)
    return (
        connections(environ, client),
        policy(environ),
        settings.require_subject(environ),
    )
