"""Calls the Akoya token broker, and the data API with the bearers it hands out.

    broker = Broker("https://abc123.execute-api.us-east-1.amazonaws.com/v1")
    answer = requests.get(url, auth=broker.auth(connection_id, subject="ada"))

Every error is a `BrokerError`; `errors` draws the tree.
"""

from akoya_token_broker_client.auth import ConnectionAuth, InteractionType
from akoya_token_broker_client.bearers import Bearer
from akoya_token_broker_client.broker import Broker
from akoya_token_broker_client.connections import Begun, Connection
from akoya_token_broker_client.errors import (
    AlreadyConnected,
    BrokerError,
    BrokerFailed,
    ConfirmationInvalid,
    ConnectionNotFound,
    ConsentSuspect,
    DataAccessRefused,
    Disconnected,
    NotAllowed,
    NotConfirmed,
    ReauthorizationRequired,
    RecordUnreadable,
    RequestInvalid,
    TooManyAttempts,
    Unavailable,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "AlreadyConnected",
    "Bearer",
    "Begun",
    "Broker",
    "BrokerError",
    "BrokerFailed",
    "ConfirmationInvalid",
    "Connection",
    "ConnectionAuth",
    "ConnectionNotFound",
    "ConsentSuspect",
    "DataAccessRefused",
    "Disconnected",
    "InteractionType",
    "NotAllowed",
    "NotConfirmed",
    "ReauthorizationRequired",
    "RecordUnreadable",
    "RequestInvalid",
    "TooManyAttempts",
    "Unavailable",
]
