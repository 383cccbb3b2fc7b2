"""The controls one call passes, each a port of its own so that each can be replaced and each can be missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.kernel.ids import ServerName
from accredit.registry.model import Tool, ToolServer

__all__ = ["CredentialBroker", "DefinitionWatch", "TokenVerifier"]


class TokenVerifier(Protocol):
    """Says who a bearer token proves, or refuses."""

    def verify(self, token: str, *, path: str) -> Principal:
        """Verify one access token for use at `path` (under the public URL). Cached; no I/O.

        Raises:
            UnauthenticatedError: with the token's own reason code, for the record; the caller of the API is told one
                constant text.
        """
        ...

    def still_valid(self, principal: Principal) -> Code | None:
        """Re-check epoch, credential and expiry now; None if all hold. Must be cheap: called before every send."""
        ...


class CredentialBroker(Protocol):
    """Holds upstream credentials; agents never see them."""

    def headers(self, server: ToolServer) -> Mapping[str, str]:
        """The headers to inject for that server, whose URL must have the origin the credential is pinned to.

        Raises:
            UnavailableError: the credential is missing, or pinned to another origin.
        """
        ...


class DefinitionWatch(Protocol):
    """Knows whether a server still offers a tool exactly as pinned."""

    async def refusal(self, server: ServerName, tool: Tool) -> Code | None:
        """None if the tool was seen at the server as pinned within the last 30 s (asks the server if not).

        Else `definition_changed` or `definition_unverified`.
        """
        ...
