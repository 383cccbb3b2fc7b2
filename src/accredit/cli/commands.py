"""The verbs of DESIGN §8 that this release has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from getpass import getpass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from cyclopts import App, Parameter

from accredit import __version__
from accredit.cli.client import ApiClient, ApiFault
from accredit.cli.output import Format, plain, show
from accredit.cli.profile import Profile, keep_checkpoint, load_profile, save_profile
from accredit.cli.views import checked_view, confirmed
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError

__all__ = ["app"]

app = App(name="accredit", help="Lifecycle control for AI agents in production.", version=__version__)
agent = App(name="agent", help="Agents: list, read, enrol, revoke.")
team = App(name="team", help="Teams.")
person = App(name="person", help="People.")
server = App(name="server", help="Tool servers and their pinned definitions.")
credential = App(name="credential", help="Agents' keys and brokered upstream credentials.")
issuer = App(name="issuer", help="Registered issuers of users and tasks.")
hold = App(name="hold", help="Calls that wait for a person.")
policy = App(name="policy", help="Lint, publish and explain policies.")
audit = App(name="audit", help="Read, export, prove and verify the log.")
limits = App(name="limits", help="What agents have used of their limits.")
token = App(name="token", help="Your own API tokens.")
for group in (agent, team, person, server, credential, issuer, hold, policy, audit, limits, token):
    app.command(group)

HoldChoice = Literal["open", "granted", "denied", "expired", "used", "all"]
DATA = Path(os.environ.get("ACCREDIT_DATA", "accredit-data"))
Data = Annotated[Path, Parameter(help="The data directory (also ACCREDIT_DATA).")]
Out = Annotated[Format, Parameter(name=["-o", "--output"], help="table, json or yaml")]
TABLE = Format.TABLE


def _client() -> ApiClient:
    return ApiClient(load_profile(os.environ))


def _segment(name: str) -> str:
    return quote(name, safe="")


def _list(path: str, output: Format, *columns: str, **params: str | int | None) -> None:
    with _client() as api:
        show(api.get(path, **params), output, columns=columns)


def _act(path: str, output: Format, body: dict[str, Any] | None = None) -> None:
    with _changing() as api:
        show(api.post(path, body), output)


@contextmanager
def _changing() -> Iterator[ApiClient]:
    """Whoever changes something keeps the newest checkpoint: a log cut off later is found against it."""
    with _client() as api:
        yield api
        newest = api.text("/log/checkpoint")
        wrong = keep_checkpoint(os.environ, api.url, newest) if newest else ""
    if wrong:
        print(f"warning: {plain(wrong, limit=400)}", file=sys.stderr)
        print("hint: the checkpoint kept before is evidence; run `accredit audit verify DATA`", file=sys.stderr)


# -- running it


@app.command(name="up")
def _up(
    *,
    data: Path | None = None,
    port: int | None = None,
    demo: bool = False,
) -> int:
    """Start one process: API, gateway and embedded SQLite, on loopback.

    Args:
        data: Data directory; created if absent. With --demo a temporary one unless given.
        port: Port to listen on (default 8700, 0 takes a free one).
        demo: Seed the sample fleet and run sample traffic, a line per decision, until Ctrl-C.
    """
    if demo:
        from accredit.demo.running import run_demo_fleet  # noqa: PLC0415 - the demo needs an extra

        return run_demo_fleet(data, port)
    from accredit.cli.serving import run_up  # noqa: PLC0415 - only this command needs the server

    return run_up(data or DATA, port)


@app.command(name="demo")
def _demo() -> int:
    """Live through a sample fleet against a real MCP server, step by step; exit 0 only if every step held."""
    from accredit.demo.story import run_demo  # noqa: PLC0415 - the demo needs an extra

    return run_demo()


@app.command(name="login")
def _login(link: str, *, name: str = "cli") -> None:
    """Exchange a sign-in link, once, for an API token of your own, kept in your profile.

    Args:
        link: The link as printed, with the part after `#`.
        name: What to call the token.
    """
    try:
        parts = urlsplit(link)
    except ValueError:
        parts = urlsplit("")
    if not (parts.scheme in {"http", "https"} and parts.netloc and parts.fragment):
        raise InvalidInputError(
            Code.LINK_INVALID,
            "that is not a sign-in link",
            hint="give all of it in single quotes, with what follows `#`",
        )
    base = Profile(url=f"{parts.scheme}://{parts.netloc}")
    with ApiClient(base) as api:
        answer = api.post("/api/v1/login", {"link": parts.fragment, "name": name})
        newest = api.text("/log/checkpoint")
    path = save_profile(os.environ, Profile(base.url, answer["token"], newest))
    print(f"signed in as {plain(answer['person'])} until {plain(answer['expires'])}; "
          f"the token is kept in {path.name} (0600)")  # fmt: skip


@app.command(name="whoami")
def _whoami(*, output: Out = TABLE) -> None:
    """Show who your token says you are."""
    _list("/api/v1/whoami", output)


@app.command(name="apply")
def _apply(*, file: Annotated[list[Path], Parameter(name=["-f", "--file"])], output: Out = TABLE) -> None:
    """Register or update what YAML or JSON files declare: Person, Team, Issuer, ToolServer, Agent.

    Args:
        file: A file, or a directory of *.yaml, *.yml and *.json.
    """
    texts = []
    for path in file:
        found = sorted(each for each in path.rglob("*") if each.suffix in {".yaml", ".yml", ".json"} and each.is_file())
        if path.is_dir() and not found:
            raise NotFoundError(Code.NOT_FOUND, f"`{path}` holds no *.yaml, *.yml or *.json")
        texts += [{"name": str(each)[-255:], "text": _read(each)} for each in (found if path.is_dir() else [path])]
    with _changing() as api:
        show(api.post("/api/v1/apply", {"files": texts}), output, columns=("kind", "name", "result", "id"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(Code.MANIFEST_INVALID, f"`{path}` is not UTF-8 text") from error
    except OSError as error:
        raise NotFoundError(Code.NOT_FOUND, f"`{path}` cannot be read: {(error.strerror or '').lower()}") from error


# -- things and people


@agent.command(name="list")
def _agent_list(*, output: Out = TABLE) -> None:
    """List agents."""
    _list("/api/v1/agents", output, "name", "environment", "team", "state", "version", "id")


@agent.command(name="get")
def _agent_get(name: str, *, output: Out = TABLE) -> None:
    """Show one agent by name, environment/name or id."""
    _list(f"/api/v1/agents/{_segment(name)}", output)


@agent.command(name="enrol")
def _agent_enrol(name: str, *, thumbprint: str | None = None, source: str | None = None, output: Out = TABLE) -> None:
    """Issue a single-use join token with which one instance enrols its own key.

    Args:
        name: The agent.
        thumbprint: Accept only the key with this RFC 7638 thumbprint.
        source: Accept it only from this network, for example 10.0.0.0/8.
    """
    _act(f"/api/v1/agents/{_segment(name)}/join-tokens", output, {"thumbprint": thumbprint, "source": source})


@agent.command(name="revoke")
def _agent_revoke(name: str, *, reason: str, output: Out = TABLE) -> None:
    """End every credential of an agent now; its calls in flight are cancelled."""
    _act(f"/api/v1/agents/{_segment(name)}/revoke", output, {"reason": reason})


@agent.command(name="usage")
def _agent_usage(name: str, *, days: int = 30, output: Out = TABLE) -> None:
    """Show what the agent used, by tool and day."""
    _list(
        f"/api/v1/agents/{_segment(name)}/usage", output,
        "day", "tool", "allows", "denies", "holds", "errors", "cost", days=days,
    )  # fmt: skip


@agent.command(name="logs")
def _agent_logs(name: str, *, limit: int = 50, output: Out = TABLE) -> None:
    """Show the agent's newest records."""
    _list(
        "/api/v1/audit/records", output, "seq", "time", "kind", "tool", "decision", "code", agent=name, limit=limit
    )  # fmt: skip


