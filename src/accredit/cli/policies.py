"""Policies: checking them, publishing them, which are in force, and what one decision rested on."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cyclopts import App

from accredit.cli.asking import (
    FIRST,
    TABLE,
    Out,
    Page,
    act,
    called,
    changing,
    client,
    days_of,
    listed,
    read_text,
    segment,
    shown,
    write_text,
)
from accredit.cli.client import ApiClient, ApiFault
from accredit.cli.output import plain, show
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from accredit.policy.report import html_report, markdown_report, text_report

__all__ = ["app", "people_of", "policy_files", "simulated", "wait_for"]

app = App()
policy = App(name="policy", help="Lint, test, simulate, publish and explain policies.")
app.command(policy)
_PUBLICATION = ("number", "digest", "published", "by", "approved_by", "basis", "in_force")
_CHANGES: Final = 3
_WOULD_BREAK: Final = 8
_LAYERS = ("org/", "team/", "agent/", "ext/")
_RULE = ("agent", "tool", "handed_on_to", "handed_on_by", "before", "after", "added", "removed", "observed")
_FINDING = ("severity", "rule", "path", "policy", "message", "fix")


class _Mode(StrEnum):
    """What a policy does."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


def policy_files(directory: Path) -> dict[str, str]:
    """What of a directory a release is made of."""
    if not directory.is_dir():
        raise NotFoundError(Code.NOT_FOUND, f"`{directory}` is not a directory of policies")
    named = {path.relative_to(directory).as_posix(): path for path in sorted(directory.rglob("*")) if path.is_file()}
    found = {name: read_text(path) for name, path in named.items() if _belongs(name)}
    if not any(name.startswith(_LAYERS) for name in found):  # else a slip in a path would publish an empty release
        raise NotFoundError(
            Code.NOT_FOUND, f"`{directory}` holds no policies", hint="they stand in org/, team/, agent/"
        )
    return found


def _belongs(name: str) -> bool:
    """What a release is made of: whatever else a repository holds stays there, notes beside the policies too."""
    return name == "accredit.toml" or (name.startswith((*_LAYERS, "tests/")) and not name.endswith(".md"))


@policy.command(name="lint")
def _policy_lint(directory: Path, *, output: Out = TABLE) -> int:
    """Check org/, team/<name>/ and agent/<name>/ policies as publishing would; exit 1 if something is refused."""
    files = policy_files(directory)
    with client() as api:
        found = api.post("/api/v1/policy/lint", {"files": files})
    show(found, output, columns=_FINDING)
    return 1 if any(one["severity"] == "refused" for one in found["items"]) else 0


@policy.command(name="init")
def _policy_init(directory: Path) -> None:
    """Write the starter policies with their tests into a new directory, to be read and adapted."""
    from accredit.policy.starter import starter_files  # noqa: PLC0415 - most commands never need it

    if directory.exists() and any(directory.iterdir()):
        raise ConflictError(Code.CONFLICT, f"`{directory}` is not empty", hint="name a new directory")
    for name, text in starter_files().items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
        print(plain(str(target)))


@policy.command(name="test")
def _policy_test(
    directory: Path,
    *,
    mutation: bool = False,
    offline: bool = False,
    junit: Path | None = None,
    output: Out = TABLE,
) -> int:
    """Run the cases of tests/*.yaml; exit 1 if one fails, or with --mutation if a policy's loss goes unnoticed.

    Args:
        mutation: Also drop each policy in turn: some case must fail.
        offline: Without a server: cases may then name only what their own file declares.
        junit: Write the run as JUnit XML there.
    """
    files = policy_files(directory)
    if offline:
        from accredit.offline import tried_offline  # noqa: PLC0415 - starts nothing else

        found = tried_offline(files, mutation=mutation)
    else:
        with client() as api:
            found = api.post("/api/v1/policy/test", {"files": files, "mutation": mutation})
    if junit is not None:
        write_text(junit, found["junit"])
    if output is not TABLE:
        show({key: value for key, value in found.items() if key != "junit"}, output)
        return 0 if found["passed"] else 1
    wrong = [one for one in found["cases"] if not one["passed"]]
    if wrong:
        show({"items": wrong}, output, columns=("path", "name", "why"))
    idle = [one["policy"] for one in found["coverage"] if not one["determined"]]
    print(
        f"{len(found['cases']) - len(wrong)} of {len(found['cases'])} cases pass; {found['determined']} of"
        f" {found['policies']} policies determined an outcome, {found['branch_share']:.0%} of branches taken"
    )
    for each in idle:
        print(f"no case is determined by {plain(each)}", file=sys.stderr)
    for each in found["survivors"] or ():
        print(f"no case fails without {plain(each)}", file=sys.stderr)
    if not found["cases"]:
        print("hint: write cases in tests/*.yaml; `accredit policy init` shows how", file=sys.stderr)
    return 0 if found["passed"] else 1


