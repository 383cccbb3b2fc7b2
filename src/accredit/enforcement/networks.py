"""From which network a call comes: what one place is, for telling apart whether a key is used in two. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

__all__ = ["network_of"]

_V4_BITS: Final = 24
_V6_BITS: Final = 48
_LONGEST: Final = 64


@lru_cache(maxsize=4_096)
def network_of(source: str) -> str:
    """The /24 or /48 that an address is in: machines side by side, and the addresses of one exit, are one place."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source[:_LONGEST]
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = _V6_BITS if isinstance(address, IPv6Address) else _V4_BITS
    return str(ip_network((address, bits), strict=False))