@team.command(name="list")
def _team_list(*, output: Out = TABLE) -> None:
    """List teams."""
    _list("/api/v1/teams", output)


@person.command(name="list")
def _person_list(*, output: Out = TABLE) -> None:
    """List people."""
    _list("/api/v1/persons", output)


@issuer.command(name="list")
def _issuer_list(*, output: Out = TABLE) -> None:
    """List issuers."""
    _list("/api/v1/issuers", output)


@issuer.command(name="revoke")
def _issuer_revoke(name: str, *, reason: str, output: Out = TABLE) -> None:
    """Stop trusting an issuer now: every token it vouched for dies."""
    _act(f"/api/v1/issuers/{_segment(name)}/revoke", output, {"reason": reason})


@server.command(name="list")
def _server_list(*, output: Out = TABLE) -> None:
    """List tool servers."""
    _list("/api/v1/servers", output, "name", "environment", "url", "credential", "tools")


@server.command(name="get")
def _server_get(name: str, *, output: Out = TABLE) -> None:
    """Show a server's tools and whether they are as pinned."""
    _list(f"/api/v1/servers/{_segment(name)}", output, "name", "effect", "data", "price", "pinned", "status")


@server.command(name="repin")
def _server_repin(name: str, *, tool: str | None = None, output: Out = TABLE) -> None:
    """Accept a server's present tool definitions as the pinned ones. Recorded with the old and new digest."""
    _act(f"/api/v1/servers/{_segment(name)}/repin", output, {"tool": tool})


