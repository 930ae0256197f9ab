"""Bodies of the data endpoints: accounts, balances, transactions, the customer, and the errors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from .people import Account, Login


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
_WRITTEN = "%Y-%m-%dT%H:%M:%SZ"
INTERACTION_TYPES = ("user", "batch")
BAD_REQUEST = DataError(400, 400, "Bad request")


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


DAY = timedelta(days=1)
SHOWN_DAYS = 15  # where no range is asked for (Akoya: transactions)
LIMIT, LARGEST_LIMIT = 50, 500


@dataclass(frozen=True, slots=True)
class DataRequest:
    """A data call: `GET /{product}/v3/{connector}`, `/{about}` behind it, and its query."""

    product: str
    connector: str
    about: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)


def content(
    request: DataRequest, login: Login, accounts: tuple[Account, ...], now: float
) -> dict[str, Any] | DataError:
    """Return what a call is answered that shows the `accounts` of a `login`."""
    match request.product, request.about:
        case "accounts-info" | "balances", None:
            wanted = [one for one in request.query.get("accountIds", "").split(",") if one]
            if not {*wanted} <= {account.account_id for account in accounts}:
                return DATA_ERRORS[701]
            shown = [one for one in accounts if not wanted or one.account_id in wanted]
            return balances(shown, now) if request.product == "balances" else accounts_info(shown)
        case "customers", "current":
            return customer(login)
        case "transactions", str():
            for account in accounts:
                if account.account_id == request.about:
                    return transactions(request, account, now)
            return DATA_ERRORS[701]
    return NO_SUCH_ROUTE


def customer(login: Login) -> dict[str, Any]:
    """Return the person behind a login."""
    return {
        "customer": {
            "customerId": login.sub,
            "name": {"first": "Sandbox", "last": f"Customer {login.number}"},
            "telephones": [{"type": "HOME", "country": "1", "number": "5555550100"}],
            "addresses": [
                {
                    "type": "HOME",
                    "line1": f"{login.number} Example Street",
                    "city": "SPRINGFIELD",
                    "state": "TN",
                    "postalCode": "37172",
                    "country": "US",
                }
            ],
            "email": [f"{login.user_name}@bank.example"],
        }
    }


def transactions(request: DataRequest, account: Account, now: float) -> dict[str, Any] | DataError:
    """Return a page of an account's transactions, one a day, the latest first, and its links."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    asked = [request.query.get(name) for name in ("startTime", "endTime")]
    start, end = today - SHOWN_DAYS * DAY, today
    if any(asked):
        try:
            start, end = (_moment(at or "") for at in asked)
        except (ValueError, OverflowError):
            return DATA_ERRORS[702]
    if start > end:
        return DATA_ERRORS[703]
    offset, limit = (request.query.get(n, str(d)) for n, d in (("offset", 0), ("limit", LIMIT)))
    if not (_is_count(offset) and _is_count(limit) and 1 <= int(limit) <= LARGEST_LIMIT):
        return BAD_REQUEST
    at, size = int(offset), int(limit)
    first, last = (moment.toordinal() for moment in (start, min(end, today)))
    days = range(last, first - 1, -1)
    links = {}
    if at + size < len(days):
        links["next"] = {"href": _page(request, start, end, at + size, size)}
    if at:
        links["prev"] = {"href": _page(request, start, end, max(0, at - size), size)}
    shown = [_transaction(account, day) for day in days[at : at + size]]
    return ({"links": links} if links else {}) | {"transactions": shown}


def _moment(text: str) -> datetime:
    """Read a moment in UTC; raises ValueError where it does not say that it is."""
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError
    return moment.astimezone(UTC)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9  # noqa: PLR2004


def _page(request: DataRequest, start: datetime, end: datetime, offset: int, limit: int) -> str:
    times = {"startTime": start.strftime(_WRITTEN), "endTime": end.strftime(_WRITTEN)}
    query = urlencode({**times, "offset": offset, "limit": limit})
    return f"/{request.product}/v3/{request.connector}/{request.about}?{query}"


def _transaction(account: Account, day: int) -> dict[str, Any]:
    seed = hashlib.sha256(f"transaction {account.account_id} {day}".encode()).digest()
    moment = datetime.fromordinal(day).replace(tzinfo=UTC).strftime(_WRITTEN)
    is_credit = seed[0] < 64  # noqa: PLR2004
    return {
        account.fdx_type.replace("Account", "Transaction"): {
            "accountId": account.account_id,
            "transactionId": seed[:12].hex(),
            "transactionTimestamp": moment,
            "postedTimestamp": moment,
            "description": "Example Deposit" if is_credit else "Example Store",
            "debitCreditMemo": "CREDIT" if is_credit else "DEBIT",
            "amount": int.from_bytes(seed[1:4]) % 20_000 / 100,
            "status": "POSTED",
        }
    }


def accounts_info(accounts: Iterable[Account]) -> dict[str, Any]:
    """Return the accounts without balances."""
    return {"accounts": [{account.fdx_type: _described(account)} for account in accounts]}


def balances(accounts: Iterable[Account], now: float) -> dict[str, Any]:
    """Return the accounts with balances as of `now` (seconds since 1970)."""
    as_of = datetime.fromtimestamp(int(now), UTC).strftime(_WRITTEN)
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
