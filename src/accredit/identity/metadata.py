"""The documents by which clients find our token endpoint: RFC 8414 and RFC 9728, as plain values."""

from __future__ import annotations

from typing import Any

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = [
    "CLIENT_CREDENTIALS",
    "TOKEN_EXCHANGE",
    "authorization_server",
    "challenge",
    "protected_resource",
    "token_endpoint",
]

CLIENT_CREDENTIALS = "client_credentials"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - the name of a grant type
_RESOURCE = "/.well-known/oauth-protected-resource"


def token_endpoint(public_url: str) -> str:
    """Where tokens are asked for."""
    return f"{public_url}/oauth/token"


def authorization_server(public_url: str) -> dict[str, Any]:
    """Authorization server metadata (RFC 8414 §2): what exists, nothing else."""
    return {
        "issuer": public_url,
        "token_endpoint": token_endpoint(public_url),
        "jwks_uri": f"{public_url}/oauth/jwks",
        "grant_types_supported": [CLIENT_CREDENTIALS, TOKEN_EXCHANGE],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
    }


def _resource_path(path: str) -> str:
    if path and (not path.startswith("/") or not path.isascii() or not path.isprintable() or '"' in path):
        raise InvalidInputError(Code.NOT_FOUND, f"`{path[:80]}` is not a path")
    return path.removesuffix("/")


def protected_resource(public_url: str, path: str) -> dict[str, Any]:
    """Protected resource metadata of one path (RFC 9728 §2), served at the path-suffixed well-known address.

    Raises:
        InvalidInputError: `path` is not a path.
    """
    return {
        "resource": public_url + _resource_path(path),
        "authorization_servers": [public_url],
        "bearer_methods_supported": ["header"],
    }


def challenge(public_url: str, path: str) -> str:
    """The `WWW-Authenticate` of a 401 at that path (RFC 9728 §5.1): the same for every reason.

    Raises:
        InvalidInputError: `path` is not a path.
    """
    return f'Bearer resource_metadata="{public_url}{_RESOURCE}{_resource_path(path)}"'
