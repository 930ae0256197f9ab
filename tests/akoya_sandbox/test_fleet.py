"""`make load` lets its fleet consent at the sandbox, and reads the sandbox's ledger."""

from __future__ import annotations

import jwt

from benchmarks.load import judge
from benchmarks.load.fleet import Bank
from operations.move_in import MEMBERS
from tests.akoya_sandbox.app import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, App

LIFE = 300


def test_who_joins_a_fleet_gets_what_import_reads_and_a_bearer_of_the_wanted_life(app: App) -> None:
    bank = Bank(
        url=app.issuer.rstrip("/"),
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        connector="mikomo",
        redirect_uri=REDIRECT_URI,
    )
    bank.set_life(LIFE)

    line = bank.tokens_of(7)

    assert set(line) == set(MEMBERS)
    claims = jwt.decode(line["id_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == LIFE
    (bearer,) = judge.bearers(
        bank.ledger(), [], connections={"mikomo/mikomo_7": "its connection"}, life=LIFE
    )
    assert (bearer.connection_id, bearer.number) == ("its connection", 1)
    assert bearer.expires_at == claims["exp"]
