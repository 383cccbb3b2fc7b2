"""Records of calls as the path of a call writes them, as far as the fold of them reads; made, not recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from accredit.audit.model import Entry, Facts, Usage

__all__ = ["DAY_US", "called", "ended", "traffic"]

DAY_US = 86_400_000_000


def _facts(kind: str, agent: str, tool: str, effect: str, scope: str | None, version: str, decision: str) -> Facts:
    return Facts(
        kind, agent=agent, version=version, environment="production", tool=tool, effect=effect, scope=scope,
        decision=decision, action="enforced",
    )  # fmt: skip


def called(
    agent: str,
    tool: str = "crm/read",
    *,
    number: int = 1,
    at_us: int,
    version: str = "sha256:v",
    effect: str = "read",
    scope: str | None = None,
    decision: str = "allow",
    user: str | None = None,
    task: str | None = None,
    granted: bool = False,
    callers: tuple[str, ...] = (),
) -> Entry:
    """That a call was decided."""
    return Entry(
        _facts("decision", agent, tool, effect, scope, version, decision),
        at_us,
        {
            "code": "allowed" if decision == "allow" else "held",
            "decision_id": f"dec_{agent}_{number}",
            "definition": None,
            "grants": ["hld_1"] if granted else [],
            "hops": [[caller, "sha256:v", []] for caller in callers],
            "task": task,
            "unknown_tool": None,
            "user": user,
        },
        usage=Usage(allows=decision == "allow", holds=decision == "hold"),
    )


def ended(
    agent: str,
    tool: str = "crm/read",
    *,
    number: int = 1,
    at_us: int,
    version: str = "sha256:v",
    effect: str = "read",
    scope: str | None = None,
    end: str = "ok",
    sent: bool = True,
    detected: Mapping[str, int] | None = None,
) -> Entry:
    """How it ended, and what was found in its result."""
    return Entry(
        _facts("outcome", agent, tool, effect, scope, version, "allow"),
        at_us,
        {
            "code": None,
            "decision_id": f"dec_{agent}_{number}",
            "detected": dict(detected) if detected else None,
            "end": end,
            "sent": sent,
            "undeclared": [],
        },
        usage=Usage(),
    )


def traffic(
    agent: str,
    count: int,
    *,
    at_us: int,
    tool: str = "crm/read",
    effect: str = "read",
    scope: str | None = None,
    version: str = "sha256:v",
    detected: Mapping[str, int] | None = None,
    user: str | None = None,
    tasks: bool = False,
    task: str | None = None,
    granted: bool = False,
    callers: tuple[str, ...] = (),
) -> Iterator[Entry]:
    """So many calls that were sent and answered; with `tasks` each for a task of its own."""
    for number in range(count):
        about = task if task is not None else f"psd_task_{agent}_{number}" if tasks else None
        yield called(
            agent, tool, number=number, at_us=at_us + number, version=version, effect=effect, scope=scope, user=user,
            task=about, granted=granted, callers=callers,
        )  # fmt: skip
        yield ended(
            agent, tool, number=number, at_us=at_us + number, version=version, effect=effect, scope=scope,
            detected=detected,
        )  # fmt: skip
