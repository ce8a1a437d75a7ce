"""What an address tells by itself. Pure."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Nothing sent there leaves the machine. A name other than localhost is not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
