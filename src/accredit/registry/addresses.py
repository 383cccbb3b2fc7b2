"""When two e-mail addresses are one: the letter case of the domain does not count, that of the local part does."""

from __future__ import annotations

__all__ = ["same_address"]


def same_address(address: str) -> str:
    """The form under which an address is stored and found."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain.lower()}"
