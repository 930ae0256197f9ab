"""The guards of a token set: it lands, waits in escrow, or stays where it is."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "generation: a set lands above its predecessor alone",
        "store/connections.py::Connections._land",
        "follows & held_by(lease_id)",
        "held_by(lease_id)",
    ),
    Guard(
        "generation: also where the lease has moved on",
        "store/connections.py::Connections._land",
        "follows & is_in(row.status)",
        "is_in(row.status)",
    ),
    Guard(
        "persist first: a set lands whatever its bearer is worth",
        "use_cases/landing.py::land",
        "landed = persist(broker, landing, status=status, due_at=due_at, remaining=remaining)",
        (
            "if verdict is Verdict.BAD:\n"
            "    raise TokenBrokerError(detail='off')\n"
            "landed = persist(broker, landing, status=status, due_at=due_at, "
            "remaining=remaining)"
        ),
    ),
    Guard(
        "persist first: no key is asked for before the set is durable",
        "use_cases/landing.py::_verdict_at_hand",
        "broker.id_tokens.verify_at_hand",
        "broker.id_tokens.verify",
    ),
    Guard(
        "escrow: what the table does not take is kept there",
        "use_cases/persist.py::_try_escrow",
        "broker.escrow.put(landing)",
        "pass",
    ),
    Guard(
        "escrow: while the table does not take a set, not only in the end",
        "use_cases/persist.py::persist",
        "not escrowed",
        "not escrowed and remaining() <= 2 * ESCROW_TRY",
    ),
    Guard(
        "escrow: the table is not waited for once the set is there",
        "use_cases/persist.py::persist",
        "not passing or began - remaining() >= PERSIST_BUDGET",
        "not passing",
    ),
    Guard(
        "escrow: a row whose set is there stays unsettled",
        "use_cases/landing.py::_leave_to_escrow",
        "settled=False",
        "settled=True",
    ),
    Guard(
        "escrow: no attempt overwrites what another left",
        "adapters/escrow.py::_key",
        "f'{connection_id}/{generation}/{attempt_id}'",
        "f'{connection_id}/{generation}/{attempt_id and 1}'",
    ),
    Guard(
        "escrow: of two sets the consent's wins",
        "adapters/escrow.py::S3Escrow.find",
        "(one.consent is not None, one.issued_at)",
        "one.issued_at",
    ),
    Guard(
        "escrow: whoever claims a row looks there first",
        "use_cases/landing.py::recover",
        "leased.unsettled <= 1 and status is None",
        "leased.unsettled >= 0",
    ),
    Guard(
        "escrow: a reloaded redirect looks there",
        "use_cases/exchange.py::_landed_by",
        "broker.escrow.find(connection_id, found.generation + 1)",
        "None",
    ),
    Guard(
        "export: what was taken out is not sent again",
        "use_cases/schedule.py::NOT_OURS_TO_END",
        "{Reason.EXPORTED, Reason.SUPERSEDED}",
        "{Reason.SUPERSEDED}",
    ),
    Guard(
        "quarantine: an ended set is kept for its time",
        "use_cases/schedule.py::_erase",
        "(leased.keep_until or 0) <= now",
        "leased.keep_until",
    ),
    Guard(
        "going: a row that is given a token set stays",
        "store/connection_row.py::changes",
        "row.get('token_set') or row.get('lease_id')",
        "row.get('lease_id')",
    ),
    Guard(
        "going: a row that is claimed stays, since a token set may come",
        "store/connection_row.py::changes",
        "row.get('token_set') or row.get('lease_id')",
        "row.get('token_set')",
    ),
    Guard(
        "going: a connection that comes back keeps its login",
        "store/linking.py::_ownership",
        "owner and owner.id == winner.id and (not owner.is_going)",
        "owner and owner.id == winner.id",
    ),
    Guard(
        "going: whoever takes a login over keeps it",
        "store/linking.py::_ownership",
        "{'owner': winner.id, 'schema': SCHEMA, 'gone_at': None}",
        "{'owner': winner.id, 'schema': SCHEMA}",
    ),
    Guard(
        "going: a set that lands where one was erased is tended",
        "store/connections.py::_of_a_late_one",
        "Status.REAUTH_REQUIRED",
        "Status.ACTIVE",
    ),
    Guard(
        "seal: a set opens for its own person and connector alone",
        "adapters/seal.py::_BoundTo.associated_data",
        "(self.environment, self.connection_id, generation, self.subject, self.connector)",
        "(self.environment, self.connection_id, generation)",
    ),
    Guard(
        "verdict: one that cannot be noted serves",
        "use_cases/landing.py::judged",
        "suppress(UpstreamUnavailable)",
        "suppress(ZeroDivisionError)",
    ),
    Guard(
        "sweep: past a thousand objects",
        "adapters/escrow.py::S3Escrow._list",
        "self._client.get_paginator('list_objects_v2').paginate(Bucket=self._bucket, **which)",
        "[self._client.list_objects_v2(Bucket=self._bucket, **which)]",
    ),
    Guard(
        "sweep: once in a quarter of an hour",
        "use_cases/schedule.py::tend_due",
        "now % ESCROW_SWEPT_EVERY < RUN_EVERY",
        "now % ESCROW_SWEPT_EVERY >= 0",
    ),
    Guard(
        "sweep: a copy whose row is gone is reported once",
        "use_cases/escrow.py::_look_at",
        "broker.escrow.discard(connection_id, generation, attempt_id)\nreturn",
        "return",
    ),
    Guard(
        "sweep: a copy whose row may still take it is kept",
        "use_cases/escrow.py::_look_at",
        (
            "if is_needed:\n"
            "    _report(broker, connection_id, generation, detail='its row has not taken "
            "it')\n"
            "else:\n"
            "    broker.escrow.discard(connection_id, generation, attempt_id)"
        ),
        (
            "if is_needed and generation < 0:\n"
            "    _report(broker, connection_id, generation, detail='its row has not taken "
            "it')\n"
            "else:\n"
            "    broker.escrow.discard(connection_id, generation, attempt_id)"
        ),
    ),
    Guard(
        "sweep: one whose row does not read hides no other",
        "use_cases/escrow.py::sweep",
        "(RowUnreadable, RowNewer)",
        "ZeroDivisionError",
    ),
)
