"""The manifest compiler: one grant of one tool becomes one permit, and nothing else in the product permits by itself.

Equal grants are one permit, content-addressed: agents stand `in Grant::"<digest>"`. Each condition is a `when` of its
own, so a refusal can name those that did not hold: the permit taken apart, evaluated by the same engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.hours import DAYS, Hours
from accredit.kernel.ids import tool_name
from accredit.policy.entities import DELEGATE
from accredit.policy.ports import Engine
from accredit.policy.sources import Layer, Policy, read_policies
from accredit.registry.items import item_kind
from accredit.registry.llm_models import LLM_OPERATION
from accredit.registry.model import DelegateGrant, ToolGrant

__all__ = ["Condition", "GrantBook", "GrantPermit", "grant_text", "quoted"]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = {"true", "false", "if", "then", "else", "in", "like", "has", "is", "__cedar"}
_ROOTS = {"input", "task", "user"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a grant: its Cedar text, the words a refusal uses for it, and the code it stands for."""

    text: str
    label: str
    code: Code


def quoted(text: str) -> str:
    """Text as a Cedar string literal; everything outside printable ASCII is escaped, so nothing can hide in it."""
    plain = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(plain.get(c, c if " " <= c <= "~" else f"\\u{{{ord(c):x}}}") for c in text) + '"'


def _steps(path: str) -> tuple[str, ...]:
    steps = tuple(path.split("."))
    if len(steps) < 2 or steps[0] not in _ROOTS or not all(steps):
        raise InvalidInputError(
            Code.MANIFEST_INVALID,
            f"`{path[:80]}` is not a path a grant can compare",
            hint="name a value below `input`, `task` or `user`, such as `input.customer_id`",
        )
    return steps


def _plain(step: str) -> bool:
    return _WORD.fullmatch(step) is not None and step not in _RESERVED


def _value(steps: tuple[str, ...]) -> str:
    return "context" + "".join(f".{step}" if _plain(step) else f"[{quoted(step)}]" for step in steps)


def _present(path: tuple[str, ...]) -> str:
    """The guards that every step of the path exists."""
    return " && ".join(
        f"{_value(path[:i])} has {step if _plain(step) else quoted(step)}" for i, step in enumerate(path)
    )


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _hours(hours: Hours) -> Condition:
    spans = []
    for start, end, days in hours.spans():
        listed = ", ".join(quoted(day) for day in DAYS if day in days)
        spans.append(
            f"context.now.minute >= {start} && context.now.minute < {end} && [{listed}].contains(context.now.day)"
        )
    named = ",".join(day for day in DAYS if day in hours.days)
    return Condition(
        spans[0] if len(spans) == 1 else " || ".join(f"({span})" for span in spans),
        f"hours: {_clock(hours.start)}-{_clock(hours.end)} {named} {hours.zone}",
        Code.OUTSIDE_HOURS,
    )


def _conditions(grant: ToolGrant | DelegateGrant) -> tuple[Condition, ...]:
    found = []
    if grant.user_role is not None:
        found.append(
            Condition(
                f"{_present(('user', 'roles'))} && context.user.roles.contains({quoted(grant.user_role)})",
                f"userRole: {grant.user_role}",
                Code.USER_ROLE_REQUIRED,
            )
        )
    for left, right in grant.same_as:
        one, other = _steps(left), _steps(right)
        found.append(
            Condition(
                f"{_present(one)} && {_present(other)} && {_value(one)} == {_value(other)}",
                f"sameAs: {left} = {right}",
                Code.TASK_MISMATCH,
            )
        )
    if grant.hours is not None:
        found.append(_hours(grant.hours))
    return tuple(found)