@credential.command(name="list")
def _credential_list(*, agent: str | None = None, output: Out = TABLE) -> None:
    """List agents' credentials."""
    _list("/api/v1/credentials", output, agent=agent)


@credential.command(name="revoke")
def _credential_revoke(id_: Annotated[str, Parameter(name="ID")], *, reason: str, output: Out = TABLE) -> None:
    """End one credential now."""
    _act(f"/api/v1/credentials/{_segment(id_)}/revoke", output, {"reason": reason})


@credential.command(name="set")
def _credential_set(
    name: str, *, origin: str, header: str = "Authorization", prefix: str = "Bearer ", output: Out = TABLE
) -> None:
    """Give the broker an upstream credential; the value is read from standard input, never from an argument.

    Args:
        name: What tool servers call it.
        origin: The only origin it may travel to, for example https://crm.example.com.
        header: Header to set.
        prefix: Text before the value.
    """
    value = getpass(f"value of {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not value:
        raise InvalidInputError(
            Code.UPSTREAM_CREDENTIAL,
            "standard input holds no value",
            hint='echo "$KEY" | accredit credential set NAME …',
        )
    with _changing() as api:
        body = {"origin": origin, "header": header, "value": f"{prefix}{value}"}
        show(api.put(f"/api/v1/upstream-credentials/{_segment(name)}", body), output)


@credential.command(name="upstream")
def _credential_upstream(*, output: Out = TABLE) -> None:
    """List the broker's upstream credentials, without their values."""
    _list("/api/v1/upstream-credentials", output)


# -- holds


@hold.command(name="list")
def _hold_list(*, state: HoldChoice = "open", output: Out = TABLE) -> None:
    """List calls that wait for a person, or with --state those that did."""
    _list("/api/v1/holds", output, "id", "agent", "tool", "roles", "expires", "state", state=state)


@hold.command(name="get")
def _hold_get(id_: Annotated[str, Parameter(name="ID")], *, output: Out = TABLE) -> None:
    """Show exactly what would be approved, arguments in full."""
    with _client() as api:
        found = api.get(f"/api/v1/holds/{_segment(id_)}")
    if output is TABLE:
        print(checked_view(found))
        found = {name: value for name, value in found.items() if name != "view"}
    show(found, output)


@hold.command(name="approve")
def _hold_approve(
    id_: Annotated[str, Parameter(name="ID")], *, view_digest: str | None = None, reason: str = "", output: Out = TABLE
) -> None:
    """Approve exactly this call, once. Shows it and asks first.

    Args:
        view_digest: Instead of being asked: the digest of what `hold get` showed you.
        reason: Why, for the record.
    """
    _answer_hold(id_, "approve", view_digest, reason, output)


@hold.command(name="deny")
def _hold_deny(id_: Annotated[str, Parameter(name="ID")], *, reason: str = "", output: Out = TABLE) -> None:
    """Refuse this call."""
    _answer_hold(id_, "deny", None, reason, output)


def _answer_hold(id_: str, answer: str, seen: str | None, reason: str, output: Format) -> None:
    path = f"/api/v1/holds/{_segment(id_)}"
    with _changing() as api:
        found = api.get(path)
        view = checked_view(found)
        if seen is None:
            print(view, file=sys.stdout if output is TABLE else sys.stderr)
            if answer == "approve" and found["state"] == "open":
                confirmed(
                    "approve exactly this call, once?", otherwise="give `--view-digest` of what `hold get` showed"
                )
        body = {"answer": answer, "reason": reason, "view_digest": seen or found["view_digest"]}
        show(api.post(f"{path}/answer", body), output)


# -- policy


def _policy_files(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        raise NotFoundError(Code.NOT_FOUND, f"`{directory}` is not a directory of policies")
    found = {path.relative_to(directory).as_posix(): _read(path) for path in sorted(directory.rglob("*.cedar"))}
    if not found:  # else a slip in a path would publish a release that forbids nothing
        raise NotFoundError(Code.NOT_FOUND, f"`{directory}` holds no *.cedar")
    return found


_FINDING = ("path", "policy", "message", "fix")


@policy.command(name="lint")
def _policy_lint(directory: Path, *, output: Out = TABLE) -> int:
    """Check org/, team/<name>/ and agent/<name>/ policies as publishing would; exit 1 if there is a finding."""
    files = _policy_files(directory)
    with _client() as api:
        found = api.post("/api/v1/policy/lint", {"files": files})
    show(found, output, columns=_FINDING)
    return 1 if found["items"] else 0


@policy.command(name="publish")
def _policy_publish(directory: Path, *, output: Out = TABLE) -> None:
    """Publish a directory of policies as the new release; if it is refused, show every finding."""
    files = {"files": _policy_files(directory)}
    with _changing() as api:
        try:
            show(api.post("/api/v1/policy/publish", files), output)
        except ApiFault as fault:
            if fault.code != str(Code.POLICY_INVALID):
                raise
            show(api.post("/api/v1/policy/lint", files), output, columns=_FINDING)
            raise replace(fault, problem={}) from fault


@policy.command(name="show")
def _policy_show(*, output: Out = TABLE) -> None:
    """Show the release in force and its policies."""
    _list("/api/v1/policy/release", output)


@policy.command(name="explain")
def _policy_explain(decision: str, *, output: Out = TABLE) -> None:
    """Show what one decision rested on."""
    _list(f"/api/v1/decisions/{_segment(decision)}", output)


# -- the log


@audit.command(name="tail")
def _audit_tail(*, limit: int = 20, kind: str | None = None, agent: str | None = None, output: Out = TABLE) -> None:
    """Show the newest records."""
    _list(
        "/api/v1/audit/records", output,
        "seq", "time", "kind", "agent", "tool", "decision", "code", limit=limit, kind=kind, agent=agent,
    )  # fmt: skip


@audit.command(name="prove")
def _audit_prove(seq: int, *, to: Path | None = None, output: Out = TABLE) -> None:
    """Write a self-contained proof (.tlog-proof) that a record stands in the log.

    Args:
        seq: The record's number.
        to: File to write; standard output if none is given.
    """
    with _client() as api:
        found = api.get(f"/api/v1/audit/prove/{seq}")
    if to is not None:
        _write(to, found["proof"])
    elif output is TABLE:
        print("\n".join(plain(line, limit=None) for line in found["proof"].split("\n")), end="")
    else:
        show(found, output)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`{path}` cannot be written: {(error.strerror or '').lower()}"
        ) from error


@audit.command(name="export")
def _audit_export(directory: Path, *, data: Data = DATA, output: Out = TABLE) -> int:
    """Write the whole log for an auditor, who verifies it offline with `audit verify`.

    Args:
        directory: Where to write; must not exist.
    """
    from accredit.cli.offline import export_log  # noqa: PLC0415

    return export_log(data, directory, output=output)


@audit.command(name="verify")
def _audit_verify(
    source: Path = DATA,
    *,
    checkpoint: Path | None = None,
    vkey: str | None = None,
    open_parts: Annotated[bool, Parameter(name="--open")] = False,
    output: Out = TABLE,
) -> int:
    """Verify the log offline: every byte of every record, the tree, every checkpoint.

    Args:
        source: A data directory, an export, or a proof as `audit prove` writes it.
        checkpoint: A checkpoint kept elsewhere: finds a log that was cut off or replaced.
        vkey: The log's public key, if you hold it; otherwise the one stored beside the log is used, and said so.
        open_parts: Open sealed parts with the data directory's keys and check what they commit to.
    """
    from accredit.cli.offline import verify_log  # noqa: PLC0415

    return verify_log(source, checkpoint=checkpoint, vkey=vkey, open_parts=open_parts, output=output)


@limits.command(name="show")
def _limits_show(agent: str, *, output: Out = TABLE) -> None:
    """Show how much of its limits an agent has used."""
    _list(f"/api/v1/agents/{_segment(agent)}/limits", output)


@token.command(name="list")
def _token_list(*, output: Out = TABLE) -> None:
    """List your API tokens."""
    _list("/api/v1/tokens", output)


@token.command(name="issue")
def _token_issue(
    name: str, *, to: Path, scope: Literal["read", "admin"] = "read", days: int = 7, output: Out = TABLE
) -> None:
    """Make a further token of your own, with no more than your scopes, as a profile file for ACCREDIT_PROFILE.

    Args:
        name: What to call it.
        to: Profile file to write (0600); the token itself is never printed.
        scope: `read` sees, `admin` changes as well.
        days: How long it lives, at most 90.
    """
    if to.exists():
        raise ConflictError(Code.CONFLICT, f"`{to}` exists", hint="choose another file")
    scopes = ["read", "admin"] if scope == "admin" else ["read"]
    with _changing() as api:
        made = api.post("/api/v1/tokens", {"name": name, "scopes": scopes, "days": days})
        save_profile({"ACCREDIT_PROFILE": str(to)}, Profile(api.url, made.pop("token")))
        show(made, output)


@token.command(name="revoke")
def _token_revoke(id_: Annotated[str, Parameter(name="ID")], *, output: Out = TABLE) -> None:
    """End one of your API tokens."""
    with _changing() as api:
        show(api.delete(f"/api/v1/tokens/{_segment(id_)}"), output)


@app.command(name="doctor")
def _doctor(*, data: Data = DATA, repair: bool = False, confirm_clock: bool = False, output: Out = TABLE) -> int:
    """Rebuild the state from the log into a scratch copy and compare; changes nothing without --repair.

    Args:
        repair: Write the rebuilt rows; needs the data directory's lock, so the server must be down.
        confirm_clock: Tell a running server that its wall clock is right after a step.
    """
    if confirm_clock:
        _act("/api/v1/clock/confirm", output)
        return 0
    from accredit.cli.offline import examine  # noqa: PLC0415

    return examine(data, repair=repair, output=output)
