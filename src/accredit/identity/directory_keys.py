"""The keys with which directories provision users and groups (SCIM): good for that, for one of them, and no more.

Whoever makes one could be behind everything that is done with it; so it remembers them, and ties go to them.
"""

from __future__ import annotations

from typing import Final

from accredit.audit.model import Receipt
from accredit.audit.ports import Actor, ControlLog, StateView
from accredit.identity.rows import DIRECTORY_KEY
from accredit.identity.service_keys import KeyForm, ServiceKey, ServiceKeys
from accredit.identity.tokens import refused
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError
from accredit.kernel.ids import IdSource, PersonId
from accredit.registry.provisioning import Provisioner
from accredit.registry.rows import DIRECTORY

__all__ = ["DirectoryKeys"]

_KEYS: Final = KeyForm(DIRECTORY_KEY, "directory", "a directory", "accd_", "dky", keeps_maker=True)


class DirectoryKeys:
    """Every key of every directory, as of now."""

    def __init__(self, control: ControlLog, *, clock: Clock, ids: IdSource) -> None:
        self._control = control
        self._keys = ServiceKeys(control, _KEYS, counts=_require_mapped, clock=clock, ids=ids)

    def all(self, directory: str) -> tuple[ServiceKey, ...]:
        """The keys of a directory, oldest first."""
        return self._keys.all(directory)

    def authenticate(self, secret: str) -> Provisioner:
        """Which directory that is.

        Raises:
            UnauthenticatedError: unknown, expired or revoked, with a constant message.
        """
        if not secret:
            raise refused(Code.TOKEN_MISSING, "no key")
        _, key = self._keys.recognised(secret)
        if (DIRECTORY, key.service) in self._control.unproven:
            raise refused(Code.STATE_UNPROVEN, key.service, credential=key.id)
        if self._control.view.get(DIRECTORY, key.service) is None:
            raise refused(Code.CREDENTIAL_REVOKED, key.service, credential=key.id)
        return Provisioner(key.service, key.id, PersonId(key.by or ""))

    async def issue(self, directory: str, *, days: int, actor: Actor) -> ServiceKey:
        """Make a key; its secret is in the answer and nowhere else. Raises as `ServiceKeys.issue`."""
        return await self._keys.issue(directory, days=days, actor=actor)

    async def revoke(self, directory: str, key_id: str, *, actor: Actor, reason: str = "") -> Receipt | None:
        """End one key. Raises as `ServiceKeys.revoke`."""
        return await self._keys.revoke(directory, key_id, actor=actor, reason=reason)


def _require_mapped(view: StateView, directory: str) -> None:
    if view.get(DIRECTORY, directory) is None:
        raise NotFoundError(
            Code.NOT_FOUND, f"there is no directory `{directory[:80]}`", hint="apply one, and have it signed off"
        )
