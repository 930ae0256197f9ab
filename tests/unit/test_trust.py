"""TLS to Akoya: one trust store for a process, and nothing that it does not vouch for."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.tls_server import Served, serving
from token_broker.adapters.akoya import AkoyaTokenEndpoint
from token_broker.domain.outcome import Answer, Outcome
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.secret_text import SecretText
from token_broker.runtime import bootstrap


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def trusting(store: Path, monkeypatch: pytest.MonkeyPatch) -> requests.Session:
    """Return the broker's session as if that file were what certifi brings."""
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(store))
    return bootstrap.session()


def refreshed(session: requests.Session, address: str) -> Answer:
    return AkoyaTokenEndpoint(session, address).refresh(
        SecretText("r"),
        credentials=ClientCredentials(client_id="c", client_secret=SecretText("s")),
    )


def test_the_trust_store_is_loaded_once_and_each_send_has_a_connection_of_its_own(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(self: ssl.SSLContext, *where: Any, **named: Any) -> None:
        loaded.append(where)
        load(self, *where, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    session = trusting(served.trust_store, monkeypatch)
    answers = [refreshed(session, served.address) for _ in range(5)]

    assert [answer.outcome for answer in answers] == [Outcome.SUCCESS] * 5
    assert len(loaded) == 1
    assert len(served.connections) == 5


def test_each_thread_of_a_run_has_a_place_in_the_pool_of_connections() -> None:
    """Without one its connection is thrown away, and the log says so at each send."""
    adapter: Any = bootstrap.session().get_adapter("https://idp.example")
    assert adapter._pool_maxsize == bootstrap.MOST_THREADS


def test_a_server_that_the_trust_store_does_not_vouch_for_gets_nothing(served: Served) -> None:
    answer = refreshed(bootstrap.session(), served.address)

    assert answer.outcome is Outcome.UNREACHABLE
    assert not served.requests


def test_a_certificate_of_another_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("127.0.0.2") as elsewhere:
        answer = refreshed(trusting(elsewhere.trust_store, monkeypatch), elsewhere.address)

        assert answer.outcome is Outcome.UNREACHABLE
        assert not elsewhere.requests


def test_a_trust_store_that_the_environment_names_is_not_used(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(served.trust_store))

    assert refreshed(bootstrap.session(), served.address).outcome is Outcome.UNREACHABLE
    with pytest.raises(requests.exceptions.SSLError):
        bootstrap.session().get(served.address)


@pytest.mark.parametrize("verify", [False, "another.pem"])
def test_verification_can_be_neither_switched_off_nor_changed(
    verify: bool | str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections share one context: what is switched off for one is off for all."""
    session = trusting(served.trust_store, monkeypatch)
    with pytest.raises(ValueError, match="every certificate is verified"):
        session.get(served.address, verify=verify)
    assert not served.requests
