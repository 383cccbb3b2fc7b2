"""Resources, resource templates and prompts of an MCP server, as items among its tools. Pure (docs/adr/0011).

An item is registered like a tool, under the name `resources/URI` or `prompts/NAME`, so that grants, limits, holds,
restrictions and records are the same; what policies see is an `Item` in its `Server`, and an operation of its own in
the groups `@read` and `@read_item` (DESIGN §3.5). Its definition is what the server lists of it, and the facts of a
read as arguments: `uri` and the variables of a template, or the arguments of a prompt.

A template is one of RFC 6570 level 1, and narrower: a URI is an instance of it in at most one way, each value is
written in one way alone, and no value can leave its place (`..`, a slash in any spelling, another host).

INVARIANT: `template.match(uri) == values` exactly if `template.expand(values) == uri`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from accredit.kernel.ids import item_group

__all__ = [
    "MOST_ARGUMENTS",
    "MOST_REGISTERED",
    "URI_FORM",
    "ItemKind",
    "UriTemplate",
    "item_kind",
    "item_name",
    "listed_item",
    "names_its_uri",
    "offered_item",
    "parse_template",
    "plain_arguments_of",
    "plain_uri",
    "prompt_key",
    "resource_key",
]

MOST_ARGUMENTS: Final = 100
MOST_REGISTERED: Final = 512
"""Characters of a URI or template that can be registered, as its id spells it: that stands in every record of it."""
_MOST_VARIABLES: Final = 16
_MOST_URI: Final = 1_024
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.-]{0,31}:"
_CHARACTER: Final = r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2}"
_VARIABLE: Final = r"\{[A-Za-z_][A-Za-z0-9_]{0,62}\}"
URI_FORM: Final = rf"^{_SCHEME}({_CHARACTER}|{_VARIABLE})+$"
"""A URI (RFC 3986), or one with level 1 expressions (RFC 6570 §1.2) behind its scheme."""
_FORM: Final = re.compile(URI_FORM.removesuffix("$"))
_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}")
_NAMES_HOSTS: Final = frozenset({"file", "ftp", "ftps", "git", "http", "https", "sftp", "smb", "ssh", "ws", "wss"})
"""Schemes whose authority is a machine: a variable there would let whoever fills it in choose one."""
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]*")
_FORBIDDEN_IN_VALUE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\%]")
_TEXT: Final[Mapping[str, Any]] = {"type": "string"}


class ItemKind(StrEnum):
    """What an item is."""

    PROMPT = "prompt"
    RESOURCE = "resource"
    TEMPLATE = "template"


def resource_key(uri: str) -> str:
    """The name among its server's tools of a resource, or of a template of them."""
    return f"resources/{uri}"


def prompt_key(name: str) -> str:
    """The name of a prompt among its server's tools."""
    return f"prompts/{name}"


def item_kind(key: str) -> ItemKind | None:
    """What kind of item has that name among a server's tools; None: it is a tool."""
    match item_group(key):
        case "prompts":
            return ItemKind.PROMPT
        case "resources":
            # a brace is no character of a URI
            return ItemKind.TEMPLATE if "{" in key else ItemKind.RESOURCE
        case _:
            return None


def item_name(key: str) -> str:
    """The server's own name of an item: its URI, template or name."""
    return key.partition("/")[2]


@dataclass(frozen=True, slots=True)
class UriTemplate:
    """A template of URIs: literals with a variable between each two; the first and last literal may be all there is."""

    literals: tuple[str, ...]
    variables: tuple[str, ...]
    pattern: re.Pattern[str]

    def expand(self, values: Mapping[str, str]) -> str:
        """The URI with these values in place (RFC 6570 §3.2.2)."""
        filled = (quote(values[name], safe="") for name in self.variables)
        return self.literals[0] + "".join(
            f"{value}{literal}" for value, literal in zip(filled, self.literals[1:], strict=True)
        )

    def match(self, uri: str) -> dict[str, str] | None:
        """The values that make the URI of the template; None if there are none, or one of them is not plain."""
        found = self.pattern.fullmatch(uri) if len(uri) <= _MOST_URI else None
        if found is None:
            return None
        values: dict[str, str] = {}
        for name, raw in zip(self.variables, found.groups(), strict=True):
            value = _decoded(raw)
            if value is None:
                return None
            values[name] = value
        return values if plain_uri(uri) else None


def _decoded(raw: str) -> str | None:
    """The value of which this is the one spelling, if it can do no harm where it stands."""
    try:
        value = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return None
    if quote(value, safe="") != raw or _FORBIDDEN_IN_VALUE.search(value) or value in {".", ".."}:
        return None
    return value


def plain_uri(uri: str) -> bool:
    """Whether a URI has the form of one and no segment of its path means another place."""
    if len(uri) > _MOST_URI or "{" in uri or not _FORM.fullmatch(uri):
        return False
    path = re.split(r"[?#]", uri, maxsplit=1)[0]
    return not any(unquote_to_bytes(segment) in {b".", b".."} for segment in path.split("/"))


