"""Where the command line keeps whom it speaks to, its own credential, and the newest checkpoint it was shown.

The file is `profile.json` (0600) in `$ACCREDIT_PROFILE` or the user's configuration directory. Environment variables
`ACCREDIT_URL` and `ACCREDIT_TOKEN` come first. The kept checkpoint is what finds a truncated log later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["Profile", "load_profile", "profile_path", "save_profile"]

_DEFAULT_URL = "http://127.0.0.1:8700"


@dataclass(frozen=True, slots=True)
class Profile:
    """One installation as this user knows it."""

    url: str = _DEFAULT_URL
    token: str = ""
    checkpoint: str = ""

    def __repr__(self) -> str:
        return f"Profile(url={self.url!r})"


def profile_path(environ: Mapping[str, str]) -> Path:
    """The profile's file."""
    if given := environ.get("ACCREDIT_PROFILE"):
        return Path(given)
    root = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".config")
    return Path(root) / "accredit" / "profile.json"


def load_profile(environ: Mapping[str, str]) -> Profile:
    """The stored profile, overridden by the environment.

    Raises:
        InvalidInputError: the file can be read by others, or is not a profile.
    """
    path, stored = profile_path(environ), Profile()
    if path.exists():
        if path.stat().st_mode & 0o077:
            raise InvalidInputError(
                Code.SETTING_INVALID, f"`{path.name}` can be read by others", hint=f"run `chmod 600 {path}`"
            )
        try:
            stored = Profile(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise InvalidInputError(
                Code.SETTING_INVALID, f"`{path.name}` is not a profile", hint="remove it and run `accredit login LINK`"
            ) from error
    return Profile(
        url=environ.get("ACCREDIT_URL", stored.url).rstrip("/"),
        token=environ.get("ACCREDIT_TOKEN", stored.token),
        checkpoint=stored.checkpoint,
    )


def save_profile(environ: Mapping[str, str], profile: Profile) -> Path:
    """Write the profile so that only its user reads it; returns the file."""
    path = profile_path(environ)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_suffix(f".{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(profile), file)
    part.replace(path)
    return path
