"""Policies: checking them, publishing them, which are in force, and what one decision rested on."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Out, Page, act, changing, client, listed, read_text, segment, shown
from accredit.cli.client import ApiFault
from accredit.cli.output import show
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError

__all__ = ["app"]

app = App()
policy = App(name="policy", help="Lint, test, simulate, publish and explain policies.")
app.command(policy)
_PUBLICATION = ("number", "digest", "published", "by", "approved_by", "basis", "in_force")
_LAYERS = ("org/", "team/", "agent/", "ext/")
_FINDING = ("path", "policy", "message", "fix")


class _Mode(StrEnum):
    """What a policy does."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


def _policy_files(directory: Path) -> dict[str, str]:
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
    """Check org/, team/<name>/ and agent/<name>/ policies as publishing would; exit 1 if there is a finding."""
    files = _policy_files(directory)
    with client() as api:
        found = api.post("/api/v1/policy/lint", {"files": files})
    show(found, output, columns=_FINDING)
    return 1 if found["items"] else 0


@policy.command(name="publish")
def _policy_publish(directory: Path, *, output: Out = TABLE) -> int:
    """Publish a directory of policies as the new release; if it is refused, show every finding.

    Once there are two administrators, another one approves it first (exit 3 until then).
    """
    files = {"files": _policy_files(directory)}
    with changing() as api:
        try:
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
def _policy_explain(decision: str, *, output: Out = TABLE) -> None:
    """Show what one decision rested on."""
    listed(f"/api/v1/decisions/{segment(decision)}", output)