@policy.command(name="simulate")
def _policy_simulate(
    *,
    candidate: Path,
    since: str = "30d",
    agents: tuple[str, ...] = (),
    html: Path | None = None,
    markdown: Path | None = None,
    output: Out = TABLE,
) -> int:
    """Show what a candidate directory would change for the fleet and its recorded calls; exit 8 if any would break.

    Args:
        candidate: The directory of policies.
        since: How far back recorded calls are replayed, in days.
        agents: Only these agents.
        html: Also write the report there as one HTML file.
        markdown: Also write it there as Markdown.
    """
    with client() as api:
        found = simulated(api, policy_files(candidate), since, agents)
        report = found["report"]
        people = people_of(api, report) if output is TABLE or html or markdown else {}
    for target, render in ((html, html_report), (markdown, markdown_report)):
        if target is not None:
            write_text(target, render(report, people))
    if output is TABLE:
        print(text_report(report, people), end="")
    else:
        show(report, output)
    return _WOULD_BREAK if report["breaks"] else 0


@policy.command(name="replay")
def _policy_replay(*, since: str = "30d", output: Out = TABLE) -> int:
    """Judge the recorded calls again by what was in force then; exit 1 unless every decision comes out exactly so."""
    with client() as api:
        begun = api.post("/api/v1/policy/replay", {"days": days_of(since)})
        proof = wait_for(api, begun)["proof"]
    counts = {key: value for key, value in proof.items() if key != "differences"}
    show({**counts, "differences": proof["differences"]}, output)
    return 0 if proof["exact"] else 1


def simulated(api: ApiClient, files: dict[str, str], since: str, agents: tuple[str, ...]) -> dict[str, Any]:
    """A simulation of these policies, over."""
    form: dict[str, Any] = {"files": files, "days": days_of(since)}
    return wait_for(api, api.post("/api/v1/policy/simulate", form | ({"agents": list(agents)} if agents else {})))


def wait_for(api: ApiClient, begun: dict[str, Any]) -> dict[str, Any]:
    """The simulation when it is over; on a terminal with how far it is."""
    from rich.console import Console  # noqa: PLC0415 - only this command shows progress
    from rich.progress import Progress  # noqa: PLC0415

    now: dict[str, Any] = api.get(f"/api/v1/policy/simulations/{segment(begun['id'])}")
    wait_s = 0.05
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("recorded calls", total=None)
        while now["state"] == "running":
            time.sleep(wait_s)
            wait_s = min(wait_s * 1.5, 1.0)
            now = api.get(f"/api/v1/policy/simulations/{segment(begun['id'])}")
            bar.update(task, total=now["records"] or None, completed=now["looked_at"])
    if now["state"] == "failed":
        raise ApiFault("internal", f"the simulation failed: {now['fault']}", "see the server's log", 1, {})
    return now


def people_of(api: ApiClient, report: dict[str, Any]) -> dict[str, str]:
    """How the owners in a report are called, as far as this person may know."""
    named = {one[key]: one[key] for one in report["agents"] for key in ("owner", "backup_owner") if one[key]}
    shown: dict[str, str] = called(api, {f"p{at}": name for at, name in enumerate(named)})
    return dict(zip(named, shown.values(), strict=True))


