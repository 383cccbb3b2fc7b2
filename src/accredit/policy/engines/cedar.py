"""Cedar through cedarpy: the one place that touches it.

Why so careful: the binding's parser and converter recurse natively, and a policy of a few hundred nested brackets
ends the process without an exception, so texts are measured before the engine sees them. `verbose` prints, error
results carry no metrics, and a panic is a BaseException: none of that leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import cedarpy
import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.policy.ports import EngineOutcome, EngineSource, Objection, Residual, Uid, Verdict

__all__ = ["CedarEngine"]

_MAX_BYTES = 64 * 1024
_MAX_TOKENS = 1500
_MAX_DEPTH = 32
_MAX_PATH = 16
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|[A-Za-z_]\w*|\s+|.', re.DOTALL)
_ERROR = re.compile(r"error while evaluating policy `([^`]*)`: (.*)", re.DOTALL)
_QUOTED = re.compile(r"`.*`", re.DOTALL)
_POSITION = re.compile(r"policy(\d+)")
_MISSING = "record does not have the attribute"
_MESSAGE = 300


def _measure(text: str) -> None:
    if len(text) > _MAX_BYTES:
        raise InvalidInputError(
            Code.POLICY_INVALID, f"the text is longer than {_MAX_BYTES} characters", hint="split the file"
        )
    tokens = depth = branches = path = 0
    words = [word for word in _TOKEN.findall(text) if not word.isspace() and not word.startswith("//")]
    for before, word in pairwise(["", *words]):
        tokens, branches = (0, 0) if word == ";" else (tokens + 1, branches + (word == "if"))
        depth += (word in "([{") - (word in ")]}") if len(word) == 1 else 0
        path = path + 1 if word == "." else path if before == "." else 0
        if tokens > _MAX_TOKENS or depth > _MAX_DEPTH or branches > _MAX_DEPTH or path > _MAX_PATH:
            raise InvalidInputError(
                Code.POLICY_INVALID,
                "a policy is too long or nested too deeply",
                hint=f"at most {_MAX_TOKENS} tokens, {_MAX_DEPTH} levels and {_MAX_PATH} path steps in one policy",
            )


def _words(message: str) -> str:
    """The engine's words without the values it quotes: they are the caller's and may be personal."""
    kept = message if message.startswith(_MISSING) else _QUOTED.sub("`…`", message)
    return kept[:_MESSAGE]


def _position(name: str) -> int:
    match = _POSITION.fullmatch(name)
    return int(match[1]) if match else 0


class CedarEngine:
    """Cedar as cedarpy binds it. Decisions hold the GIL: one process decides on one core."""

    def __init__(self) -> None:
        self._version = f"cedarpy {version('cedarpy')}"

    @property
    def version(self) -> str:
        return self._version

    def read(self, text: str) -> tuple[EngineSource, ...]:
        _measure(text)
        try:
            whole = orjson.loads(cedarpy.policies_to_json_str(text))
            found = {**whole["staticPolicies"], **whole["templates"]}
            return tuple(
                self._alone(found[name], template=name in whole["templates"]) for name in sorted(found, key=_position)
            )
        except ValueError as error:
            raise InvalidInputError(
                Code.POLICY_INVALID,
                f"does not parse: {str(error)[:_MESSAGE]}",
                hint="correct the text where the parser points",
            ) from error

    def _alone(self, tree: dict[str, Any], *, template: bool) -> EngineSource:
        if template:  # the engine spells templates only inside a text, so their tree stands for it
            return EngineSource(orjson.dumps(tree, option=orjson.OPT_SORT_KEYS).decode(), tree, template=True)
        try:
            text = cedarpy.policies_from_json_str(_set_of([("policy0", tree)])).strip()
        except ValueError as error:
            raise InvalidInputError(
                Code.POLICY_INVALID,
                "the engine cannot spell a condition nested so deeply",
                hint="about 50 terms in a row: list values in a set and ask `.contains(…)`, or write several policies",
            ) from error
        again = orjson.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
        if again != {"policy0": tree}:
            raise InvalidInputError(
                Code.POLICY_INVALID,
                "the engine reads its own spelling of this policy differently",
                hint="write the condition in a simpler form",
            )
        return EngineSource(text, tree, template=False)

    def compile(self, policies: Sequence[tuple[str, str]]) -> Any:
        listed = ",".join(f'"{name}":{tree}' for name, tree in policies)
        try:
            return cedarpy.PolicySet.from_json_str(
                f'{{"templates":{{}},"staticPolicies":{{{listed}}},"templateLinks":[]}}'
            )
        except ValueError as error:
            raise UnavailableError(Code.ENGINE_FAILED, "policies do not compile", cause=str(error)[:500]) from error

    def load(self, entities: str, beside: Any = None) -> Any:
        try:
            # adding shares the entities already there: half the time and two thirds of the memory of loading all
            return cedarpy.Entities.from_json_str(entities) if beside is None else beside.with_added_json_str(entities)
        except ValueError as error:
            raise UnavailableError(Code.ENGINE_FAILED, "entities do not load", cause=str(error)[:500]) from error

    def evaluate(self, handle: Any, principal: Uid, action: Uid, resource: Uid, context: str, entities: Any) -> Verdict:
        request = {"principal": principal, "action": action, "resource": resource, "context": context}
        try:
            result = cedarpy.is_authorized(request, handle, entities)
            said = result.diagnostics
            decision, errors = result.decision, said.errors
            outcome = EngineOutcome.NONE
            if decision is cedarpy.Decision.Allow:
                outcome = EngineOutcome.ALLOW
            elif decision is cedarpy.Decision.Deny:
                outcome = EngineOutcome.DENY
            return Verdict(outcome, tuple(said.reasons), tuple(map(_blamed, errors)) if errors else ())
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the boundary that turns a failure, panics included, into no decision
            return Verdict(EngineOutcome.NONE, (), (("", type(error).__name__),))

    def residuals(
        self, handle: Any, principal: Uid, action: Uid, resource: Uid, entities: Any
    ) -> Mapping[str, Residual]:
        names = {"principal": principal, "action": action, "resource": resource}
        try:
            # without a context, the context is unknown
            found = cedarpy.is_authorized_partial({key: _spelled(uid) for key, uid in names.items()}, handle, entities)
            errors = {name for name, _ in map(_blamed, found.diagnostics.errors)}
            residuals = {name: _residual(tree, failed=name in errors) for name, tree in found.residuals.items()}
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # as above; and what is left of a long condition may be too deep
            raise UnavailableError(
                Code.ENGINE_FAILED, "what is left of the policies cannot be told", cause=type(error).__name__
            ) from error
        if len(residuals) != len(handle) or not errors <= residuals.keys():
            raise UnavailableError(Code.ENGINE_FAILED, "what is left of the policies cannot be told")
        return residuals

    def validate(self, policies: Sequence[str], schema: str) -> tuple[Objection, ...]:
        try:
            result = cedarpy.validate_policies("\n".join(policies), cedarpy.Schema.from_json_str(schema))
        except ValueError as error:
            raise UnavailableError(Code.ENGINE_FAILED, "the schema does not compile", cause=str(error)[:500]) from error
        found = tuple(Objection(_position(error.policy_id), _plain(error.error)) for error in result.errors)
        if not found and not result.validation_passed:
            return (Objection(0, "does not validate"),)
        return found


def _set_of(trees: Sequence[tuple[str, Any]]) -> str:
    return orjson.dumps({"templates": {}, "staticPolicies": dict(trees), "templateLinks": []}).decode()


def _spelled(uid: Uid) -> str:
    """An entity's name as the engine itself would write it: partial evaluation takes no other form."""
    return f'{uid["type"]}::"{_QUOTES.sub(_ESCAPED, uid["id"])}"'


