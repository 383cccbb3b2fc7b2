"""Whose word about users and tasks counts: registration by an operator, with keys inline and claims typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.audience import public_origin
from accredit.identity.claims import check_claim_names
from accredit.identity.keys import issuer_keys
from accredit.identity.model import ClaimType, Issuer, IssuerKind
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError
from accredit.kernel.ids import IdSource

__all__ = ["Issuers"]

TASK_TYPE: Final = "task+jwt"
_OWN_TYPES: Final = frozenset({"", TASK_TYPE})
_MAX_LIFE_S: Final = {IssuerKind.USER: 86_400, IssuerKind.TASK: 900}
_MAX_NAMES: Final = 256
_MAX_NAME: Final = 128
_TASK: Final = "{task}"


class Issuers:
    """Registers and revokes issuers."""

    def __init__(self, control: ControlLog, *, ids: IdSource, public_url: str) -> None:
        self._control = control
        self._ids = ids
        self._public_url = public_url

    async def register(self, issuer: Issuer, *, actor: Actor) -> Issuer:
        """Register an issuer; the one returned carries the registration's id.

        Raises:
            InvalidInputError: an address, key, claim or life that cannot be accepted.
            ConflictError: the issuer is registered, or another gives one of its claims a different type.
        """
        self._check(issuer)
        # only what was understood is kept: public members, each key with its one algorithm
        keys = [{**key.jwk, "alg": key.algorithm, "kid": key.kid} for key in issuer_keys(issuer.jwks).values()]
        registered = replace(issuer, jwks={"keys": keys}, id=self._ids.new("iss"), revoked=False)

        def build(view: StateView) -> Change:
            types: dict[str, ClaimType] = {}
            for row in view.scan(rows.ISSUER):
                other = rows.issuer_from(row.key, row.doc)
                if other.kind is issuer.kind and not other.revoked:
                    if other.url == issuer.url:
                        raise ConflictError(Code.CONFLICT, f"the issuer `{issuer.url[:80]}` is registered already")
                    types |= other.claims
            # a policy reads `context.task.customer_id` whoever vouched for it, so it has one type
            if clash := _clash(types, issuer.claims):
                raise ConflictError(Code.CONFLICT, f"another issuer gives the claim `{clash}` a different type")
            return Change(
                Facts("issuer.registered"),
                (Write(rows.ISSUER, registered.id, rows.issuer_doc(registered)),),
                actor,
                {"issuer": registered.id, "kind": registered.kind.value},
            )

        await self._control.transact(build)
        return registered

    def _check(self, issuer: Issuer) -> None:
        check_claim_names(issuer.claims)
        public_origin(issuer.url)
        if issuer.url.removesuffix("/") == self._public_url:
            raise InvalidInputError(Code.SETTING_INVALID, "this installation cannot be an issuer to itself")
        if not 1 <= issuer.max_life_s <= _MAX_LIFE_S[issuer.kind]:
            raise InvalidInputError(
                Code.TOKEN_LIFETIME, f"tokens of a {issuer.kind} issuer live 1 to {_MAX_LIFE_S[issuer.kind]} s"
            )
        names = (issuer.roles_claim, issuer.token_type, *issuer.role_names, *issuer.role_names.values())
        if len(issuer.role_names) > _MAX_NAMES or any(len(name) > _MAX_NAME for name in names):
            raise InvalidInputError(
                Code.TOKEN_CLAIMS,
                f"an issuer maps at most {_MAX_NAMES} roles, with names of at most {_MAX_NAME} characters",
            )
        match issuer.kind:
            case IssuerKind.USER:
                if issuer.token_type in _OWN_TYPES or issuer.status_url:
                    raise InvalidInputError(
                        Code.TOKEN_TYPE,
                        "a user issuer names the `typ` of its tokens and no status",
                        hint="often `at+jwt`",
                    )
            case IssuerKind.TASK:
                if issuer.token_type != TASK_TYPE or issuer.roles_claim or issuer.role_names:
                    raise InvalidInputError(Code.TOKEN_TYPE, f"tokens of a task issuer are of type `{TASK_TYPE}`")
                if issuer.status_url.count(_TASK) != 1:
                    raise InvalidInputError(
                        Code.SETTING_INVALID, "a task issuer answers at a status URL", hint=f"put `{_TASK}` in its path"
                    )
                public_origin(issuer.status_url)
                if _TASK in issuer.status_url.split("/", 3)[2]:
                    raise InvalidInputError(Code.SETTING_INVALID, "the status URL names its host itself")


def _clash(types: Mapping[str, ClaimType], claims: Mapping[str, ClaimType]) -> str:
    return next((name for name, kind in claims.items() if types.get(name, kind) is not kind), "")
