"""What one version of the broker, or a bare loop, spends on a refresh over TLS: one process a turn.

Run with the version's layer on PYTHONPATH; prints the CPU of one refresh in milliseconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests


def bare(address: str, trust_store: str) -> Callable[[], object]:
    """A loop without a broker: a connection for each POST."""
    form = {"grant_type": "refresh_token", "refresh_token": "r", "client_id": "c"}

    def refresh() -> object:
        return requests.post(
            f"{address}/token",
            data=form | {"client_secret": "s"},
            timeout=(5, 30),
            verify=trust_store,
        ).json()["refresh_token"]

    return refresh


def broker(address: str, trust_store: str) -> Callable[[], object]:
    """The broker's own endpoint, as its functions build it."""
    requests.adapters.DEFAULT_CA_BUNDLE_PATH = trust_store  # what stands for certifi's own
    from token_broker.adapters.akoya import AkoyaTokenEndpoint  # noqa: PLC0415
    from token_broker.domain.ports import ClientCredentials  # noqa: PLC0415
    from token_broker.domain.secret_text import SecretText  # noqa: PLC0415
    from token_broker.runtime import bootstrap  # noqa: PLC0415

    of: Any = AkoyaTokenEndpoint
    if hasattr(bootstrap, "session"):
        endpoint = of(bootstrap.session(), address)
    else:  # the version compared with
        session = requests.Session()
        session.trust_env = False
        urls = {"token_endpoint": f"{address}/token", "revocation_endpoint": f"{address}/revoke"}
        endpoint = of(session, **urls)
    credentials = ClientCredentials(client_id="c", client_secret=SecretText("s"))

    def refresh() -> object:
        answer = endpoint.refresh(SecretText("r"), credentials=credentials)
        if answer.refresh_token is None:
            raise SystemExit(f"no rotation: {answer}")
        return answer.refresh_token.reveal()

    return refresh


def spent(refresh: Callable[[], object], times: int) -> float:
    """Return the CPU of one refresh, in milliseconds, after the first few."""
    for _ in range(3):
        assert refresh() == "r" * 90  # noqa: S101 - a refusal would be quick
    began = time.process_time()
    for _ in range(times):
        refresh()
    return (time.process_time() - began) / times * 1000


if __name__ == "__main__":
    name, address, trust_store, times = sys.argv[1:]
    Path(trust_store).stat()
    print(spent({"bare": bare, "broker": broker}[name](address, trust_store), int(times)))