_QUOTES = re.compile(r"[\"'\\]")
_ESCAPED = r"\\\g<0>"


def _residual(policy: Mapping[str, Any], *, failed: bool) -> Residual:
    (condition,) = policy["conditions"]
    tree = _plainer(condition["body"])
    if failed:
        return Residual(None, error=True)
    if tree in ({"Value": True}, {"Value": False}):
        return Residual(tree["Value"])
    try:
        alone = {**policy, "conditions": [{"kind": "when", "body": tree}]}
        text = cedarpy.policies_from_json_str(_set_of([("policy0", alone)]))
        text = text[text.index("when {") + 6 : text.rindex("}")].strip()
    except ValueError:  # deeper than the engine spells
        text = ""
    return Residual(None, tree=tree, text=_legible(text))


def _legible(text: str) -> str:
    """A condition on one line, and the names in it without the engine's parentheses: `((context.a).b)`."""
    text, before = _LINES.sub(" ", text), ""
    while text != before:
        text, before = _NAMED.sub(lambda found: found[1] or found[0], text), text
    return text


_LINES = re.compile(r"\s*\n\s*")
"""Of the engine's layout: a literal has its own escaped."""
_NAMED = re.compile(r'"(?:\\.|[^"\\])*"|(?<!\w)\((context(?:\.\w+)*)\)')
_CONTEXT = {"unknown": [{"Value": "context"}]}
_TRUE = {"Value": True}
_NEGATED = {"<=": ">", "<": ">=", "==": "!="}


def _plainer(node: Any) -> Any:
    """A residual as a person would have written it: without the engine's own `true && …` and `!(a <= b)`."""
    if isinstance(node, list):
        return [_plainer(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node == _CONTEXT:
        return {"Var": "context"}
    plain = {key: _plainer(item) for key, item in node.items()}
    match plain:
        case {"&&": {"left": left, "right": right}} if left == _TRUE:
            return right
        case {"!": {"arg": {**compared}}} if len(compared) == 1 and compared.keys() <= _NEGATED.keys():
            return {_NEGATED[str(kind)]: sides for kind, sides in compared.items()}
    return plain


def _blamed(line: str) -> tuple[str, str]:
    match = _ERROR.fullmatch(line)
    # an error that names no policy is blamed on none, and the decision treats that as a forbid's
    return (match[1], _words(match[2])) if match else ("", _words(line))


def _plain(message: str) -> str:
    """The validator's words without its positional name for the policy."""
    return re.sub(r"^for policy `policy\d+`, ", "", message)[:_MESSAGE]
