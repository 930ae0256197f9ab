"""The client secret in Secrets Manager: its value, and whether there is one.

Shape of the secret's value: {"client_id": "...", "client_secret": "..."}. The client id is there so
that another app's or environment's secret is noticed before it is ever sent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from token_broker.adapters.aws import member, translated
from token_broker.domain.errors import BrokerMisconfigured, UpstreamUnavailable
from token_broker.domain.ports import ClientCredentials, Clock
from token_broker.domain.secret_text import SecretText

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

CACHED_FOR = 300
SERVICE = "Secrets Manager"
MISSING = "ResourceNotFoundException"
LASTING = frozenset({"AccessDeniedException", MISSING, "DecryptionFailure"})
REMEDY = 'put {"client_id": "…", "client_secret": "…"} into the stack\'s secret (README: deploy)'


class SecretsManagerClientSecret:
    """The credentials of one client id."""

    def __init__(
        self, client: SecretsManagerClient, secret_id: str, *, client_id: str, clock: Clock
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._client_id = client_id
        self._clock = clock
        self._cached: tuple[int, ClientCredentials] | None = None

    def read(self) -> ClientCredentials:
        """Return the credentials, at most five minutes old."""
        if self._cached and self._clock() - self._cached[0] < CACHED_FOR:
            return self._cached[1]
        return self.reread()

    def reread(self) -> ClientCredentials:
        """Return the credentials as they are now, past the cache."""
        with translated(SERVICE, _known):
            answer: Any = self._client.get_secret_value(SecretId=self._secret_id)
        if "SecretBinary" not in answer:  # which is an answer, and not in the shape we ask for
            member(answer, "SecretString", of=SERVICE)
        credentials = self._parse(answer.get("SecretString", ""))
        self._cached = (self._clock(), credentials)
        return credentials

    def _parse(self, text: str) -> ClientCredentials:
        try:
            content: Any = json.loads(text)
            client_id, client_secret = content["client_id"], SecretText(content["client_secret"])
        except (KeyError, TypeError, ValueError):
            raise BrokerMisconfigured(detail=f"the client secret is not set: {REMEDY}") from None
        if client_id != self._client_id:
            raise BrokerMisconfigured(
                detail=f"the secret is of another client id than the stack's ClientId: {REMEDY}"
            )
        return ClientCredentials(client_id=client_id, client_secret=client_secret)


class SecretsManagerPresence:
    """Whether the client secret is set, without reading it: `authorize` may not.

    A code that is brought back while there is none cannot be exchanged, so no browser is sent out.
    """

    def __init__(self, client: SecretsManagerClient, secret_id: str, *, clock: Clock) -> None:
        self._client = client
        self._secret_id = secret_id
        self._clock = clock
        self._seen_at: int | None = None

    def is_set(self) -> bool:
        """Return whether it has a current version; True for five minutes, and where unknown."""
        now = self._clock()
        if self._seen_at is not None and now - self._seen_at < CACHED_FOR:
            return True
        try:
            with translated(SERVICE, _missing):
                answer: Any = self._client.describe_secret(SecretId=self._secret_id)
        except BrokerMisconfigured:
            return False
        except UpstreamUnavailable:
            return True  # the callback will see
        stages = answer.get("VersionIdsToStages", {}).values()
        if "DeletedDate" in answer or not any("AWSCURRENT" in those for those in stages):
            return False
        self._seen_at = now
        return True


def _missing(code: str, _: object) -> BrokerMisconfigured | None:
    return BrokerMisconfigured() if code == MISSING else None


def _known(code: str, _: object) -> BrokerMisconfigured | None:
    if code in LASTING:
        return BrokerMisconfigured(detail=f"{SERVICE}: {code}: {REMEDY}")
    return None
