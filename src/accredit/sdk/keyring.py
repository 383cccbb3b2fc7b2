"""The instance's own key and the identity it was enrolled as, in memory or in one file of mode 0600."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from accredit.kernel.canonical import canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, CredentialId
from accredit.kernel.strictjson import parse_strict

__all__ = ["InstanceKey", "Keyring"]

_REGISTRY = jws.JWSRegistry(algorithms=["ES256"])
_MAX_FILE = 8192


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """A private P-256 key that never leaves this process but into its own file."""

    key: ECKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> InstanceKey:
        return cls(ECKey.generate_key("P-256"))

    def public_jwk(self) -> dict[str, str]:
        """The public half, as enrolment takes it."""
        return {name: str(value) for name, value in self.key.as_dict(private=False).items()}

    def thumbprint(self) -> str:
        """RFC 7638 with SHA-256: what a join token may be pinned to."""
        return self.key.thumbprint()

    def sign(self, claims: Mapping[str, Any], *, typ: str, kid: str) -> str:
        """A compact ES256 JWS."""
        return jws.serialize_compact(
            {"alg": "ES256", "typ": typ, "kid": kid}, canonical(claims), self.key, registry=_REGISTRY
        )


@dataclass(frozen=True, slots=True)
class Keyring:
    """A key and what it was enrolled as."""

    key: InstanceKey
    credential: CredentialId
    agent: AgentId
    token_endpoint: str

    def save(self, path: Path) -> None:
        """Write it to a file that only the owner can read, in one step.

        Raises:
            UnavailableError: the file cannot be written.
        """
        doc = canonical(
            {
                "agent_id": self.agent,
                "credential_id": self.credential,
                "private_jwk": {name: str(value) for name, value in self.key.key.as_dict(private=True).items()},
                "token_endpoint": self.token_endpoint,
            }
        )
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            # created with its final mode: there is no moment at which others could open it
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(doc)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise UnavailableError(
                Code.SETTING_INVALID, f"the key file `{path}` cannot be written", cause=repr(error)
            ) from error

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read it back.

        Raises:
            InvalidInputError: others can read or own the file, or it is not a key file.
            UnavailableError: the file cannot be read.
        """
        try:
            with path.open("rb") as file:
                state = os.fstat(file.fileno())  # of the file that was opened, not of what the name means by now
                data = file.read(_MAX_FILE + 1)
        except OSError as error:
            raise UnavailableError(
                Code.SETTING_INVALID, f"the key file `{path}` cannot be read", cause=repr(error)
            ) from error
        if stat.S_IMODE(state.st_mode) & 0o077 or state.st_uid != os.geteuid():
            raise InvalidInputError(
                Code.SETTING_INVALID,
                f"the key file `{path}` is not readable by its owner alone",
                hint="set its mode to 0600 and its owner to the agent's user; if others could read it, enrol again",
            )
        try:
            doc = parse_strict(data, max_bytes=_MAX_FILE, max_depth=4)
            private = doc["private_jwk"]
            key = InstanceKey(ECKey.import_key({name: private[name] for name in ("kty", "crv", "x", "y", "d")}))
            return cls(key, CredentialId(doc["credential_id"]), AgentId(doc["agent_id"]), str(doc["token_endpoint"]))
        except (InvalidInputError, JoseError, ValueError, TypeError, KeyError) as error:
            # the cause names the kind of fault only: the text of the error could hold a piece of the key
            raise InvalidInputError(
                Code.SETTING_INVALID, f"`{path}` is not a key file", cause=type(error).__name__
            ) from error