@policy.command(name="diff")
def _policy_diff(
    directory: Path | None = None, *, base: str | None = None, candidate: str | None = None, output: Out = TABLE
) -> int:
    """Show how a directory, or an earlier release, differs from the release in force; exit 3 if it does.

    Also whose rules change: of which tools, and of what agents hand on to one another.

    Args:
        directory: The directory of policies.
        base: Compare with this release instead, by number or digest.
        candidate: Compare this release, by number or digest, instead of a directory.
    """
    form: dict[str, Any] = {"base": base, "candidate": candidate}
    if directory is not None:
        form["files"] = policy_files(directory)
    with client() as api:
        found = api.post("/api/v1/policy/diff", form)
    if output is TABLE:
        show({key: value for key, value in found.items() if key not in {"files", "rules"}}, output)
        if found["rules"]:
            show({"items": found["rules"]}, output, columns=_RULE)
        for each in found["files"]:
            for line in each["text"].split("\n"):
                print(plain(line, limit=2000))
    else:
        show(found, output)
    return _CHANGES if found["files"] else 0


@policy.command(name="publish")
def _policy_publish(directory: Path, *, output: Out = TABLE) -> int:
    """Publish a directory of policies as the new release; if it is refused, show every finding.

    Its tests are run and recorded calls are replayed before. Once there are two administrators, another one approves it
    (exit 3 until then).
    """
    files = {"files": policy_files(directory)}
    with changing() as api:
        try:
            try:
                return shown(api, api.post("/api/v1/policy/publish", files), output)
            except ApiFault as fault:
                if fault.code != str(Code.REHEARSAL_REQUIRED):
                    raise
            simulated(api, files["files"], "30d", ())
            return shown(api, api.post("/api/v1/policy/publish", files), output)
        except ApiFault as fault:
            if fault.code != str(Code.POLICY_INVALID):
                raise
            show(api.post("/api/v1/policy/lint", files), output, columns=_FINDING)
            raise replace(fault, problem={}) from fault


@policy.command(name="history")
def _policy_history(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List every time a release was put in force, newest first, with who asked for it and who approved it."""
    listed("/api/v1/policy/releases", output, *_PUBLICATION, page=page)


@policy.command(name="show")
def _policy_show(release: str | None = None, *, output: Out = TABLE) -> None:
    """Show the release in force, or everything kept of one by its number or digest: texts, rehearsal, signature."""
    listed("/api/v1/policy/release" if release is None else f"/api/v1/policy/releases/{segment(release)}", output)


@policy.command(name="rollback")
def _policy_rollback(release: str, *, output: Out = TABLE) -> int:
    """Publish an earlier release again, by its number or digest; it is tested, simulated and approved as any other."""
    return act("/api/v1/policy/rollback", output, {"release": release})


@policy.command(name="mode")
def _policy_mode(policy: str, mode: _Mode, *, until: str | None = None, output: Out = TABLE) -> int:
    """Have one policy, or all of a file, only observed until a moment, or enforced; that is a release of its own.

    Args:
        policy: A policy's id, or the path of its file.
        until: With `observe`: a date or time with its offset, at most 90 days ahead; then it is enforced.
    """
    if (mode is _Mode.OBSERVE) is (until is None):
        raise InvalidInputError(
            Code.SETTING_INVALID, "observing ends some day, and enforcing does not", hint="`observe` needs --until"
        )
    return act("/api/v1/policy/mode", output, {"policy": policy, "until": until})


@policy.command(name="explain")
def _policy_explain(decision: str, *, record: bool = False, output: Out = TABLE) -> None:
    """Say why a decision came out as it did: the policies, the facts they read, and what would have changed it.

    Args:
        record: Show the records of the decision and its outcome instead, their sealed parts opened.
    """
    listed(f"/api/v1/decisions/{segment(decision)}{'' if record else '/explanation'}", output)
