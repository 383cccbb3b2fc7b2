"""Whether the two sides of a `sameAs` can be compared at all: both always there, both of one scalar type.

Cedar's `==` of two types is false, and an absent value is an error; a condition that could be either would deny for a
reason nobody sees. So it is refused at registration (DESIGN §8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.schemas import resolve_pointer

__all__ = ["argument_type", "claim_type"]

_SCALARS = ("string", "integer", "boolean")


def argument_type(schema: Mapping[str, Any], path: str) -> str:
    """The scalar type of a required argument: `string`, `integer` or `boolean`.

    Raises:
        InvalidInputError: `condition_untyped`: it may be absent, or is no scalar of one type.
    """
    node: Any = schema
    steps = path.split(".")[1:]
    for index, step in enumerate(steps):
        layers = tuple(_layers(schema, node))
        if not any(layer.get("type") == "object" for layer in layers):
            raise _untyped(f"`{'.'.join(('input', *steps[:index]))}` is not always an object")
        found = [layer["properties"][step] for layer in layers if step in layer.get("properties", {})]
        if not found:
            raise _untyped(f"the input schema declares no `{path}`")
        if not any(step in layer.get("required", ()) for layer in layers):
            raise _untyped(f"`{path}` may be absent: `{step}` is not required")
        node = found[0]
    kinds = {kind for layer in _layers(schema, node) if isinstance(kind := layer.get("type"), str)}
    if len(kinds) != 1 or not kinds <= set(_SCALARS):
        raise _untyped(f"`{path}` is not of one scalar type")
    return kinds.pop()


def claim_type(issuers: Iterable[Mapping[str, Any]], path: str) -> str:
    """The type that every registered task issuer which declares the claim gives it.

    Raises:
        InvalidInputError: `condition_untyped`: nobody declares it, or they differ.
    """
    claim = path.removeprefix("task.")
    kinds = {
        issuer["claims"][claim]
        for issuer in issuers
        if issuer.get("use") == "task" and not issuer.get("revoked") and claim in issuer["claims"]
    }
    if len(kinds) != 1:
        raise _untyped(
            f"registered task issuers give `{path}` several types" if kinds else f"no task issuer declares `{path}`"
        )
    return str(kinds.pop())


def _layers(root: Mapping[str, Any], node: Any) -> Iterator[Mapping[str, Any]]:
    """The schemas that certainly apply to a value: the one given and those its references lead to."""
    for _ in range(16):  # a longer chain is not followed, which can only refuse
        if not isinstance(node, Mapping):
            return
        yield node
        if "$ref" not in node:
            return
        node = resolve_pointer(root, node["$ref"])


def _untyped(text: str) -> InvalidInputError:
    return InvalidInputError(Code.CONDITION_UNTYPED, text)
