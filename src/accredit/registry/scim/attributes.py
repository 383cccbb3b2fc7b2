"""The attributes that are kept of users and groups, and the one form in which they are (RFC 7643 §4, §7).

A resource is kept as JSON: names as the RFC spells them, whatever letter case they came in; the extension under its
URN; nothing that is empty. Entra sends booleans as texts, which are taken; every other type must be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.registry.scim.errors import ScimError, ScimType

__all__ = ["ENTERPRISE", "GROUP", "USER", "Attribute", "ResourceType", "kept", "read_resource", "read_value", "settled"]

ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
_CORE: Final = "urn:ietf:params:scim:schemas:core:2.0:"
_MAX_TEXT: Final = 512
_MAX_VALUES: Final = 20
_MAX_MEMBERS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that is kept."""

    name: str
    kind: str = "string"
    """string, boolean, complex or reference."""
    many: bool = False
    subs: tuple[Attribute, ...] = ()
    required: bool = False
    exact: bool = False
    """Whether letter case counts where it is compared."""
    unique: bool = False
    about: str = ""
    most: int = _MAX_VALUES

    def sub(self, name: str) -> Attribute | None:
        """The sub-attribute of that name, in any letter case."""
        folded = name.casefold()
        return next((one for one in self.subs if one.name.casefold() == folded), None)


@dataclass(frozen=True, slots=True)
class ResourceType:
    """Users, or groups: what is kept of them, and what may be sent and is not."""

    name: str
    schema: str
    attributes: tuple[Attribute, ...]
    extension: tuple[Attribute, ...] = ()
    ignored: frozenset[str] = frozenset()
    """Attributes of the RFC that are not kept, by their folded names."""

    @property
    def extensions(self) -> Mapping[str, tuple[Attribute, ...]]:
        """Attributes by the URN of their schema, beside its own."""
        return {ENTERPRISE: self.extension} if self.extension else {}

    def find(self, schema: str, name: str) -> Attribute | None:
        """The attribute of that name, in any letter case, of its own schema (empty) or an extension's."""
        folded = name.casefold()
        home = self.extension if schema == ENTERPRISE else self.attributes
        return next((one for one in home if one.name.casefold() == folded), None)

    def home(self, urn: str) -> str | None:
        """The key under which attributes of a schema are kept: empty for its own; None: it is no schema of this."""
        folded = urn.casefold()
        if folded in {"", self.schema.casefold()}:
            return ""
        return next((one for one in self.extensions if one.casefold() == folded), None)


_VALUE = Attribute("value", about="an e-mail address")
USER: Final = ResourceType(
    "User",
    f"{_CORE}User",
    (
        Attribute("userName", required=True, unique=True, about="the directory's name of the user"),
        Attribute("externalId", exact=True, unique=True, about="the directory's id of the user"),
        Attribute("active", "boolean", about="whether the user may be here at all"),
        Attribute("displayName"),
        Attribute("title"),
        Attribute(
            "name", "complex", subs=(Attribute("formatted"), Attribute("familyName"), Attribute("givenName"))
        ),
        Attribute(
            "emails",
            "complex",
            many=True,
            subs=(_VALUE, Attribute("type"), Attribute("primary", "boolean"), Attribute("display")),
        ),
    ),
    (
        Attribute("department"),
        Attribute("employeeNumber"),
        Attribute(
            "manager",
            "complex",
            subs=(Attribute("value", exact=True, about="the id of another user"), Attribute("displayName")),
        ),
    ),
    frozenset({
        "addresses", "entitlements", "ims", "locale", "nickname", "password", "phonenumbers", "photos",
        "preferredlanguage", "profileurl", "roles", "timezone", "usertype", "x509certificates", "costcenter",
        "division", "organization",
    }),
)  # fmt: skip
GROUP: Final = ResourceType(
    "Group",
    f"{_CORE}Group",
    (
        Attribute("displayName", required=True, unique=True, about="what a mapping calls the group"),
        Attribute("externalId", exact=True, unique=True, about="the directory's id of the group"),
        Attribute(
            "members",
            "complex",
            many=True,
            subs=(Attribute("value", exact=True, required=True, about="the id of a user or group"), Attribute("type")),
            most=_MAX_MEMBERS,
        ),
    ),
)
_ASSIGNED: Final = frozenset({"groups", "id", "meta", "schemas"})
"""What a client may send and does not decide."""


