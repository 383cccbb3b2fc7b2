"""Which certificate authorities are trusted: the machine's, read once.

A client that reads them for itself takes some 30 ms and a megabyte for it, also where it never speaks TLS.
"""

from __future__ import annotations

import ssl
from functools import cache

__all__ = ["machine_trust", "program_trust"]


@cache
def machine_trust() -> ssl.SSLContext:
    """The authorities that the machine trusts, whatever the environment says: for the server's own clients."""
    import httpx2  # noqa: PLC0415 - a start without clients does not pay for it

    return httpx2.create_ssl_context(trust_env=False)


@cache
def program_trust() -> ssl.SSLContext:
    """The same, or what `SSL_CERT_FILE` or `SSL_CERT_DIR` name: for clients inside of somebody's program."""
    import httpx2  # noqa: PLC0415

    return httpx2.create_ssl_context()
