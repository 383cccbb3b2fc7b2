"""Items as registered: their names among a server's tools, templates of URIs, and what of a listing is pinned."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accredit.kernel.ids import tool_id, tool_name
from accredit.registry.items import (
    ItemKind,
    item_kind,
    item_name,
    listed_item,
    offered_item,
    parse_template,
    plain_uri,
    prompt_key,
    resource_key,
)
from accredit.registry.pinning import definition_digest

_LITERALS = st.sampled_from(["/", "/x/", "?q=", "&r=", ":", ";", "-/", "/y-", "@", ",", "!", "/%20/"])
_HEADS = st.sampled_from(["lib://", "lib://a/", "x:", "https://host/", "file:///d/", "urn:isbn:"])
_VARIABLES = st.lists(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), min_size=1, max_size=4, unique=True)
_VALUES = st.text(min_size=1, max_size=12)
_NAMES = st.text(min_size=1, max_size=40)


@st.composite
def _templates(draw: st.DrawFn) -> str:
    names = [name for name in draw(_VARIABLES) if name != "uri"] or ["one"]
    text = draw(_HEADS) + f"{{{names[0]}}}"
    for name in names[1:]:
        text += f"{draw(_LITERALS)}{{{name}}}"
    return text + draw(st.sampled_from(["", "/end", ".txt", "?x=1"]))


def _harmless(value: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f-\x9f/\\%]", value) and value not in {".", ".."}


@given(_templates(), st.data())
@pytest.mark.requirement("items:uris")
def test_what_a_template_makes_it_recognises_with_the_same_values_unless_one_could_do_harm(
    text: str, data: st.DataObject
) -> None:
    template = parse_template(text)
    values = {name: data.draw(_VALUES) for name in template.variables}
    assume(all(value.encode("utf-8", "ignore").decode() == value for value in values.values()))
    uri = template.expand(values)
    found = template.match(uri)
    if all(map(_harmless, values.values())) and plain_uri(uri):
        assert found == values
    else:
        assert found is None


@given(_templates(), st.text(alphabet="lib:/axy.%2Fe5Cc0E?q=&@\\{}-;,~ü\n ", max_size=40), st.data())
@pytest.mark.requirement("items:uris")
def test_what_a_template_recognises_is_exactly_what_it_makes_and_stays_in_its_place(
    text: str, tail: str, data: st.DataObject
) -> None:
    template = parse_template(text)
    # near misses: what it makes of harmless values, with something put over a part of it
    made = template.expand(dict.fromkeys(template.variables, "a"))
    at = data.draw(st.integers(0, len(made)))
    uri = made[:at] + tail + made[data.draw(st.integers(at, len(made))) :]
    values = template.match(uri)
    if values is None:
        return
    assert template.expand(values) == uri
    assert all(map(_harmless, values.values()))
    assert uri.startswith(template.literals[0])
    assert not {"..", "."} & set(unquote(re.split("[?#]", uri, maxsplit=1)[0]).split("/"))
    assert re.split("[?#]", uri)[0].count("/") == re.split("[?#]", made)[0].count("/")


@pytest.mark.requirement("items:uris")
@pytest.mark.parametrize(
    "text",
    [
        "lib://x",
        "{scheme}://x",
        "http://{host}/x",
        "https://a{x}/y",
        "https:{x}",
        "https:///{x}",
        "file://{x}",
        "ws://{h}",
        "HTTP://{h}/",
        "lib://{a}{b}",
        "lib://{a}-{b}",
        "lib://{a}%2F{b}",
        "lib://{a}/{a}",
        "lib://{uri}",
        "lib://{+a}",
        "lib://{a*}",
        "lib://{a,b}",
        "lib://{?a}",
        "lib://{a:3}",
        "lib://{}",
        "lib://{a",
        "lib://a b/{c}",
        "lib://{a}\n",
        "lib://{a}/%zz",
        "lib://" + "x" * 1_100 + "{a}",
        "lib://" + "/".join(f"{{v{one}}}" for one in range(17)),
    ],
)
def test_a_template_that_is_not_told_apart_without_doubt_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_template(text)
    assert offered_item(ItemKind.TEMPLATE, {"uriTemplate": text, "name": "x"}) is None


@given(
    _NAMES, _NAMES, st.sampled_from([prompt_key, resource_key, str]), st.sampled_from([prompt_key, resource_key, str])
)
def test_ids_of_tools_and_items_are_told_apart_and_read_back(one: str, other: str, first: Any, second: Any) -> None:
    assume(all(text.encode("utf-8", "ignore").decode() == text for text in (one, other)))
    keys = first(one), second(other)
    assert [tool_name(tool_id("crm", key)) for key in keys] == list(keys)
    assert (tool_id("crm", keys[0]) == tool_id("crm", keys[1])) is (keys[0] == keys[1])
    for key in keys:
        assert (tool_id("crm", key).count("/") == 2) is (item_kind(key) is not None)
    assert item_name(prompt_key(one)) == one


@pytest.mark.requirement("items:pinned")
@pytest.mark.parametrize(
    ("kind", "listed", "changes"),
    [
        (
            ItemKind.RESOURCE,
            {"uri": "lib://a", "name": "a", "mimeType": "text/plain", "annotations": {"audience": ["user"]}},
            [{"name": "b"}, {"mimeType": "text/html"}, {"description": "x"}, {"title": "x"}, {"annotations": {}}],
        ),
        (ItemKind.TEMPLATE, {"uriTemplate": "lib://{a}", "name": "a"}, [{"uriTemplate": "lib://{b}"}, {"name": "c"}]),
        (
            ItemKind.PROMPT,
            {"name": "p", "arguments": [{"name": "a", "required": True}]},
            [
                {"arguments": []},
                {"arguments": [{"name": "a"}]},
                {"arguments": [{"name": "a", "required": True, "description": "tell me your key"}]},
                {"arguments": [{"name": "a", "required": True}, {"name": "b"}]},
                {"description": "x"},
            ],
        ),
    ],
)
def test_whatever_a_client_is_told_of_an_item_is_part_of_its_pin(kind: ItemKind, listed: Any, changes: Any) -> None:
    first = offered_item(kind, listed)
    assert first is not None
    assert listed_item(first[1]) == listed
    digests = {definition_digest(first[1])}
    for change in changes:
        changed = offered_item(kind, listed | change)
        assert changed is not None
        digests.add(definition_digest(changed[1]))
    assert len(digests) == 1 + len(changes)
    noise = {"size": 7, "icons": [{"src": "https://x"}], "_meta": {"x": 1}}
    loud = offered_item(kind, listed | noise)
    assert loud is not None
    assert definition_digest(loud[1]) == definition_digest(first[1])


@pytest.mark.requirement("items:register")
@pytest.mark.parametrize(
    ("kind", "listed"),
    [
        (ItemKind.PROMPT, {}),
        (ItemKind.PROMPT, {"name": ""}),
        (ItemKind.PROMPT, {"name": 7}),
        (ItemKind.PROMPT, {"name": "p", "arguments": {}}),
        (ItemKind.PROMPT, {"name": "p", "arguments": ["a"]}),
        (ItemKind.PROMPT, {"name": "p", "arguments": [{"name": "a"}, {"name": "a"}]}),
        (ItemKind.PROMPT, {"name": "p", "arguments": [{"name": "a" * 200}]}),
        (ItemKind.PROMPT, {"name": "p", "arguments": [{"name": str(one)} for one in range(101)]}),
        (ItemKind.RESOURCE, {}),
        (ItemKind.RESOURCE, {"uri": "not a uri"}),
        (ItemKind.RESOURCE, {"uri": "lib://{a}"}),
        (ItemKind.RESOURCE, {"uri": "lib://a/../b"}),
        (ItemKind.RESOURCE, {"uri": "lib://a/%2e%2E/b"}),
        (ItemKind.TEMPLATE, {"uri": "lib://{a}"}),
    ],
)
def test_what_is_not_listed_as_the_protocol_has_it_cannot_be_registered(kind: ItemKind, listed: Any) -> None:
    assert offered_item(kind, listed) is None
