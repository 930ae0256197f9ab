"""The made-up customers of the sandbox's banks, and their accounts."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

# Users whose data calls always fail, with the error code in their name (Akoya's test users).
DATA_ERROR_NUMBERS = (500, 501, 601, 602, 701, 702, 703, 704)

_KINDS = (
    ("CHECKING", "Everyday Checking", "depositAccount"),
    ("SAVINGS", "Rainy Day Savings", "depositAccount"),
    ("CREDITCARD", "Travel Card", "locAccount"),
)


@dataclass(frozen=True, slots=True)
class Account:
    """One account of a login; `balance` in cents of US dollars."""

    account_id: str
    kind: str
    fdx_type: str
    name: str
    last_digits: str
    balance: int


@dataclass(frozen=True)
class Login:
    """One user name at one bank."""

    connector: str
    user_name: str

    @property
    def id(self) -> str:
        """How the ledger and the admin routes call this login: `<connector>/<user name>`."""
        return f"{self.connector}/{self.user_name}"

    @property
    def number(self) -> int:
        """The N of `<connector>_N`."""
        return int(self.user_name.rpartition("_")[2])

    @cached_property
    def sub(self) -> str:
        """The id_token's `sub`: opaque, and the same on every sign-in and after every restart."""
        return _opaque("sub", self.id)

    @property
    def data_error(self) -> int | None:
        """The error code every data call of this login gets, or None."""
        return self.number if self.number in DATA_ERROR_NUMBERS else None

    @cached_property
    def accounts(self) -> tuple[Account, ...]:
        """A checking, a savings and a card account."""
        accounts = []
        for kind, name, fdx_type in _KINDS:
            seed = hashlib.sha256(f"account {self.id} {kind}".encode()).digest()
            accounts.append(
                Account(
                    account_id=_opaque(f"account {kind}", self.id),
                    kind=kind,
                    fdx_type=fdx_type,
                    name=name,
                    last_digits=f"{int.from_bytes(seed[:4]) % 10_000:04}",
                    balance=int.from_bytes(seed[4:8]) % 1_000_000,
                )
            )
        return tuple(accounts)


def sign_in(
    connectors: Mapping[str, str], connector: str, user_name: str, password: str
) -> Login | None:
    """Return the login if the bank knows it: `<connector>_1` and up, password = user name."""
    known = connector in connectors and re.fullmatch(
        re.escape(connector) + r"_[1-9][0-9]{0,5}", user_name, flags=re.ASCII
    )
    if not known or not hmac.compare_digest(user_name.encode(), password.encode()):
        return None
    return Login(connector, user_name)


def _opaque(purpose: str, login_id: str) -> str:
    digest = hashlib.sha256(f"akoya sandbox {purpose} {login_id}".encode()).digest()
    return urlsafe_b64encode(digest[:24]).decode()
