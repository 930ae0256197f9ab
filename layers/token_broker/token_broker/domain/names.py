"""What a subject and a connector may be called."""

from __future__ import annotations

import re

from token_broker.domain.errors import RequestRejected

SUBJECT = re.compile(r"[\x21-\x7e]{1,128}")
CONNECTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def ensure_named(*, subject: str, connector: str) -> None:
    """Raise RequestRejected unless both are names a connection can have."""
    if not SUBJECT.fullmatch(subject):
        raise RequestRejected("subject must be 1 to 128 printable ASCII characters, no blanks.")
    if not CONNECTOR.fullmatch(connector):
        raise RequestRejected("connector must be a provider id as the Data Recipient Hub lists it.")