def read_resource(form: Any, of: ResourceType) -> dict[str, Any]:
    """A whole resource as a client sent it, to create or to replace.

    Raises:
        ScimError: it is not of the form, or an attribute that is required is missing.
    """
    if not isinstance(form, Mapping):
        raise ScimError(ScimType.INVALID_SYNTAX, "a resource is a JSON object")
    schemas = next((value for key, value in form.items() if key.casefold() == "schemas"), None)
    named = {one.casefold() for one in schemas if isinstance(one, str)} if isinstance(schemas, list) else set()
    if of.schema.casefold() not in named:
        raise ScimError(ScimType.INVALID_SYNTAX, f"`schemas` names `{of.schema}`")
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for key, value in form.items():
        folded = key.casefold()
        if folded in seen:
            raise ScimError(ScimType.INVALID_SYNTAX, f"`{_shown(key)}` stands in it twice")
        seen.add(folded)
        if folded in _ASSIGNED or folded in of.ignored or value is None:
            continue
        extension = of.home(key) if ":" in key else ""
        if extension:
            if not isinstance(value, Mapping):
                raise ScimError(ScimType.INVALID_VALUE, f"`{_shown(key)}` is an object")
            if inner := dict(_values(value, of, extension)):
                found[extension] = inner
        elif (attribute := of.find("", key)) is not None:
            read = read_value(attribute, value)
            if not _empty(read):
                found[attribute.name] = read
    return settled(found, of)


def _values(form: Mapping[str, Any], of: ResourceType, schema: str) -> Iterator[tuple[str, Any]]:
    for key, value in form.items():
        attribute = of.find(schema, key)
        if attribute is not None and value is not None:
            read = read_value(attribute, value)
            if not _empty(read):
                yield attribute.name, read


def settled(resource: Mapping[str, Any], of: ResourceType) -> dict[str, Any]:
    """A resource in its one form: in order, without what is empty, values of one attribute once each.

    Raises:
        ScimError: what is required is missing, or it holds too much.
    """
    found: dict[str, Any] = {}
    for attribute in of.attributes:
        value = resource.get(attribute.name)
        if attribute.many and value is not None:
            value = _once(value)
            if len(value) > attribute.most:
                raise ScimError(ScimType.TOO_MANY, f"`{attribute.name}` has at most {attribute.most} values")
            if sum(bool(one.get("primary")) for one in value) > 1:
                raise ScimError(ScimType.INVALID_VALUE, f"one value of `{attribute.name}` is the primary one")
            if any(one.required and not each.get(one.name) for one in attribute.subs for each in value):
                raise ScimError(ScimType.INVALID_VALUE, f"each of `{attribute.name}` has a `value`")
        if not _empty(value):
            found[attribute.name] = value
        elif attribute.required:
            raise ScimError(ScimType.INVALID_VALUE, f"`{attribute.name}` is required")
    for schema, attributes in of.extensions.items():
        inner = resource.get(schema) or {}
        told = {one.name: inner[one.name] for one in attributes if not _empty(inner.get(one.name))}
        if told:
            found[schema] = told
    return found


def _once(values: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each value once, the first of those that say the same (RFC 7643 §2.4)."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in values:
        kept_ = {name: value for name, value in sorted(one.items()) if not _empty(value)}
        same = (kept_.get("value"), str(kept_.get("type", "")).casefold())
        if kept_:
            found.setdefault(same, kept_)
    return list(found.values())


def read_value(attribute: Attribute, value: Any) -> Any:
    """A value of an attribute as it is kept.

    Raises:
        ScimError: it is of another type, or too large.
    """
    if attribute.many:
        values = value if isinstance(value, list) else [] if value is None else [value]
        if len(values) > attribute.most:
            raise ScimError(ScimType.TOO_MANY, f"`{attribute.name}` has at most {attribute.most} values")
        return [_complex(attribute, one) for one in values]
    if attribute.kind == "complex":
        if isinstance(value, list) and len(value) == 1:
            value = value[0]  # how Entra sends a manager
        return _complex(attribute, value)
    if attribute.kind == "boolean":
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.casefold() in {"true", "false"}:
            return value.casefold() == "true"
        raise ScimError(ScimType.INVALID_VALUE, f"`{attribute.name}` is true or false")
    if not isinstance(value, str):
        raise ScimError(ScimType.INVALID_VALUE, f"`{attribute.name}` is a text")
    if len(value) > _MAX_TEXT or not value.isprintable():
        raise ScimError(
            ScimType.INVALID_VALUE, f"`{attribute.name}` is at most {_MAX_TEXT} characters, each of them visible"
        )
    return value.strip()


def _complex(attribute: Attribute, value: Any) -> dict[str, Any]:
    if isinstance(value, str) and attribute.sub("value") is not None:
        value = {"value": value}
    if not isinstance(value, Mapping):
        raise ScimError(ScimType.INVALID_VALUE, f"`{attribute.name}` is an object")
    found: dict[str, Any] = {}
    for key, each in value.items():
        sub = attribute.sub(key)
        if sub is not None and each is not None:
            read = read_value(sub, each)
            if not _empty(read):
                found[sub.name] = read
    return found


def kept(resource: Mapping[str, Any], attribute: Attribute, schema: str) -> Any:
    """The value of an attribute of a resource; None if it has none."""
    home = resource.get(schema, {}) if schema else resource
    return home.get(attribute.name)


def _empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _shown(key: str) -> str:
    return ascii(key)[1:-1][:100]