@lru_cache(maxsize=4_096)
def parse_template(text: str) -> UriTemplate:
    """Read a template of URIs.

    Raises:
        ValueError: it is not one that is told apart without doubt, in words for whoever registers it.
    """
    if len(text) > _MOST_URI or not _FORM.fullmatch(text):
        raise ValueError("not a URI with simple expressions such as `{name}` behind its scheme")
    parts = _EXPRESSION.split(text)
    literals, variables = tuple(parts[::2]), tuple(parts[1::2])
    if len(set(variables)) != len(variables) or not 0 < len(variables) <= _MOST_VARIABLES:
        raise ValueError(f"a template has 1 to {_MOST_VARIABLES} variables, each once")
    if "uri" in variables:
        raise ValueError("a variable cannot be called `uri`, which is what policies call the whole")
    if any(_UNRESERVED.fullmatch(re.sub(r"%[0-9A-Fa-f]{2}", "", between)) for between in literals[1:-1]):
        raise ValueError("between two variables stands a character such as `/`, or it is not told where one ends")
    scheme, _, rest = literals[0].partition(":")
    behind = rest.removeprefix("//")
    host, slash, _ = behind.partition("/")
    # `http:///x` is read as a host by some
    fixed = behind != rest and slash and (host or scheme.lower() == "file")
    if scheme.lower() in _NAMES_HOSTS and not fixed:
        raise ValueError(f"a variable cannot name the host of `{scheme}`")
    pattern = "".join(
        re.escape(literal) + (f"({_VALUE.pattern})" if index < len(variables) else "")
        for index, literal in enumerate(literals)
    )
    return UriTemplate(literals, variables, re.compile(pattern))


def offered_item(kind: ItemKind, listed: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """An item's name among its server's tools, and its definition, of what the server lists; None: it can be none.

    What changes with the content (`size`, `lastModified`), icons and `_meta` are no part of it.
    """
    match kind:
        case ItemKind.PROMPT:
            key, schema = prompt_key(_text(listed, "name")), _prompt_schema(listed.get("arguments"))
        case ItemKind.RESOURCE:
            uri = _text(listed, "uri")
            if not plain_uri(uri):
                return None
            key, schema = resource_key(uri), _schema(["uri"], ["uri"])
        case ItemKind.TEMPLATE:
            try:
                template = parse_template(_text(listed, "uriTemplate"))
            except ValueError:
                return None
            names = ["uri", *template.variables]
            key, schema = resource_key(listed["uriTemplate"]), _schema(names, names)
    if item_kind(key) is not kind or schema is None:
        return None
    definition: dict[str, Any] = {"name": key, "inputSchema": schema, "annotations": {"mcp": _described(kind, listed)}}
    for text in ("title", "description"):
        if isinstance(listed.get(text), str):
            definition[text] = listed[text]
    return key, definition


def listed_item(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What clients are listed of an item, as pinned."""
    stated = definition.get("annotations")
    known = dict(stated["mcp"]) if isinstance(stated, Mapping) and isinstance(stated.get("mcp"), Mapping) else {}
    return known | {text: definition[text] for text in ("title", "description") if definition.get(text) is not None}


def names_its_uri(key: str, arguments: Mapping[str, Any]) -> bool:
    """Whether arguments of a read that fit its schema say one thing: the URI is that of the item, with its values."""
    match item_kind(key):
        case ItemKind.RESOURCE:
            return bool(arguments["uri"] == item_name(key))
        case ItemKind.TEMPLATE:
            return bool(parse_template(item_name(key)).expand(arguments) == arguments["uri"])
        case _:
            return True


def plain_arguments_of(key: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a read, with what follows from the others: what a case of a policy need not spell out."""
    match item_kind(key):
        case ItemKind.RESOURCE:
            return {"uri": item_name(key), **given}
        case ItemKind.TEMPLATE:
            template = parse_template(item_name(key))
            uri = given.get("uri")
            if isinstance(uri, str):
                return {**(template.match(uri) or {}), **given}
            if all(isinstance(given.get(name), str) for name in template.variables):
                return {"uri": template.expand(given), **given}
            return dict(given)
        case _:
            return dict(given)


def _text(listed: Mapping[str, Any], name: str) -> str:
    value = listed.get(name)
    return value if isinstance(value, str) else ""


def _described(kind: ItemKind, listed: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        ItemKind.PROMPT: ("name",),
        ItemKind.RESOURCE: ("mimeType", "name", "uri"),
        ItemKind.TEMPLATE: ("mimeType", "name", "uriTemplate"),
    }[kind]
    found: dict[str, Any] = {name: listed[name] for name in kept if isinstance(listed.get(name), str)}
    if kind is ItemKind.PROMPT:
        found["arguments"] = [
            {name: one[name] for name in ("description", "name", "required", "title") if one.get(name) is not None}
            for one in listed.get("arguments") or ()
        ]
    noted = listed.get("annotations")
    if isinstance(noted, Mapping):
        kept_notes = {name: noted[name] for name in ("audience", "priority") if noted.get(name) is not None}
        if kept_notes:
            found["annotations"] = kept_notes
    return found


def _prompt_schema(arguments: Any) -> dict[str, Any] | None:
    """The arguments of a prompt, which are texts; None if they are not listed as the protocol has it."""
    listed = [] if arguments is None else arguments
    if not isinstance(listed, list) or len(listed) > MOST_ARGUMENTS:
        return None
    names: list[str] = []
    required: list[str] = []
    for one in listed:
        name = one.get("name") if isinstance(one, Mapping) else None
        if not isinstance(name, str) or not 0 < len(name) <= 128 or name in names:
            return None
        names.append(name)
        if one.get("required") is True:
            required.append(name)
    return _schema(names, required)


def _schema(names: Iterable[str], required: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: dict(_TEXT) for name in names},
        "required": sorted(required),
        "additionalProperties": False,
    }
