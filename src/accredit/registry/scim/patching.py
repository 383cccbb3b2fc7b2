"""What a PATCH makes of a resource (RFC 7644 §3.5.2): all of its operations in their order, or none of them. Pure.

It takes the RFC's form and what Entra and Okta send beside it: operations in any letter case, a `remove` with the
values to be taken away beside the path, keys with dots and URNs where there is no path, and texts for booleans. Taking
away what is not there changes nothing, so a request that is sent again does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from accredit.registry.scim.attributes import ResourceType, read_value, settled
from accredit.registry.scim.errors import ScimError, ScimType
from accredit.registry.scim.filters import Filter, NamedAttribute, Target, holds, read_target, terms

__all__ = ["PATCH_SCHEMA", "patched"]

PATCH_SCHEMA: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_MAX_OPERATIONS: Final = 100
_ADD, _REPLACE, _REMOVE = "add", "replace", "remove"
_ASSIGNED: Final = frozenset({"id", "meta", "schemas"})


def patched(resource: Mapping[str, Any], form: Any, of: ResourceType, *, id_: str) -> dict[str, Any]:
    """The resource after a PATCH; `id_` is the resource's own.

    Raises:
        ScimError: it is not of the form, or one of its operations cannot be done; the resource is as it was.
    """
    after: dict[str, Any] = _copied(resource)
    for operation, path, value, given in _operations(form):
        if path is None:
            for key, each in _spread(operation, value, of):
                if key.casefold() in _ASSIGNED:
                    _own(key, each, id_)
                    continue
                _apply(after, operation, read_target(key, of), each, given=True)
        elif path.casefold() in _ASSIGNED:
            _own(path, value, id_)
        else:
            _apply(after, operation, read_target(path, of), value, given=given)
        after = settled(after, of)
    return after


def _copied(value: Any) -> Any:
    """A copy that can be changed of what may be a document of control state, which cannot."""
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list | tuple) else value


def _operations(form: Any) -> Iterator[tuple[str, str | None, Any, bool]]:
    told = {key.casefold(): value for key, value in form.items()} if isinstance(form, Mapping) else {}
    schemas, operations = told.get("schemas"), told.get("operations")
    if not isinstance(schemas, list) or PATCH_SCHEMA.casefold() not in {str(one).casefold() for one in schemas}:
        raise ScimError(ScimType.INVALID_SYNTAX, f"`schemas` names `{PATCH_SCHEMA}`")
    if not isinstance(operations, list) or not 1 <= len(operations) <= _MAX_OPERATIONS:
        raise ScimError(ScimType.INVALID_SYNTAX, f"`Operations` has 1 to {_MAX_OPERATIONS} entries")
    for one in operations:
        if not isinstance(one, Mapping):
            raise ScimError(ScimType.INVALID_SYNTAX, "an operation is an object")
        each = {key.casefold(): value for key, value in one.items()}
        operation, path = str(each.get("op", "")).casefold(), each.get("path")
        if operation not in {_ADD, _REPLACE, _REMOVE}:
            raise ScimError(ScimType.INVALID_SYNTAX, "`op` is add, replace or remove")
        if path is not None and not isinstance(path, str):
            raise ScimError(ScimType.INVALID_PATH, "a path is a text")
        if operation != _REMOVE and "value" not in each:
            raise ScimError(ScimType.INVALID_VALUE, f"`{operation}` needs a value")
        if operation == _REMOVE and not path:
            raise ScimError(ScimType.NO_TARGET, "`remove` needs a path")
        yield operation, path or None, each.get("value"), each.get("value") is not None


def _spread(operation: str, value: Any, of: ResourceType) -> Iterator[tuple[str, Any]]:
    """The parts of a value without a path, each with the path that its key is."""
    if not isinstance(value, Mapping):
        raise ScimError(ScimType.INVALID_VALUE, f"`{operation}` without a path takes an object")
    for key, each in value.items():
        home = of.home(key) if ":" in key else None
        if home and isinstance(each, Mapping):
            yield from ((f"{home}:{inner}", part) for inner, part in each.items())
        elif home != "":
            yield key, each


def _own(name: str, value: Any, id_: str) -> None:
    """Okta names the group's own id beside what it replaces."""
    if name.casefold() == "id" and value != id_:
        raise ScimError(ScimType.MUTABILITY, "`id` does not change")


