"""What of an issuer's word is let through: registered claims of registered scalar types, and roles.

A claim that is not registered is dropped, since issuers put much into tokens that nobody vouched to us for; one that
is registered and has another type refuses the token, since a policy would compare something it was not written for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from accredit.identity.access import MAX_ACTORS
from accredit.identity.model import ClaimType, Issuer
from accredit.identity.tokens import refused
from accredit.kernel.codes import Code

__all__ = ["actor_chain", "fits", "reported_posture", "roles_of", "typed_claims"]

_MAX_TEXT: Final = 1024
_MAX_INTEGER: Final = 2**53
_MAX_ROLES: Final = 64
_MAX_ROLE: Final = 128
_MAX_MODELS: Final = 50
_MAX_MODEL: Final = 128
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def fits(value: Any, kind: ClaimType) -> bool:
    """Whether a value is of a registered type, and within bounds."""
    match kind:
        case ClaimType.STRING:
            return isinstance(value, str) and len(value) <= _MAX_TEXT
        case ClaimType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_INTEGER
        case ClaimType.BOOLEAN:
            return isinstance(value, bool)


def typed_claims(claims: Mapping[str, Any], schema: Mapping[str, ClaimType]) -> dict[str, Any]:
    """The registered claims that are present.

    Raises:
        UnauthenticatedError: `token_claims`: one of them has another type.
    """
    found = {name: claims[name] for name in schema if name in claims}
    for name, value in found.items():
        if not fits(value, schema[name]):
            raise refused(Code.TOKEN_CLAIMS, f"the claim `{name}` is not of type {schema[name].value}")
    return found


def roles_of(claims: Mapping[str, Any], issuer: Issuer) -> frozenset[str]:
    """Our names of the roles the issuer vouches for; none without a roles claim.

    Raises:
        UnauthenticatedError: `token_claims`: the roles are not a list of names.
    """
    named = claims.get(issuer.roles_claim, []) if issuer.roles_claim else []
    if (
        not isinstance(named, list)
        or len(named) > _MAX_ROLES
        or any(not isinstance(role, str) or not 1 <= len(role) <= _MAX_ROLE for role in named)
    ):
        raise refused(Code.TOKEN_CLAIMS, "the roles are not a list of names")
    if not issuer.role_names:
        return frozenset(named)
    return frozenset(issuer.role_names[role] for role in named if role in issuer.role_names)


def actor_chain(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Everybody who acted before, newest first (RFC 8693 §4.1). Nobody is ever dropped from it.

    Raises:
        UnauthenticatedError: `token_actor`: `act` has another form, or is nested too deeply.
    """
    chain: list[str] = []
    at: Any = claims.get("act")
    while at is not None:
        if not isinstance(at, dict) or not isinstance(at.get("sub"), str) or not 1 <= len(at["sub"]) <= 256:
            raise refused(Code.TOKEN_ACTOR, "`act` does not name an actor")
        chain.append(at["sub"])
        if len(chain) >= MAX_ACTORS:  # the agent that acts now comes on top
            raise refused(Code.TOKEN_ACTOR, f"more than {MAX_ACTORS - 1} actors are nested")
        at = at.get("act")
    return tuple(chain)


def reported_posture(claims: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What an instance says it runs, in the assertion it signed: `{version?, prompt?, models?: [[provider, model]]}`.

    It satisfies nothing; it is only held against what was approved.

    Raises:
        UnauthenticatedError: `token_claims`: it has another form.
    """
    if "posture" not in claims:
        return None
    said = claims["posture"]
    known = isinstance(said, dict) and not said.keys() - {"models", "prompt", "version"}
    if not known or not all(_is_reported(name, value) for name, value in said.items()):
        raise refused(Code.TOKEN_CLAIMS, "`posture` is not of the form asked for")
    return dict(said)


def _is_reported(name: str, value: Any) -> bool:
    if name != "models":
        return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
    return (
        isinstance(value, list)
        and len(value) <= _MAX_MODELS
        and all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(text, str) and 1 <= len(text) <= _MAX_MODEL and text.isprintable() for text in pair)
            for pair in value
        )
    )
