"""What a hold is about: the digest that binds a grant to one request, and the text an approver is shown.

Arguments are any JSON, floats and non-ASCII keys included, so the kernel's canonical form does not fit. The encoding
here is orjson with sorted keys: one text for one value (1 and 1.0 are two values, floats are spelled by their shortest
round trip). A value that does not read back as itself has no encoding: NaN, which orjson would write as null, integers
beyond 64 bits, dates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from accredit.approvals.model import HeldCall
from accredit.kernel.canonical import Digest, digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.legible import visible
from accredit.policy.model import HoldNeed
from accredit.registry.model import Agent

__all__ = ["exact_json", "plain", "request_digest", "view_digest", "view_text"]


def exact_json(value: Any, *, indent: bool = False) -> bytes:
    """The one JSON text of a value.

    Raises:
        InvalidInputError: it has none.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | (orjson.OPT_INDENT_2 if indent else 0))
        if orjson.loads(text) == value:
            return text
    except (orjson.JSONEncodeError, orjson.JSONDecodeError, RecursionError) as error:
        raise InvalidInputError(Code.UNENCODABLE_INPUT, "a value has no JSON form", cause=repr(error)) from error
    raise InvalidInputError(Code.UNENCODABLE_INPUT, "a value does not read back from JSON as itself")


def request_digest(call: HeldCall) -> Digest:
    """Digest over agent, version, user, task, action, definition, resource, arguments and answers: what a grant is for.

    Of work that was handed on, also over every agent that did and its version: approved for one chain is not approved
    for another.

    Raises:
        InvalidInputError: the arguments have no JSON form.
    """
    user, task = call.principal.user, call.principal.task
    return digest(
        "hold-request",
        exact_json(
            [
                call.agent.id,
                call.agent.version.digest,
                [user.issuer, user.subject] if user else None,
                [task.issuer, task.id] if task else None,
                call.tool.id,
                call.tool.definition_digest,
                call.resource,
                dict(call.arguments),
                *([dict(call.answers)] if call.answers else ()),
                *([[[one.id, one.version.digest] for one in call.chain]] if call.chain else []),
            ]
        ),
    )


def view_text(call: HeldCall, needs: Iterable[HoldNeed], *, nonce: str) -> str:
    """What an approver is shown, whole: the raw values as JSON, in which nothing imitates the screen around it.

    Escapes are JSON's own, so the text still says exactly what will be sent. The nonce keeps the text's digest, which
    the log carries in clear, from being guessed.

    Raises:
        InvalidInputError: the arguments have no JSON form.
    """
    user, task = call.principal.user, call.principal.task
    view: dict[str, Any] = {
        "agent": _agent(call.agent),
        "arguments": dict(call.arguments),
        "needs": [{"policy": need.policy, "role": need.role} for need in needs],
        **({"handed_on_by": [_agent(one) for one in call.chain]} if call.chain else {}),
        "nonce": nonce,
        "task": {"claims": plain(task.claims), "id": task.id, "issuer": task.issuer} if task else None,
        "tool": {
            "data": sorted(call.tool.data),
            "definition": call.tool.definition_digest,
            "effect": call.tool.effect.value,
            "id": call.tool.id,
            "resource": call.resource,
        },
        "user": {"issuer": user.issuer, "roles": sorted(user.roles), "subject": user.subject} if user else None,
    }
    if call.answers:
        view["answers"] = dict(call.answers)
    return visible(exact_json(view, indent=True).decode())


def _agent(agent: Agent) -> dict[str, Any]:
    return {
        "environment": agent.environment.value,
        "id": agent.id,
        "name": agent.name,
        "team": agent.team.name,
        "version": agent.version.digest,
    }


def plain(value: Any) -> Any:
    """The value with its read-only mappings and tuples as JSON has them."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def view_digest(text: str) -> Digest:
    """The digest of a view as shown."""
    return digest("hold-view", text.encode())
