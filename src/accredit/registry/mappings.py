"""Mappings that tools declare: which questions a call has to be asked before it is let through (COAZ-MCP draft 1).

A tool's input schema may carry `x-authzen-mapping`: a template of an AuthZEN request whose texts are values, or begin
with `$` and are expressions over the call and the token (COAZ framework §2.5: `$$` stands for a `$`). Whoever runs the
tool server writes it; whoever pins the tool's definition accepts it. What is wrong with it is found when it is pinned.

Where a mapping names the subject it must be the one whom the token is for, whatever it says: another is an error when a
call is made (stricter than COAZ-MCP, Declared Mappings, which leaves it open). Subjects of single evaluations, members
that AuthZEN does not know, and claims that are not among `TOKEN_CLAIMS` are refused at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from accredit.kernel.cel import ABSENT, CelError, CelExpression, compile_cel
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["MAPPING_KEY", "TOKEN_CLAIMS", "DeclaredMapping", "MappingError", "declared_mapping"]

MAPPING_KEY: Final = "x-authzen-mapping"
TOKEN_CLAIMS: Final = frozenset({"client_id", "roles", "sub", "task", "user"})
"""What `token` has: `sub`, the user, or the agent where it acts for nobody; `client_id`, the agent; the user's `roles`;
`user` and `task`, with the claims that registered issuers signed, where there are such."""
_VARIABLES: Final = frozenset({"params", "token"})
_MOST_BYTES: Final = 16 * 1024
_MOST_EVALUATIONS: Final = 16
_MOST_EXPRESSIONS: Final = 64
_MOST_LEVELS: Final = 16
_ELSEWHERE: Final = frozenset({"$ref", "allOf", "anyOf", "dependentSchemas", "else", "if", "oneOf", "then"})
_NAMED: Final = frozenset({"id", "properties", "type"})
_MEMBERS: Final = frozenset({"action", "context", "resource", "subject"})

_Template = Any
"""JSON whose leaves are values or expressions."""


class MappingError(ValueError):
    """A mapping that comes to no request for this call. Its text names no value."""


@dataclass(frozen=True, slots=True)
class DeclaredMapping:
    """A mapping that was read: for each question what its members are made from."""

    subject: _Template
    questions: tuple[Mapping[str, _Template], ...]
    """Action, resource and context of each, defaults filled in."""

    def resolved(self, variables: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
        """The subject, and the other members of each question, over one call.

        Raises:
            MappingError: an expression cannot be evaluated, or a member that is needed is absent.
        """
        subject = _object(self.subject, variables, "subject")
        return subject, [
            {name: _object(template, variables, name) for name, template in question.items()}
            for question in self.questions
        ]

    def literals(self) -> Iterator[tuple[str, str, str]]:
        """(Type of subject, operation, type of resource) of each question as far as no call changes them."""
        for question in self.questions:
            found = self.subject.get("type", "identity"), question["action"]["name"], question["resource"]["type"]
            yield tuple(each if isinstance(each, str) else "" for each in found)  # type: ignore[misc]  # of three


def declared_mapping(definition: Mapping[str, Any]) -> DeclaredMapping | None:
    """The mapping that a pinned definition declares, None if it declares none.

    Raises:
        InvalidInputError: `mapping_invalid`: it is malformed, and what is wrong with it.
    """
    schema = definition.get("inputSchema")
    if not isinstance(schema, Mapping) or MAPPING_KEY not in schema:
        return None
    try:
        return _read(schema[MAPPING_KEY], schema)
    except (MappingError, CelError, TypeError) as error:  # the last: a number that no JSON of ours holds
        raise InvalidInputError(
            Code.MAPPING_INVALID,
            f"`{MAPPING_KEY}`: {str(error)[:300]}",
            hint="ask whoever runs the tool server to correct it; see docs/authzen.md, Mappings of tools",
        ) from error


# -- reading


def _read(value: Any, schema: Mapping[str, Any]) -> DeclaredMapping:
    if not isinstance(value, Mapping) or len(value) != 1 or not value.keys() <= {"evaluation", "evaluations"}:
        raise MappingError("it has not exactly one member, `evaluation` or `evaluations`")
    ((envelope, body),) = value.items()
    if not isinstance(body, Mapping):
        raise MappingError(f"`{envelope}` is no object")
    if len(orjson.dumps(value)) > _MOST_BYTES:
        raise MappingError(f"it is longer than {_MOST_BYTES} bytes")
    entries: Any = [{}]
    if envelope == "evaluations":
        entries = body.get("evaluations")
        if not isinstance(entries, list) or not 0 < len(entries) <= _MOST_EVALUATIONS:
            raise MappingError(f"`evaluations` is no list of 1 to {_MOST_EVALUATIONS} evaluations")
        body = {name: member for name, member in body.items() if name != "evaluations"}
    compiling = _Compiling(schema)
    defaults = compiling.members(body, _MEMBERS)
    subject = defaults.pop("subject", {})
    if not isinstance(subject, Mapping) or not subject.keys() <= _NAMED:
        raise MappingError("`subject` has other members than `type`, `id` and `properties`")
    questions = []
    for entry in entries:
        if not isinstance(entry, Mapping) or "subject" in entry:
            raise MappingError("an evaluation is no object, or names a subject of its own")
        question = {**defaults, **compiling.members(entry, _MEMBERS)}
        _complete(question)
        questions.append(question)
    return DeclaredMapping(subject, tuple(questions))


def _complete(question: Mapping[str, _Template]) -> None:
    for name, needed, known in (
        ("action", {"name"}, {"name", "properties"}),
        ("resource", {"type", "id"}, _NAMED),
    ):
        member = question.get(name)
        if not isinstance(member, Mapping) or not needed <= member.keys() or not member.keys() <= known:
            raise MappingError(f"`{name}` is missing, or has not {' and '.join(sorted(needed))}, or unknown members")
    if not isinstance(question.get("context", {}), Mapping):
        raise MappingError("`context` is no object")


class _Compiling:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        properties = schema.get("properties")
        # what other keywords bring in is not looked for
        told = isinstance(properties, Mapping) and _ELSEWHERE.isdisjoint(schema)
        self._arguments = frozenset(properties) if told and isinstance(properties, Mapping) else None
        self._expressions = 0

    def members(self, body: Mapping[str, Any], known: frozenset[str]) -> dict[str, _Template]:
        if unknown := sorted(body.keys() - known):
            raise MappingError(f"`{str(unknown[0])[:40]}` is no member of an evaluation")
        return {name: self._template(member, _MOST_LEVELS) for name, member in body.items()}

    def _template(self, value: Any, levels: int) -> _Template:
        if levels < 0:
            raise MappingError(f"it is nested deeper than {_MOST_LEVELS} levels")
        if isinstance(value, str):
            if value.startswith("$$"):
                return value[1:]
            return self._expression(value[1:]) if value.startswith("$") else value
        if isinstance(value, Mapping):
            return {str(name): self._template(one, levels - 1) for name, one in value.items()}
        if isinstance(value, list):
            return [self._template(one, levels - 1) for one in value]
        return value

    def _expression(self, text: str) -> CelExpression:
        self._expressions += 1
        if self._expressions > _MOST_EXPRESSIONS:
            raise MappingError(f"it has more than {_MOST_EXPRESSIONS} expressions")
        try:
            made = compile_cel(text, _VARIABLES)
        except CelError as error:
            raise MappingError(f"`${text[:80]}`: {error}") from error
        for path in made.paths:
            self._known(path, text)
        return made

    def _known(self, path: tuple[str, ...], text: str) -> None:
        match path:
            case ("token", claim, *_) if claim not in TOKEN_CLAIMS:
                raise MappingError(f"`${text[:80]}`: the claims there are: {', '.join(sorted(TOKEN_CLAIMS))}")
            case ("params", name, *_) if name not in {"arguments", "name"}:
                raise MappingError(f"`${text[:80]}`: `params` has `name` and `arguments`")
            case ("params", "arguments", name, *_) if self._arguments is not None and name not in self._arguments:
                raise MappingError(f"`${text[:80]}`: the input schema declares no `{name[:40]}`")
            case _:
                pass


# -- over one call


def _object(template: _Template, variables: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = _value(template, variables)
    if not isinstance(value, dict):
        raise MappingError(f"`{name}` comes to no object")
    return value


def _value(template: _Template, variables: Mapping[str, Any]) -> Any:
    if isinstance(template, CelExpression):
        try:
            return template.evaluate(variables)
        except CelError as error:
            raise MappingError(f"`${template.text[:80]}`: {error}") from error
    if isinstance(template, Mapping):
        made = {name: _value(one, variables) for name, one in template.items()}
        return {name: value for name, value in made.items() if value is not ABSENT}
    if isinstance(template, list):
        listed = [_value(one, variables) for one in template]
        if any(value is ABSENT for value in listed):
            raise MappingError("an element of a list is absent")
        return listed
    return template
