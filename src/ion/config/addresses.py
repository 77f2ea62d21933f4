"""Addresses to listen on: this machine only, or every interface."""

import ipaddress

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  chosen only where callers are asked who they are, or by a person


def is_loopback(host: str) -> bool:
    """Whether an address or name stands for this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
