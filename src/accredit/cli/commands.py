"""The verbs of DESIGN §8 that this release has."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from cyclopts import App, Parameter

from accredit import __version__
from accredit.cli.client import ApiClient
from accredit.cli.output import Format, show
from accredit.cli.profile import Profile, load_profile, save_profile
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

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
    with _client() as api:
        show(api.post(path, body), output)
    _keep_checkpoint()


def _keep_checkpoint() -> None:
    """Whoever changes something keeps the newest checkpoint: a log cut off later is found against it."""
    profile = load_profile(os.environ)
    with ApiClient(profile) as api:
        newest = api.text("/log/checkpoint")
    if newest and "ACCREDIT_TOKEN" not in os.environ:
        save_profile(os.environ, Profile(profile.url, profile.token, newest))


# -- running it


@app.command
def up(
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

    return run_up(data or Path("accredit-data"), port)


@app.command
def demo() -> int:
    """Live through a sample fleet against a real MCP server, step by step; exit 0 only if every step held."""
    from accredit.demo.story import run_demo  # noqa: PLC0415 - the demo needs an extra

    return run_demo()


@app.command
def login(link: str, *, name: str = "cli") -> None:
    """Exchange a sign-in link, once, for an API token of your own, kept in your profile.

    Args:
        link: The link as printed, with the part after `#`.
        name: What to call the token.
    """
    parts = urlsplit(link)
    if not (parts.scheme and parts.netloc and parts.fragment):
        raise InvalidInputError(Code.LINK_INVALID, "that is not a sign-in link", hint="quote it: the shell cuts at `#`")
    base = Profile(url=f"{parts.scheme}://{parts.netloc}")
    with ApiClient(base) as api:
        answer = api.post("/api/v1/login", {"link": parts.fragment, "name": name})
    path = save_profile(os.environ, Profile(base.url, answer["token"]))
    print(f"signed in as {answer['person']} until {answer['expires']}; the token is kept in {path.name} (0600)")


@app.command
def whoami(*, output: Out = TABLE) -> None:
    """Show who your token says you are."""
    _list("/api/v1/whoami", output)


@app.command
def apply(*, file: Annotated[list[Path], Parameter(name=["-f", "--file"])], output: Out = TABLE) -> None:
    """Register or update what YAML or JSON files declare: Person, Team, Issuer, ToolServer, Agent.

    Args:
        file: A file, or a directory of *.yaml, *.yml and *.json.
    """
    texts = []
    for path in file:
        found = sorted(each for each in path.rglob("*") if each.suffix in {".yaml", ".yml", ".json"})
        texts += [{"name": each.name, "text": _read(each)} for each in (found if path.is_dir() else [path])]
    with _client() as api:
        show(api.post("/api/v1/apply", {"files": texts}), output, columns=("kind", "name", "result", "id"))
    _keep_checkpoint()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(Code.MANIFEST_INVALID, f"`{path.name}` cannot be read: {error}") from error


# -- things and people


@agent.command(name="list")
def agent_list(*, output: Out = TABLE) -> None:
    """List agents."""
    _list("/api/v1/agents", output, "name", "environment", "team", "state", "version", "id")


@agent.command(name="get")
def agent_get(name: str, *, output: Out = TABLE) -> None:
    """Show one agent by name, environment/name or id."""
    _list(f"/api/v1/agents/{_segment(name)}", output)


@agent.command(name="enrol")
def agent_enrol(name: str, *, thumbprint: str | None = None, output: Out = TABLE) -> None:
    """Issue a single-use join token with which one instance enrols its own key.

    Args:
        name: The agent.
        thumbprint: Accept only the key with this RFC 7638 thumbprint.
    """
    _act(f"/api/v1/agents/{_segment(name)}/join-tokens", output, {"thumbprint": thumbprint})


@agent.command(name="revoke")
def agent_revoke(name: str, *, reason: str, output: Out = TABLE) -> None:
    """End every credential of an agent now; its calls in flight are cancelled."""
    _act(f"/api/v1/agents/{_segment(name)}/revoke", output, {"reason": reason})


@agent.command(name="usage")
def agent_usage(name: str, *, days: int = 30, output: Out = TABLE) -> None:
    """Show what the agent used, by tool and day."""
    _list(
        f"/api/v1/agents/{_segment(name)}/usage", output,
        "day", "tool", "allows", "denies", "holds", "errors", "cost", days=days,
    )  # fmt: skip


@agent.command(name="logs")
def agent_logs(name: str, *, limit: int = 50, output: Out = TABLE) -> None:
    """Show the agent's newest records."""
    _list(
        "/api/v1/audit/records", output, "seq", "time", "kind", "tool", "decision", "code", agent=name, limit=limit
    )  # fmt: skip


