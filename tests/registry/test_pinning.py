"""Pinned definitions: one canonical text, one digest, and nothing taken over silently."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.model import Receipt
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import ServerName, tool_id
from accredit.registry.errors import ManifestError
from accredit.registry.pinning import compare, definition_digest, definition_text, read_definition
from accredit.registry.service import ApplyOutcome
from tests.registry.fleet import ADMIN, READ_CUSTOMER, Fleet, changed, definition, example, server_document

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@pytest.mark.requirement("registry:pin:first")
@given(_values)
def test_the_canonical_text_survives_being_read_and_written_by_anybody(schema: Any) -> None:
    one = {"name": "t", "inputSchema": schema}
    text = definition_text(one)
    assert definition_text(json.loads(json.dumps(one, indent=2))) == text
    assert text.encode() == rfc8785.dumps({name: value for name, value in one.items() if value is not None})
    known = read_definition(text, definition_digest(one))
    assert known is not None
    assert definition_text(known) == text


def test_order_of_keys_absent_fields_and_the_spelling_of_whole_numbers_do_not_count() -> None:
    one = {"name": "t", "title": None, "inputSchema": {"a": 1.0, "b": -0.0, "c": [1e3]}, "icons": ["x"]}
    other = {"inputSchema": {"c": [1000], "b": 0, "a": 1}, "name": "t"}
    assert definition_digest(one) == definition_digest(other)


@pytest.mark.parametrize("field", ["name", "title", "description", "inputSchema", "outputSchema", "annotations"])
def test_a_change_of_any_field_that_counts_changes_the_digest(field: str) -> None:
    full = dict.fromkeys(("name", "title", "description", "inputSchema", "outputSchema", "annotations"), "x")
    assert definition_digest({**full, field: "y"}) != definition_digest(full)


@pytest.mark.requirement("registry:pin:bounds")
@pytest.mark.parametrize(
    "schema",
    [
        {"description": "x" * 70_000},
        {"maximum": float("inf")},
        {"minimum": 2**70},
        {"maximum": 2**53},
        {"title": "\ud800"},
        {"properties": {"\ud800": {}}},
    ],
    ids=["huge", "infinite", "beyond 64 bits", "beyond 2^53", "no unicode", "no unicode in a key"],
)
def test_definitions_without_a_bounded_canonical_text_are_refused(schema: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        definition_text(definition("t", schema))
    assert refused.value.code is Code.SCHEMA_REFUSED


def test_a_large_float_that_was_pinned_is_the_same_when_it_is_read_again() -> None:
    # RFC 8785 writes it in digits: read as an integer it would be one that nothing can be pinned with
    one = definition("t", {"maximum": 1e17, "minimum": -1e22})
    known = read_definition(definition_text(one), definition_digest(one))
    assert known is not None
    assert definition_digest(known) == definition_digest(one)
    assert known["inputSchema"]["maximum"] == 1e17


@pytest.mark.requirement("registry:pin:bounds")
def test_a_definition_nested_beyond_the_bound_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"items": schema}
    with pytest.raises(InvalidInputError, match="nested"):
        definition_text(definition("t", schema))


def test_a_stored_text_that_is_not_the_pinned_one_reads_as_nothing() -> None:
    text = definition_text(READ_CUSTOMER)
    assert read_definition(text.replace("Reads", "Sends"), definition_digest(READ_CUSTOMER)) is None
    assert read_definition(text, Digest("sha256:" + "0" * 64)) is None


@pytest.mark.requirement("registry:pin:first")
def test_the_first_registration_pins_every_listed_tool_and_no_other() -> None:
    fleet = Fleet.registered(agent=False)
    server = fleet.registry.catalogue.server(ServerName("crm"))
    assert server is not None
    assert sorted(server.tools) == ["add_note", "read_customer", "search_orders"]
    tool = server.tools["read_customer"]
    assert tool.definition == {key: value for key, value in READ_CUSTOMER.items() if value is not None}
    assert tool.definition_digest == definition_digest(READ_CUSTOMER)
    assert fleet.kinds().count("tool.pinned") == 3
    pinned = next(change for change in fleet.control.events if change.facts.tool == tool.id)
    assert (pinned.facts.effect, pinned.facts.data_classes) == ("read", ("personal",))
    drift = compare(server.tools, fleet.offered.tools)
    assert (drift.changed, drift.added, drift.missing) == ((), ("unlisted",), ())


@pytest.mark.requirement("registry:pin:changed")
def test_a_changed_definition_is_not_taken_over_by_applying_again() -> None:
    fleet = Fleet.registered(agent=False)
    pinned = definition_digest(READ_CUSTOMER)
    fleet.offered.tools["read_customer"] = {**READ_CUSTOMER, "description": "Also mails it out."}
    (same,) = fleet.apply(server_document())
    assert same.outcome is ApplyOutcome.UNCHANGED
    # not by another price, not by dropping the tool and listing it again, not beside a tool that is new
    fleet.apply(changed(server_document(), "spec.tools.read_customer.price", "1 USD"))
    fleet.apply(changed(server_document(), "spec.tools.read_customer", ...))
    listed = changed(server_document(), "spec.tools.unlisted", {"effect": "read", "data": []})
    (again,) = fleet.apply(listed)
    assert again.outcome is ApplyOutcome.UPDATED
    server = fleet.registry.catalogue.server(ServerName("crm"))
    assert server is not None
    assert server.tools["read_customer"].definition_digest == pinned
    assert "unlisted" in server.tools
    drift = compare(server.tools, fleet.offered.tools)
    assert drift.changed == ("read_customer",)
    assert drift


@pytest.mark.requirement("registry:pin:changed")
def test_a_repin_is_explicit_and_recorded_with_both_digests() -> None:
    fleet = Fleet.registered(agent=False)
    before = definition_digest(READ_CUSTOMER)
    fleet.offered.tools["read_customer"] = {**READ_CUSTOMER, "description": "Reads it all."}
    repinned = asyncio.run(fleet.registry.repin(ServerName("crm"), None, ADMIN))
    assert isinstance(repinned, tuple)
    (one,) = repinned
    assert one.before == before
    assert one.after == definition_digest(fleet.offered.tools["read_customer"])
    event = fleet.control.events[-1]
    assert event.facts.kind == "tool.repinned"
    stated = {"after": one.after, "before": one.before, "flags": [], "tool": tool_id("crm", "read_customer")}
    assert event.body == stated
    assert event.actor.basis == "single-admin"
    tool = fleet.registry.catalogue.tool(one.tool)
    assert tool is not None
    assert tool.definition["description"] == "Reads it all."
    assert asyncio.run(fleet.registry.repin(ServerName("crm"), None, ADMIN)) == ()


@pytest.mark.requirement("registry:pin:changed")
def test_two_repins_at_once_do_not_overwrite_each_other_silently() -> None:
    fleet = Fleet.registered(agent=False)
    fleet.offered.tools["read_customer"] = {**READ_CUSTOMER, "description": "Reads it all."}
    original = fleet.control.transact
    raced = False

    async def transact(build: Any) -> Receipt | None:
        nonlocal raced
        if not raced:
            raced = True
            await fleet.registry.repin(ServerName("crm"), "read_customer", ADMIN)
        return await original(build)

    fleet.control.transact = transact  # type: ignore[method-assign] # interleaves a second administrator
    with pytest.raises(InvalidInputError, match="changed meanwhile"):
        asyncio.run(fleet.registry.repin(ServerName("crm"), "read_customer", ADMIN))
    assert fleet.kinds().count("tool.repinned") == 1


def test_a_repin_of_what_is_not_there_is_refused_by_name() -> None:
    fleet = Fleet.registered(agent=False)
    for server, tool in (("erp", None), ("crm", "unlisted")):
        with pytest.raises(NotFoundError):
            asyncio.run(fleet.registry.repin(ServerName(server), tool, ADMIN))
    del fleet.offered.tools["read_customer"]
    with pytest.raises(InvalidInputError, match="does not offer"):
        asyncio.run(fleet.registry.repin(ServerName("crm"), None, ADMIN))


@pytest.mark.requirement("registry:pin:bounds")
def test_a_repin_to_a_schema_that_cannot_be_judged_changes_nothing() -> None:
    fleet = Fleet.registered(agent=False)
    fleet.offered.tools["add_note"] = definition("add_note", description="new")
    bad = {"type": "object", "properties": {"a": {"$ref": "https://evil.example.com/s.json"}}}
    fleet.offered.tools["read_customer"] = definition("read_customer", bad)
    events = len(fleet.control.events)
    with pytest.raises(InvalidInputError) as refused:
        asyncio.run(fleet.registry.repin(ServerName("crm"), None, ADMIN))
    assert refused.value.code is Code.SCHEMA_REFUSED
    assert len(fleet.control.events) == events


@pytest.mark.requirement("registry:pin:bounds")
def test_a_server_that_is_down_or_lies_registers_nothing() -> None:
    def offering(fleet: Fleet, case: str) -> None:
        match case:
            case "down":
                fleet.offered.down = True
            case "too many tools":
                fleet.offered.tools |= {f"t{n}": definition(f"t{n}") for n in range(10_000)}
            case "another name":
                fleet.offered.tools["read_customer"] = definition("delete_customer")
            case "not offered":
                del fleet.offered.tools["read_customer"]
            case "huge":
                fleet.offered.tools["read_customer"] = definition("read_customer", description="x" * 100_000)
            case "no schema":
                fleet.offered.tools["read_customer"] = {"name": "read_customer"}

    for case, kind, code in (
        ("down", UnavailableError, Code.UPSTREAM_UNREACHABLE),
        ("too many tools", UnavailableError, Code.UPSTREAM_OVERSIZED),
        ("another name", UnavailableError, Code.UPSTREAM_INVALID),
        ("not offered", ManifestError, Code.TOOL_UNKNOWN),
        ("huge", ManifestError, Code.SCHEMA_REFUSED),
        ("no schema", ManifestError, Code.SCHEMA_REFUSED),
    ):
        fleet = Fleet()
        offering(fleet, case)
        with pytest.raises(kind) as refused:
            fleet.apply(*example("people"), server_document())
        assert isinstance(refused.value, AccreditError), case
        assert refused.value.code is code, case
        assert "crm" in refused.value.message, case
        assert fleet.control.events == [], case


def test_a_server_is_not_asked_again_when_all_its_tools_are_pinned() -> None:
    fleet = Fleet.registered(agent=False)
    assert [server.tools for server in fleet.offered.asked] == [{}]
    fleet.offered.down = True
    assert fleet.apply(server_document())[0].outcome is ApplyOutcome.UNCHANGED