def _apply(resource: dict[str, Any], operation: str, target: Target, value: Any, *, given: bool) -> None:
    named = target.named
    if named is None:
        return
    home = resource.setdefault(named.schema, {}) if named.schema else resource
    name = named.attribute.name
    if operation == _REMOVE or value is None:
        _remove(home, named, target.inner, value if given else None)
    elif target.inner is not None:
        _put_into(home, named, target.inner, value, creates=operation == _ADD)
    elif named.sub is not None:
        if named.attribute.many:
            raise ScimError(ScimType.INVALID_PATH, f"say which value of `{name}` is meant")
        home[name] = {**home.get(name, {}), named.sub.name: read_value(named.sub, value)}
    else:
        fresh = read_value(named.attribute, value)
        if not named.attribute.many:
            home[name] = {**home.get(name, {}), **fresh} if isinstance(fresh, dict) else fresh
        elif operation == _REPLACE:
            home[name] = fresh
        else:
            home[name] = _joined(home.get(name, []), fresh)


def _joined(before: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was there and what comes to it; of several primary ones the newest is (RFC 7644 §3.5.2)."""
    if any(one.get("primary") for one in fresh):
        before = [{**one, "primary": False} if one.get("primary") else one for one in before]
    there = {_same(one) for one in fresh}
    return [*(one for one in before if _same(one) not in there), *fresh]


def _same(value: Mapping[str, Any]) -> tuple[Any, str]:
    return value.get("value"), str(value.get("type", "")).casefold()


def _put_into(home: dict[str, Any], named: NamedAttribute, inner: Filter, value: Any, *, creates: bool) -> None:
    """Into the values that a filter names; `add` makes the one it describes if there is none, as Entra expects."""
    attribute = named.attribute
    if named.sub is not None:
        part = {named.sub.name: read_value(named.sub, value)}
    else:
        (part,) = read_value(attribute, [value] if not isinstance(value, list) else value[:1] or [{}])
    every = list(home.get(attribute.name, []))
    chosen = [holds(inner, one, within=True) for one in every]
    if not any(chosen):
        demanded = terms(inner) if creates else None
        if demanded is None:
            raise ScimError(ScimType.NO_TARGET, f"no value of `{attribute.name}` is as the path says")
        (described,) = read_value(attribute, [demanded])
        home[attribute.name] = _joined(every, [{**described, **part}])
        return
    if part.get("primary"):
        every = [{**one, "primary": False} if one.get("primary") else one for one in every]
    home[attribute.name] = [{**one, **part} if hit else one for one, hit in zip(every, chosen, strict=True)]


def _remove(home: dict[str, Any], named: NamedAttribute, inner: Filter | None, value: Any) -> None:
    attribute = named.attribute
    if attribute.name not in home:
        return
    if inner is not None:
        every = home[attribute.name]
        if named.sub is None:
            home[attribute.name] = [one for one in every if not holds(inner, one, within=True)]
        else:
            name = named.sub.name
            home[attribute.name] = [
                {key: each for key, each in one.items() if key != name} if holds(inner, one, within=True) else one
                for one in every
            ]
    elif named.sub is not None:
        if attribute.many:
            raise ScimError(ScimType.INVALID_PATH, f"say which value of `{attribute.name}` is meant")
        home[attribute.name] = {key: each for key, each in home[attribute.name].items() if key != named.sub.name}
    elif attribute.many and value is not None:
        gone = {one.get("value") for one in read_value(attribute, value)}
        home[attribute.name] = [one for one in home[attribute.name] if one.get("value") not in gone]
    else:
        del home[attribute.name]