@team.command(name="list")
def team_list(*, output: Out = TABLE) -> None:
    """List teams."""
    _list("/api/v1/teams", output)


@person.command(name="list")
def person_list(*, output: Out = TABLE) -> None:
    """List people."""
    _list("/api/v1/persons", output)


@issuer.command(name="list")
def issuer_list(*, output: Out = TABLE) -> None:
    """List issuers."""
    _list("/api/v1/issuers", output)


@issuer.command(name="revoke")
def issuer_revoke(name: str, *, reason: str, output: Out = TABLE) -> None:
    """Stop trusting an issuer now: every token it vouched for dies."""
    _act(f"/api/v1/issuers/{_segment(name)}/revoke", output, {"reason": reason})


@server.command(name="list")
def server_list(*, output: Out = TABLE) -> None:
    """List tool servers."""
    _list("/api/v1/servers", output, "name", "environment", "url", "credential", "tools")


@server.command(name="get")
def server_get(name: str, *, output: Out = TABLE) -> None:
    """Show a server's tools and whether they are as pinned."""
    _list(f"/api/v1/servers/{_segment(name)}", output, "name", "effect", "data", "price", "pinned", "status")


@server.command(name="repin")
def server_repin(name: str, *, tool: str | None = None, output: Out = TABLE) -> None:
    """Accept a server's present tool definitions as the pinned ones. Recorded with the old and new digest."""
    _act(f"/api/v1/servers/{_segment(name)}/repin", output, {"tool": tool})


@credential.command(name="list")
def credential_list(*, agent: str | None = None, output: Out = TABLE) -> None:
    """List agents' credentials."""
    _list("/api/v1/credentials", output, agent=agent)


@credential.command(name="revoke")
def credential_revoke(id_: Annotated[str, Parameter(name="ID")], *, reason: str, output: Out = TABLE) -> None:
    """End one credential now."""
    _act(f"/api/v1/credentials/{_segment(id_)}/revoke", output, {"reason": reason})


@credential.command(name="set")
def credential_set(
    name: str, *, origin: str, header: str = "Authorization", prefix: str = "Bearer ", output: Out = TABLE
) -> None:
    """Give the broker an upstream credential; the value is read from standard input, never from an argument.

    Args:
        name: What tool servers call it.
        origin: The only origin it may travel to, for example https://crm.example.com.
        header: Header to set.
        prefix: Text before the value.
    """
    value = sys.stdin.readline().rstrip("\n")
    with _client() as api:
        body = {"origin": origin, "header": header, "value": f"{prefix}{value}"}
        show(api.put(f"/api/v1/upstream-credentials/{_segment(name)}", body), output)


# -- holds


@hold.command(name="list")
def hold_list(*, output: Out = TABLE) -> None:
    """List calls that wait for a person."""
    _list("/api/v1/holds", output, "id", "agent", "tool", "roles", "expires", "state")


@hold.command(name="get")
def hold_get(id_: Annotated[str, Parameter(name="ID")], *, output: Out = TABLE) -> None:
    """Show exactly what would be approved, arguments in full."""
    _list(f"/api/v1/holds/{_segment(id_)}", output)


@hold.command(name="approve")
def hold_approve(id_: Annotated[str, Parameter(name="ID")], *, reason: str = "", output: Out = TABLE) -> None:
    """Approve exactly this call, once."""
    _answer_hold(id_, "approve", reason, output)


@hold.command(name="deny")
def hold_deny(id_: Annotated[str, Parameter(name="ID")], *, reason: str = "", output: Out = TABLE) -> None:
    """Refuse this call."""
    _answer_hold(id_, "deny", reason, output)


def _answer_hold(id_: str, answer: str, reason: str, output: Format) -> None:
    with _client() as api:
        shown = api.get(f"/api/v1/holds/{_segment(id_)}")
        if output is TABLE:
            show(shown["view"], output)
        body = {"answer": answer, "reason": reason, "view_digest": shown["view_digest"]}
        show(api.post(f"/api/v1/holds/{_segment(id_)}/answer", body), output)
    _keep_checkpoint()


# -- policy


