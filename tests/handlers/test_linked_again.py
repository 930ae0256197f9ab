"""What a backend sees of a login that its subject had connected already."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from tests.handlers.deployed import Deployed


def test_the_browser_names_the_connection_that_exists_and_so_does_the_id_first_given(
    broker: Deployed,
) -> None:
    first = broker.connect()
    broker.consent()
    location = broker.handle("callback.success")["headers"]["Location"]

    went = parse_qs(urlsplit(location).query)
    assert went == {"connection_id": [first], "status": ["active"]}
    begun = broker.values["begun_id"]
    broker.values["connection_id"] = begun
    for name in ("token.hand-out", "connections.disconnect"):
        answer = broker.handle(name)
        body = json.loads(answer["body"])
        assert (answer["statusCode"], body["error"]) == (409, "already_connected")
        assert body["connection_id"] == first
    shown = json.loads(broker.handle("connections.show")["body"])
    assert (shown["status"], shown["superseded_by"]) == ("SUPERSEDED", first)
