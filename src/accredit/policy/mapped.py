"""The questions that a tool's mapping (`registry/mappings.py`) asks of one call, as policies under `ext/` see them.

INVARIANT: the subject is the one whom the call is for and `context.agent` the agent that makes it, both as verified;
everything else is the word of whoever runs the tool server, and counts only for what the release does not name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from accredit.policy.model import CallRequest, ExternalName, ExternalRequest
from accredit.policy.snapshot import Inadmissible, PolicySnapshot
from accredit.registry.mappings import DeclaredMapping, MappingError
from accredit.registry.model import Tool

__all__ = ["questions_asked", "questions_of"]

_SUBJECT: Final = "identity"
_MAX_TYPE: Final = 128
_MAX_ID: Final = 1_024
_MAX_PROPERTIES: Final = 16 * 1024


def questions_of(mapping: DeclaredMapping | str, request: CallRequest, tool: Tool) -> tuple[ExternalRequest, ...]:
    """Every question that must be answered with yes.

    Raises:
        MappingError: the mapping comes to none for this call, or is malformed, as its text says.
    """
    if isinstance(mapping, str):
        raise MappingError(mapping)
    context, agent = request.context, request.agent.id
    user = context.get("user")
    subject_id = agent if user is None else user.get("id")
    if subject_id is None:  # enforcement never says so; a test case may
        raise MappingError("the user has no id")
    token: dict[str, Any] = {
        "sub": subject_id,
        "client_id": agent,
        "roles": list(user.get("roles", ())) if user is not None else [],
        **{name: dict(context[name]) for name in ("user", "task") if name in context},
    }
    params = {"name": tool.name, "arguments": dict(context.get("input", {}))}
    subject, asked = mapping.resolved({"params": params, "token": token})
    if subject.setdefault("id", token["sub"]) != token["sub"]:
        raise MappingError("`subject.id` is not whom the token is for")
    subject.setdefault("type", _SUBJECT)
    who = _named(subject, "subject")
    return tuple(
        ExternalRequest(
            who,
            _text(one["action"].get("name"), "action.name", _MAX_ID),
            _named(one["resource"], "resource"),
            _properties(one["action"].get("properties", {}), "action.properties"),
            {**_properties(one.get("context", {}), "context"), "agent": agent},
            caller=f"mcp/{tool.server}",
            time_us=request.time_us,
            time_trusted=request.time_trusted,
        )
        for one in asked
    )


def questions_asked(request: CallRequest | ExternalRequest, snapshot: PolicySnapshot) -> tuple[ExternalRequest, ...]:
    """What is asked about types of other applications: by itself, or by the mapping of the tool that is called."""
    if isinstance(request, ExternalRequest):
        return (request,)
    part = snapshot.slice_for(request.agent, request.tool)
    if isinstance(part, Inadmissible) or part.mapping is None:
        return ()
    try:
        return questions_of(part.mapping, request, part.tool)
    except MappingError:  # the decision says so
        return ()


def _named(member: Mapping[str, Any], name: str) -> ExternalName:
    return ExternalName(
        _text(member.get("type"), f"{name}.type", _MAX_TYPE),
        _text(member.get("id"), f"{name}.id", _MAX_ID),
        _properties(member.get("properties", {}), f"{name}.properties"),
    )


def _text(value: Any, name: str, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise MappingError(f"`{name}` comes to no text of 1 to {longest} characters")
    return value


def _properties(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MappingError(f"`{name}` comes to no object")
    if len(orjson.dumps(value)) > _MAX_PROPERTIES:
        raise MappingError(f"`{name}` comes to more than {_MAX_PROPERTIES} bytes")
    return value