def _policy_files(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        raise InvalidInputError(Code.POLICY_INVALID, f"`{directory.name}` is not a directory of policies")
    return {path.relative_to(directory).as_posix(): _read(path) for path in sorted(directory.rglob("*.cedar"))}


@policy.command(name="lint")
def policy_lint(directory: Path, *, output: Out = TABLE) -> None:
    """Check org/, team/<name>/ and agent/<name>/ policies as publishing would."""
    with _client() as api:
        show(api.post("/api/v1/policy/lint", {"files": _policy_files(directory)}), output)


@policy.command(name="publish")
def policy_publish(directory: Path, *, output: Out = TABLE) -> None:
    """Publish a directory of policies as the new release."""
    _act("/api/v1/policy/publish", output, {"files": _policy_files(directory)})


@policy.command(name="show")
def policy_show(*, output: Out = TABLE) -> None:
    """Show the release in force and its policies."""
    _list("/api/v1/policy/release", output)


@policy.command(name="explain")
def policy_explain(decision: str, *, output: Out = TABLE) -> None:
    """Show what one decision rested on."""
    _list(f"/api/v1/decisions/{_segment(decision)}", output)


# -- the log


@audit.command(name="tail")
def audit_tail(*, limit: int = 20, kind: str | None = None, agent: str | None = None, output: Out = TABLE) -> None:
    """Show the newest records."""
    _list(
        "/api/v1/audit/records", output,
        "seq", "time", "kind", "agent", "tool", "decision", "code", limit=limit, kind=kind, agent=agent,
    )  # fmt: skip


@audit.command(name="prove")
def audit_prove(seq: int, *, to: Path | None = None) -> None:
    """Write a self-contained proof (.tlog-proof) that a record stands in the log."""
    with _client() as api:
        proof = api.get(f"/api/v1/audit/prove/{seq}")["proof"]
    if to is None:
        print(proof, end="")
    else:
        to.write_text(proof)


@audit.command(name="export")
def audit_export(directory: Path, *, data: Path = Path("accredit-data")) -> int:
    """Write the whole log for an auditor, who verifies it offline with `audit verify`.

    Args:
        directory: Where to write; must not exist.
        data: The data directory to read; a running server is not disturbed.
    """
    from accredit.cli.offline import export_log  # noqa: PLC0415

    return export_log(data, directory)


@audit.command(name="verify")
def audit_verify(
    source: Path = Path("accredit-data"),
    *,
    checkpoint: Path | None = None,
    vkey: str | None = None,
    open_parts: Annotated[bool, Parameter(name="--open")] = False,
    output: Out = TABLE,
) -> int:
    """Verify the log offline: every byte of every record, the tree, every checkpoint.

    Args:
        source: A data directory, or an export.
        checkpoint: A checkpoint kept elsewhere: finds a log that was cut off or replaced.
        vkey: The log's public key, if you hold it; otherwise the one stored beside the log is used, and said so.
        open_parts: Open sealed parts with the data directory's keys and check what they commit to.
    """
    from accredit.cli.offline import verify_log  # noqa: PLC0415

    return verify_log(source, checkpoint=checkpoint, vkey=vkey, open_parts=open_parts, output=output)


@limits.command(name="show")
def limits_show(agent: str, *, output: Out = TABLE) -> None:
    """Show how much of its limits an agent has used."""
    _list(f"/api/v1/agents/{_segment(agent)}/limits", output)


@token.command(name="list")
def token_list(*, output: Out = TABLE) -> None:
    """List your API tokens."""
    _list("/api/v1/tokens", output)


@token.command(name="revoke")
def token_revoke(id_: Annotated[str, Parameter(name="ID")], *, output: Out = TABLE) -> None:
    """End one of your API tokens."""
    with _client() as api:
        show(api.delete(f"/api/v1/tokens/{_segment(id_)}"), output)


@app.command
def doctor(
    *, data: Path = Path("accredit-data"), repair: bool = False, confirm_clock: bool = False, output: Out = TABLE
) -> int:
    """Rebuild the state from the log into a scratch copy and compare; changes nothing without --repair.

    Args:
        data: The data directory.
        repair: Write the rebuilt rows; needs the data directory's lock, so the server must be down.
        confirm_clock: Tell a running server that its wall clock is right after a step.
    """
    if confirm_clock:
        _act("/api/v1/clock/confirm", output)
        return 0
    from accredit.cli.offline import examine  # noqa: PLC0415

    return examine(data, repair=repair, output=output)
