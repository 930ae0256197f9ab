"""Where a bearer or a signature may be sent."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from akoya_token_broker_client.errors import RequestInvalid

Origin = tuple[str, str | None, int | None]


def ensure_private(url: str) -> None:
    """Raise RequestInvalid where what is sent could be read on its way."""
    address = urlsplit(url)
    if address.scheme != "https" and not is_loopback(address.hostname or ""):
        raise RequestInvalid("A bearer goes to https addresses only, or to this machine.")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def origin(url: str) -> Origin:
    """Return whom an address belongs to (RFC 6454)."""
    address = urlsplit(url)
    return address.scheme, address.hostname, address.port