def _scope(grant: ToolGrant | DelegateGrant) -> str:
    if isinstance(grant, DelegateGrant):
        return (
            f"principal in Grant::{quoted(grant.digest)},\n  action == Action::{quoted(DELEGATE)},\n"
            f"  resource == Agent::{quoted(grant.callee)}"
        )
    tool = quoted(grant.tool)
    if grant.model:
        return (
            f"principal in Grant::{quoted(grant.digest)},\n  action == Action::{quoted(LLM_OPERATION)},\n"
            f"  resource == Model::{tool}"
        )
    kind = "Tool" if item_kind(tool_name(grant.tool)) is None else "Item"
    return f"principal in Grant::{quoted(grant.digest)},\n  action == Action::{tool},\n  resource == {kind}::{tool}"


def _whats_handed_on(grant: ToolGrant | DelegateGrant) -> str:
    """Of a delegation: for which tool it is. Without a tool it permits to hand work on, and no call."""
    if not isinstance(grant, DelegateGrant):
        return ""
    if grant.tool is None:
        return "\nunless { context has tool }"
    return f"\nwhen {{ context has tool && context.tool == {quoted(grant.tool)} }}"


def grant_text(grant: ToolGrant | DelegateGrant) -> str:
    """The one permit a grant compiles to.

    Raises:
        InvalidInputError: a `sameAs` path is not one that can be compared.
    """
    whens = "".join(f"\nwhen {{ {condition.text} }}" for condition in _conditions(grant))
    return f"permit (\n  {_scope(grant)}\n){_whats_handed_on(grant)}{whens};"


def _apart(grant: ToolGrant | DelegateGrant) -> str:
    """One permit per condition: which of them are reasons says which conditions hold."""
    scope = _scope(grant)
    return "\n".join(f"permit (\n  {scope}\n) when {{ {condition.text} }};" for condition in _conditions(grant))


def _ceiling(hours: Condition, grant: ToolGrant | DelegateGrant) -> str:
    return f"forbid (\n  {_scope(grant)}\n)\nunless {{ {hours.text} }};"


@dataclass(frozen=True, slots=True)
class GrantPermit:
    """A grant, compiled."""

    grant: ToolGrant | DelegateGrant
    policy: Policy
    conditions: tuple[Condition, ...]
    apart: tuple[Policy, ...]
    """The conditions as permits of their own, in order: for saying what was missing, never for deciding."""
    ceiling: Policy | None
    """The grant's hours as a forbid, for releases in which an org permit could otherwise reach beyond them."""


class GrantBook:
    """Compiles each distinct grant once. Content-addressed, so every snapshot may share one book."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._permits: dict[Digest, GrantPermit] = {}

    def warm(self, grants: Iterable[ToolGrant | DelegateGrant]) -> None:
        """Compile grants before the first call needs them, when their manifest is registered."""
        for grant in grants:
            self.permit(grant)

    def permit(self, grant: ToolGrant | DelegateGrant) -> GrantPermit:
        """The compiled form of a grant.

        Raises:
            InvalidInputError: the grant does not compile.
        """
        known = self._permits.get(grant.digest)
        if known is None or known.grant != grant:
            known = self._permits[grant.digest] = self._compile(grant)
        return known

    def keep(self, digests: Iterable[Digest]) -> None:
        """Forget every grant not named: for when manifests were replaced."""
        wanted = set(digests)
        self._permits = {key: permit for key, permit in self._permits.items() if key in wanted}

    def _compile(self, grant: ToolGrant | DelegateGrant) -> GrantPermit:
        path = f"{Layer.GRANT}/{grant.tool}"
        if isinstance(grant, DelegateGrant):
            path = "/".join((Layer.GRANT, DELEGATE, grant.callee, *([grant.tool] if grant.tool is not None else [])))
        conditions = _conditions(grant)

        def compiled(text: str) -> tuple[Policy, ...]:
            return read_policies(self._engine, path, text, Layer.GRANT)

        hours = conditions[-1] if grant.hours is not None else None
        return GrantPermit(
            grant=grant,
            policy=compiled(grant_text(grant))[0],
            conditions=conditions,
            apart=compiled(_apart(grant)) if conditions else (),
            ceiling=compiled(_ceiling(hours, grant))[0] if hours is not None else None,
        )
