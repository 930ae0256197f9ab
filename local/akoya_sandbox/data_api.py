"""Bodies of the data endpoints: a few accounts, and Akoya's table of data errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from local.akoya_sandbox.people import Account


@dataclass(frozen=True, slots=True)
class DataError:
    """An HTTP status and the code and message of the body."""

    status: int
    code: int
    message: str

    def body(self) -> dict[str, Any]:
        """Return the documented shape of an error body."""
        return {"code": self.code, "message": self.message, "debugMessage": "Akoya sandbox"}


# Codes and messages are Akoya's; HTTP statuses other than 401 and 429 follow FDX.
DATA_ERRORS: Mapping[int, DataError] = {
    error.code: error
    for error in (
        DataError(500, 500, "Internal server error"),
        DataError(503, 501, "Subsystem unavailable"),
        DataError(404, 601, "Customer not found"),
        DataError(401, 602, "Customer not authorized"),
        DataError(404, 701, "Account not found"),
        DataError(400, 702, "Invalid start or end date"),
        DataError(400, 703, "Invalid date range"),
        DataError(422, 704, "Account type not supported"),
        DataError(429, 1207, "Too many requests"),
    )
}

# What v3 wants to know of each call (Akoya: headers, coming-soon); a v2 call does without.
INTERACTION_TYPES = ("user", "batch")
HEADERS_MISSING = DataError(400, 400, "Bad request")


def is_described(interaction_type: str | None, last_access: str | None) -> bool:
    """Return whether a call says who is waiting, and when the person was last active, in UTC."""
    if (interaction_type or "").lower() not in INTERACTION_TYPES:
        return False
    try:
        moment = datetime.fromisoformat(last_access or "")
    except ValueError:
        return False
    return moment.utcoffset() == timedelta(0)


# A path that names another connector than the token's, or an unknown product: not a token problem.
NO_SUCH_ROUTE = DataError(403, 403, "Forbidden")


def accounts_info(accounts: Iterable[Account]) -> dict[str, Any]:
    """Return the accounts without balances."""
    return {"accounts": [{account.fdx_type: _described(account)} for account in accounts]}


def balances(accounts: Iterable[Account], now: float) -> dict[str, Any]:
    """Return the accounts with balances as of `now` (seconds since 1970)."""
    as_of = datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "accounts": [
            {
                account.fdx_type: {
                    **_described(account),
                    "currentBalance": account.balance / 100,
                    "balanceAsOf": as_of,
                }
            }
            for account in accounts
        ]
    }


def _described(account: Account) -> dict[str, Any]:
    return {
        "accountId": account.account_id,
        "accountType": account.kind,
        "accountNumberDisplay": account.last_digits,
        "productName": account.name,
        "nickname": account.name,
        "status": "OPEN",
        "currency": {"currencyCode": "USD"},
    }
