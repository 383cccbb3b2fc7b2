"""Policies: checking them, publishing them, which are in force, and what one decision rested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cyclopts import App

from accredit.cli.asking import TABLE, Out, changing, client, listed, read_text, segment, shown
from accredit.cli.client import ApiFault
from accredit.cli.output import show
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError

__all__ = ["app"]

app = App()
policy = App(name="policy", help="Lint, publish and explain policies.")
app.command(policy)
_FINDING = ("path", "policy", "message", "fix")


def _policy_files(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        raise NotFoundError(Code.NOT_FOUND, f"`{directory}` is not a directory of policies")
    found = {path.relative_to(directory).as_posix(): read_text(path) for path in sorted(directory.rglob("*.cedar"))}
    if not found:  # else a slip in a path would publish a release that forbids nothing
        raise NotFoundError(Code.NOT_FOUND, f"`{directory}` holds no *.cedar")
    return found


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


@policy.command(name="show")
def _policy_show(*, output: Out = TABLE) -> None:
    """Show the release in force, its policies and the releases before it."""
    listed("/api/v1/policy/release", output)


@policy.command(name="explain")
def _policy_explain(decision: str, *, output: Out = TABLE) -> None:
    """Show what one decision rested on."""
    listed(f"/api/v1/decisions/{segment(decision)}", output)
