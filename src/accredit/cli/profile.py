"""Where the command line keeps whom it speaks to, its own credential, and the newest checkpoint it was shown.

The file is `profile.json` (0600) in `$ACCREDIT_PROFILE` or the user's configuration directory. Environment variables
`ACCREDIT_URL` and `ACCREDIT_TOKEN` come first. The kept checkpoint is what finds a truncated log later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError

__all__ = ["Profile", "keep_checkpoint", "load_profile", "profile_path", "save_profile"]

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
        InvalidInputError: the file is open to others, or is not a profile.
    """
    path, stored = profile_path(environ), Profile()
    if path.exists():
        status = path.stat()
        if status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise InvalidInputError(
                Code.SETTING_INVALID, f"`{path.name}` is open to others", hint=f"run `chmod 600 {path}` as its owner"
            )
        try:
            stored = Profile(**json.loads(path.read_text()))
            if not all(isinstance(text, str) for text in asdict(stored).values()):
                raise ValueError(path.name)  # noqa: TRY301 - one refusal for every broken profile
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInputError(
                Code.SETTING_INVALID, f"`{path.name}` is not a profile", hint="remove it and run `accredit login LINK`"
            ) from error
    return Profile(
        url=environ.get("ACCREDIT_URL", stored.url).rstrip("/"),
        token=environ.get("ACCREDIT_TOKEN", stored.token),
        checkpoint=stored.checkpoint,
    )


def save_profile(environ: Mapping[str, str], profile: Profile) -> Path:
    """Write the profile so that only its user reads it; returns the file.

    Raises:
        UnavailableError: it cannot be written.
    """
    path = profile_path(environ)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(profile), file)
        part.replace(path)
    except OSError as error:
        raise UnavailableError(
            Code.SETTING_INVALID, f"`{path}` cannot be written: {error.strerror}", hint="set ACCREDIT_PROFILE"
        ) from error
    return path


def keep_checkpoint(environ: Mapping[str, str], url: str, shown: str) -> str:
    """Keep the newest checkpoint of the log at `url` in the profile, if it is the profile's own.

    A checkpoint that an honest log could not show after the one kept is not taken: the kept one is the evidence.
    Gives what is wrong with it, empty if nothing is.
    """
    from accredit.audit.checkpoint import parse_checkpoint  # noqa: PLC0415 - only after a change

    own = {"ACCREDIT_PROFILE": str(profile_path(environ))}
    stored = load_profile(own)
    if not profile_path(environ).exists() or stored.url != url:
        return ""
    try:
        newest = parse_checkpoint(shown.encode())[0]
        kept = parse_checkpoint(stored.checkpoint.encode())[0] if stored.checkpoint else None
    except InvalidInputError as error:
        return f"the server shows no checkpoint that can be read: {error.message}"
    if kept is not None and kept.origin != newest.origin:
        return f"the log at `{url}` is another than the one this profile signed in to"
    if kept is not None and (newest.size < kept.size or (newest.size == kept.size and newest.root != kept.root)):
        return f"the log had {kept.size} records and now shows {newest.size} of others: it was cut off or replaced"
    save_profile(own, replace(stored, checkpoint=shown))
    return ""
