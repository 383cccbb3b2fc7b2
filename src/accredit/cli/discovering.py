"""Agents in folders and exports, and findings about agents nobody registered or looks after."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from accredit import __version__
from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, client, listed, segment, shown
from accredit.cli.output import Format, plain, show
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from accredit.lifecycle.discovery.model import Trace

__all__ = ["app"]

app = App()
finding = App(name="finding", help="Agents that nobody registered, or that nobody looks after.")
app.command(finding)

_WOULD_BREAK: Final = 8
_AT_ONCE: Final = 500
_COLUMNS: Final = ("kind", "format", "path", "line", "name", "reaches", "secrets", "verdict", "by")


@app.command(name="discover")
def _discover(
    path: Path | None = None,
    *,
    usage: Annotated[list[Path] | None, Parameter(help="A provider's export of use, CSV or JSON; may repeat.")] = None,
    match: Annotated[bool, Parameter(negative="", help="Ask your server what of it is registered.")] = False,
    report: Annotated[
        str,
        Parameter(help="Open findings on the server for what is not registered, under this name of what was scanned."),
    ] = "",
    fail_on: Annotated[
        Literal["found", "unregistered", "secrets"] | None,
        Parameter(help="Exit 8 if anything was found, is not registered (asks your server), or is a secret."),
    ] = None,
    salt_file: Annotated[
        Path | None, Parameter(help="What keeps digests of secrets alike between scans: at least 16 bytes.")
    ] = None,
    output: Annotated[
        Literal["table", "json", "yaml", "sarif"], Parameter(name=["-o", "--output"], help="table, json, yaml or sarif")
    ] = "table",
) -> int:
    """Look for agents in a folder, without running or changing anything in it, and in exports of use.

    Args:
        path: The folder, or a file.
    """
    from accredit.lifecycle.discovery.report import sarif, trace_row  # noqa: PLC0415 - no other command needs it
    from accredit.lifecycle.discovery.scan import scan  # noqa: PLC0415
    from accredit.lifecycle.discovery.usage import usage_traces  # noqa: PLC0415

    if path is None and not usage:
        raise InvalidInputError(
            Code.BODY_MALFORMED, "there is nothing to look at", hint="name a folder, or --usage FILE"
        )
    found: list[Trace] = []
    said: dict[str, Any] = {"files": 0, "read": 0, "skipped": {}, "whole": True}
    if path is not None:
        looked = scan(path, salt=_salt(salt_file))
        found += looked.traces
        said = {"files": looked.files, "read": looked.read, "skipped": dict(looked.skipped), "whole": looked.whole}
    for file in usage or ():
        found += usage_traces(str(file.name), _content(file))
    rows = [trace_row(one) for one in found]
    if match or report or fail_on == "unregistered":
        for row, answer in zip(rows, _matched(found, report, whole=said["whole"]), strict=True):
            row |= {name: answer[name] for name in ("verdict", "by", "agent_name", "finding")}
    if output == "sarif":
        show(sarif(rows, __version__), Format.JSON)
    elif output == "table":
        show([_line(row) for row in rows], TABLE, columns=_COLUMNS if "verdict" in (rows or [{}])[0] else _COLUMNS[:-2])
        left = ", ".join(f"{plain(why)}: {count}" for why, count in said["skipped"].items())
        print(f"{len(rows)} found in {said['files']} files; {said['read']} read{left and f'; not read: {left}'}",
              file=sys.stderr)  # fmt: skip
    else:
        show({"traces": rows, **said}, Format(output))
    if not said["whole"]:
        print("warning: a bound was reached: there may be more", file=sys.stderr)
    return _WOULD_BREAK if _fails(rows, fail_on, whole=said["whole"]) else 0


def _fails(rows: Sequence[Mapping[str, Any]], fail_on: str | None, *, whole: bool) -> bool:
    """Whether there is what must not be; what was not looked at could be it."""
    match fail_on:
        case "found":
            return bool(rows) or not whole
        case "unregistered":
            return any(row["verdict"] != "registered" for row in rows) or not whole
        case "secrets":
            return any(row["secrets"] or row["unread"] for row in rows) or not whole
        case _:
            return False


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    reaches = [*row["urls"], row["command"]]
    if row["use"]:
        reaches.append(f"{row['use']['requests']} requests, {row['use']['cost_nanos'] / 1e9:.2f} USD")
    return {
        **row,
        "line": row["line"] or "",
        "name": row["name"] or (row["unread"] and f"not read: {row['unread']}"),
        "reaches": ", ".join(filter(None, reaches)),
        "secrets": ", ".join(sorted({secret["kind"] for secret in row["secrets"]})),
        "verdict": row.get("verdict", ""),
        "by": row.get("agent_name") or row.get("by", ""),
    }


def _salt(file: Path | None) -> bytes:
    import secrets  # noqa: PLC0415

    if file is None:
        return secrets.token_bytes(32)
    salt = _content(file)
    if not 16 <= len(salt) <= 4_096:
        raise InvalidInputError(
            Code.SETTING_INVALID, "a salt has 16 to 4096 bytes", hint="make one with `openssl rand 32`"
        )
    return salt


def _content(file: Path) -> bytes:
    from accredit.lifecycle.discovery.usage import MAX_USAGE_BYTES  # noqa: PLC0415

    try:
        with file.open("rb") as opened:
            return opened.read(MAX_USAGE_BYTES + 1)
    except OSError as error:
        raise NotFoundError(Code.NOT_FOUND, f"`{file}` cannot be read: {(error.strerror or '').lower()}") from error


def _matched(found: Sequence[Trace], report: str, *, whole: bool) -> Iterator[Mapping[str, Any]]:
    """What the server says to each trace, in their order."""
    with client() as api:
        for at in range(0, max(len(found), 1), _AT_ONCE):
            some = found[at : at + _AT_ONCE]
            body = {
                "traces": [_asked(one) for one in some],
                "source": report,
                "complete": whole and len(found) <= _AT_ONCE,
            }
            yield from api.post("/api/v1/discoveries", body)["items"]


def _asked(one: Trace) -> dict[str, Any]:
    """A trace as the server is told of it: of secrets their kinds, and of our own keys the hashes they are known by."""
    return {
        "kind": one.kind.value,
        "format": one.format,
        "path": one.path,
        "name": one.name,
        "urls": list(one.urls),
        "command": one.command,
        "providers": list(one.providers),
        "models": list(one.models),
        "agent": one.agent,
        "keys": [secret.ours for secret in one.secrets if secret.ours],
        "secrets": sorted({secret.kind for secret in one.secrets if not secret.ours}),
        "unread": one.unread,
        "cost_nanos": one.use.cost_nanos if one.use else 0,
        "last_used": one.use.last if one.use else "",
    }


@finding.command(name="list")
def _finding_list(
    *,
    state: Literal["open", "answered", "over", "all"] = "open",
    kind: str | None = None,
    agent: str | None = None,
    page: Page = FIRST,
    output: Out = TABLE,
) -> None:
    """List findings that are open, or with --state others, the most urgent first."""
    listed(
        "/api/v1/findings", output,
        "severity", "kind", "name", "agent_name", "owner", "due", "state", "escalated", "answers", "id",
        page=page, state=state, kind=kind, agent=agent,
    )  # fmt: skip


@finding.command(name="get")
def _finding_get(id_: Id, *, output: Out = TABLE) -> None:
    """Show a finding with what it is about: live credentials, cost, data classes, and what can be answered."""
    with client() as api:
        shown(api, api.get(f"/api/v1/findings/{segment(id_)}"), output)


@finding.command(name="look")
def _finding_look(*, output: Out = TABLE) -> int:
    """Look at the fleet now instead of within minutes; tells how many findings are open."""
    return act("/api/v1/finding-looks", output)


@finding.command(name="answer")
def _finding_answer(
    id_: Id,
    answer: Literal["register", "adopt", "suspend", "retire", "dismiss"],
    *,
    reason: str,
    output: Out = TABLE,
) -> int:
    """Answer a finding in one step; `register` gives the draft of a manifest.

    Args:
        answer: What is to become of it.
        reason: Why, for the record.
    """
    return act(f"/api/v1/findings/{segment(id_)}/answer", output, {"answer": answer, "reason": reason})
