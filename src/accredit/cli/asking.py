"""How commands ask the server and show what it says. Each subject's commands stand in a module of this room."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from cyclopts import Parameter

from accredit.cli.client import ApiClient, ApiFault
from accredit.cli.output import NO_PARTS, Format, Parts, plain, show
from accredit.cli.profile import keep_checkpoint, load_profile
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError

__all__ = [
    "DATA",
    "FIRST",
    "NEWEST",
    "TABLE",
    "Data",
    "Id",
    "Older",
    "Out",
    "Page",
    "Thumbprint",
    "act",
    "apply_files",
    "called",
    "changing",
    "client",
    "days_of",
    "listed",
    "person_id",
    "read_data",
    "read_text",
    "segment",
    "shown",
    "write_text",
]

DATA = Path(os.environ.get("ACCREDIT_DATA", "accredit-data"))
Data = Annotated[Path, Parameter(help="The data directory (also ACCREDIT_DATA).")]
Out = Annotated[Format, Parameter(name=["-o", "--output"], help="table, json or yaml")]
Id = Annotated[str, Parameter(name="ID")]
Thumbprint = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""Base64url: one of 64 begins with a hyphen."""
TABLE = Format.TABLE
_Limit = Annotated[int | None, Parameter(help="At most so many.")]
_PENDING: Final = 3
_LONGEST_DAYS: Final = 3_650
_PERSON: Final = "psn_"


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list."""

    limit: _Limit = None
    after: Annotated[str | None, Parameter(help="Go on behind this place, as the page before says.")] = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Older:
    """Which part of the records, newest first."""

    limit: _Limit = None
    before: Annotated[int | None, Parameter(help="Go on before this record, as the page before says.")] = None


FIRST: Final = Page()
NEWEST: Final = Older()


def client() -> ApiClient:
    """The server of this user's profile."""
    return ApiClient(load_profile(os.environ))


def days_of(since: str) -> int:
    """How many days a time like `30d` is.

    Raises:
        InvalidInputError: it is none.
    """
    number, unit = since[:-1], since[-1:]
    if unit != "d" or not number.isdecimal() or not 0 < int(number) <= _LONGEST_DAYS:
        raise InvalidInputError(Code.SETTING_INVALID, f"`{since[:20]}` is not a number of days", hint="write `30d`")
    return int(number)


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def listed(
    path: str,
    output: Format,
    *columns: str,
    page: Page | Older = FIRST,
    parts: Parts = NO_PARTS,
    **params: str | int | None,
) -> None:
    """Get something and show it; of a list one page."""
    with client() as api:
        answer = api.get(path, **params, **asdict(page))
        shown(api, answer, output, *columns, parts=parts)
    following = answer.get("next") if output is TABLE else None
    if following:
        go_on = "--before" if isinstance(page, Older) else "--after"
        print(f"there is more: {go_on} '{plain(following, limit=None)}'", file=sys.stderr)


def act(path: str, output: Format, body: dict[str, Any] | None = None, *columns: str, parts: Parts = NO_PARTS) -> int:
    """Change something and show what came of it; the exit code."""
    with changing() as api:
        return shown(api, api.post(path, body), output, *columns, parts=parts)


@contextmanager
def changing() -> Iterator[ApiClient]:
    """Whoever changes something keeps the newest checkpoint: a log cut off later is found against it."""
    with client() as api:
        yield api
        newest = api.text("/log/checkpoint")
        wrong = keep_checkpoint(os.environ, api.url, newest) if newest else ""
    if wrong:
        print(f"warning: {plain(wrong, limit=400)}", file=sys.stderr)
        print("hint: the checkpoint kept before is evidence; run `accredit audit verify DATA`", file=sys.stderr)


def shown(api: ApiClient, answer: Any, output: Format, *columns: str, parts: Parts = NO_PARTS) -> int:
    """Show an answer, in a table with people by their addresses; exit code 3 if it waits for a second person."""
    show(called(api, answer) if output is TABLE else answer, output, columns=columns, parts=parts)
    waiting = _waiting(answer)
    if waiting:
        print(f"it waits for the sign-off of a second person: {', '.join(map(plain, waiting))}", file=sys.stderr)
        print("hint: they look at it with `accredit approval get ID`, then vote", file=sys.stderr)
    return _PENDING if waiting else 0


def _waiting(answer: Any) -> list[str]:
    """The requests that decide whether what was asked for comes into force."""
    if not isinstance(answer, dict):
        return []
    rows = answer.get("items")
    return [str(one["approval"]) for one in (rows if isinstance(rows, list) else [answer]) if one.get("approval")]


def called(api: ApiClient, answer: Any) -> Any:
    """The same with each person called by their address, save where it says what something's own id is."""
    if not _names_people(answer):
        return answer
    try:
        known = {one["id"]: one["email"] for one in _persons(api)}
    except ApiFault as fault:
        if fault.code != str(Code.NOT_AUTHORISED):
            raise
        return answer  # whoever may not see who there is sees ids
    return _called(answer, known)


def _names_people(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_names_people(one) for key, one in value.items() if key != "id")
    if isinstance(value, list):
        return any(map(_names_people, value))
    return isinstance(value, str) and value.startswith(_PERSON)


def _called(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: one if key == "id" else _called(one, known) for key, one in value.items()}
    if isinstance(value, list):
        return [_called(one, known) for one in value]
    return known.get(value, value) if isinstance(value, str) else value


def apply_files(texts: Iterable[tuple[Path, str]], output: Format) -> int:
    """Register or update what files declare; the exit code."""
    files = [{"name": str(path)[-255:], "text": text} for path, text in texts]
    return act(
        "/api/v1/apply", output, {"files": files}, "kind", "name", "result", "id", "expires", "approval", "flagged"
    )


def _persons(api: ApiClient) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = api.get("/api/v1/persons", after=after)
        yield from page["items"]
        after = page.get("next")
        if after is None:
            return


def person_id(api: ApiClient, person: str) -> str:
    """The id of somebody named by id or address; an address is looked up here, it goes into no URL.

    Raises:
        NotFoundError: nobody has that address.
    """
    if "@" not in person:
        return person
    for one in _persons(api):
        if one["email"].casefold() == person.casefold():
            return str(one["id"])
    raise NotFoundError(Code.NOT_FOUND, f"nobody has the address `{person[:100]}`", hint="see `accredit person list`")


def read_text(path: Path) -> str:
    """A file of this user's.

    Raises:
        NotFoundError: it cannot be read.
        InvalidInputError: it is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(Code.MANIFEST_INVALID, f"`{path}` is not UTF-8 text") from error
    except OSError as error:
        raise NotFoundError(Code.NOT_FOUND, f"`{path}` cannot be read: {(error.strerror or '').lower()}") from error


def read_data(path: Path) -> dict[str, Any]:
    """What a file of this user's holds as YAML or JSON.

    Raises:
        NotFoundError: it cannot be read.
        InvalidInputError: it is not one mapping.
    """
    import yaml  # noqa: PLC0415 - most commands never need it

    text = read_text(path)
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise InvalidInputError(
            Code.MANIFEST_INVALID, f"`{path}` does not hold one document of YAML or JSON", hint=f"look at {where}"
        ) from error
    if not isinstance(found, dict):
        raise InvalidInputError(
            Code.MANIFEST_INVALID, f"`{path}` does not hold one document of keys and values", hint="see its schema"
        )
    return found


def write_text(path: Path, text: str) -> None:
    """Write a file.

    Raises:
        InvalidInputError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`{path}` cannot be written: {(error.strerror or '').lower()}"
        ) from error
