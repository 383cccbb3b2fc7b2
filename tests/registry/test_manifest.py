"""Manifests: strict, bounded, every fault at once, and a published schema that agrees."""

from __future__ import annotations

import contextlib
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.errors import ManifestError
from accredit.registry.manifest import KINDS, data_classes, read_manifests, schema
from accredit.registry.reading import read_documents
from tests.registry.fleet import (
    MANIFESTS,
    agent_document,
    changed,
    example,
    group_document,
    read,
    server_document,
)

PERSON = {"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": "dana@example.com"}}
TEAM = {
    "apiVersion": "accredit/v1",
    "kind": "Team",
    "metadata": {"name": "customer-support"},
    "spec": {"zones": ["Europe/Berlin"]},
}
ISSUER_USER, ISSUER_TASK = example("issuers")
GROUP = group_document("night-shift", ["dana@example.com"], ["others"])
AGREEMENT = {
    "apiVersion": "accredit/v1",
    "kind": "Agreement",
    "metadata": {"name": "dpa-2026-14"},
    "spec": {
        "provider": "anthropic",
        "covers": ["personal"],
        "document": "sha256:" + "0" * 64,
        "expires": "2027-06-30",
    },
}
VALID = {
    "Agent": agent_document(),
    "Agreement": AGREEMENT,
    "Group": GROUP,
    "Person": PERSON,
    "Team": TEAM,
    "ToolServer": server_document(),
}

REFUSED: list[tuple[str, dict[str, Any]]] = [
    (f"{document['kind']} {path} = {str(value)[:40]!r}", changed(document, path, value))
    for document, path, value in [
        (server_document(), "spec.resources", {}),
        (server_document(), "spec.resources", {"no uri": {"data": []}}),
        (server_document(), "spec.resources", {"lib://{+path}": {"data": []}}),
        (server_document(), "spec.resources", {"lib://{a,b}": {"data": []}}),
        (server_document(), "spec.resources", {"{scheme}://x": {"data": []}}),
        (server_document(), "spec.resources", {"lib://%zz": {"data": []}}),
        (server_document(), "spec.resources", {"lib://x": {"data": [], "effect": "write"}}),
        (server_document(), "spec.resources", {"lib://x": {"data": [], "fields": {"iban": "personal"}}}),
        (server_document(), "spec.prompts", {"p": {}}),
        (server_document(), "spec.prompts", {" p": {"data": []}}),
        (server_document(), "spec.tools", {"prompts/p": {"effect": "read", "data": []}}),
        (server_document(), "spec.tools", {"resources/lib://x": {"effect": "read", "data": []}}),
        (server_document(), "spec.tools", ...),
        (changed(server_document(), "spec.prompts", {"p": {"data": []}}), "spec.openapi", "/openapi.json"),
        (agent_document(), "spec.tools", [{"server": "crm"}]),
        (agent_document(), "spec.tools", [{"server": "crm", "allow": ["prompts/p"]}]),
        (agent_document(), "spec.tools", [{"server": "crm", "resources": []}]),
        (agent_document(), "spec.tools", [{"server": "crm", "resources": ["x"]}]),
        (agent_document(), "spec.tools", [{"server": "crm", "prompts": ["p", "p"]}]),
        (PERSON, "spec.email", "dana"),
        (PERSON, "spec.email", "dana@exаmple.com"),  # noqa: RUF001 - a Cyrillic letter that looks Latin
        (PERSON, "spec.email", "dana@example.com\n"),
        (PERSON, "spec.nick", "d"),
        (PERSON, "spec.controlledBy", []),
        (PERSON, "spec.controlledBy", ["dana"]),
        (PERSON, "spec.controlledBy", ["group:"]),
        (PERSON, "spec.controlledBy", ["group:Night"]),
        (PERSON, "spec.controlledBy", ["group:night\n"]),
        (PERSON, "spec.controlledBy", ["dana@example.com", "dana@example.com"]),
        (PERSON, "spec.bot", True),
        (GROUP, "metadata.name", "Night"),
        (GROUP, "metadata.name", "n\u0456ght"),
        (GROUP, "spec.members", ["group:others"]),
        (GROUP, "spec.members", ["d\u0430na@example.com"]),
        (GROUP, "spec.members", ["dana@example.com", "dana@example.com"]),
        (GROUP, "spec.groups", ["others\u200b"]),
        (GROUP, "spec.roles", ["admin"]),
        (AGREEMENT, "spec.covers", []),
        (AGREEMENT, "spec.covers", ["pii"]),
        (AGREEMENT, "spec.document", "sha256:0"),
        (AGREEMENT, "spec.provider", "anthr\u202eopic"),
        (AGREEMENT, "spec.expires", "never"),
        (PERSON, "apiVersion", "accredit/v2"),
        (TEAM, "metadata.name", "Customer"),
        (TEAM, "metadata.name", "a.b"),
        (TEAM, "metadata.name", "a/b"),
        (TEAM, "metadata.name", "-a"),
        (TEAM, "metadata.name", "a" * 64),
        (TEAM, "metadata.name", "tеam"),  # noqa: RUF001 - a Cyrillic letter that looks Latin
        (TEAM, "metadata.name", "team\n"),
        (TEAM, "spec.zones", ["Europe/Berlin", "Europe/Berlin"]),
        (TEAM, "spec.zones", "Europe/Berlin"),
        (server_document(), "spec.url", "http://crm.example.com/mcp"),
        (server_document(), "spec.url", "https://user:pass@crm.example.com/mcp"),
        (server_document(), "spec.url", "https://crm.example.com/mcp?x=1"),
        (server_document(), "spec.url", "file:///etc/passwd"),
        (server_document(), "spec.tools", {}),
        (server_document(), "spec.tools.read_customer.effect", "look"),
        (server_document(), "spec.tools.read_customer.scope", "own"),
        (server_document(), "spec.tools.read_customer.data", ["pii"]),
        (server_document(), "spec.tools.read_customer.price", 0.002),
        (server_document(), "spec.tools.read_customer.price", "0.002"),
        (server_document(), "spec.tools.read_customer.price", "99999999 USD"),
        (server_document(), "spec.tools.read_customer.readOnly", True),
        *(
            (server_document(), f"spec.tools.{name}", {"effect": "read", "data": []})
            for name in ("a\u200bb", "a\u202eb", "a\U000e0041", "a\tb", "a\u00a0b", " a", "a ", "", "x" * 129, "\u3164")
        ),
        (ISSUER_USER, "spec.jwks.keys.0.d", "c2VjcmV0"),
        (ISSUER_USER, "spec.jwks.keys.0.kty", "oct"),
        (ISSUER_USER, "spec.jwks.keys.0.crv", "secp256k1"),
        (ISSUER_USER, "spec.jwks.keys", []),
        (ISSUER_USER, "spec.statusUrl", "https://tickets.example.com/status"),
        (ISSUER_TASK, "spec.rolesClaim", "roles"),
        (ISSUER_TASK, "spec.claims", {"customer_id": "number"}),
        (ISSUER_TASK, "spec.claims", {"__entity": "string"}),
        (agent_document(), "metadata.environment", "prod"),
        (agent_document(), "spec.owner", ...),
        (agent_document(), "spec.purpose", "  "),
        (agent_document(), "spec.purpose", "a\x00b"),
        (agent_document(), "spec.purpose", "a" * 2001),
        (agent_document(), "spec.tools.0.allow", []),
        (agent_document(), "spec.tools.0.when.userRole", "a\u202eb"),
        (agent_document(), "spec.tools.0.when.sameAs", {"customer_id": "task.customer_id"}),
        (agent_document(), "spec.tools.0.when.sameAs", {"input.customer_id": "user.customer_id"}),
        (agent_document(), "spec.tools.0.when.unless", "x"),
        (agent_document(), "spec.hours.window", "8:00-18:00"),
        (agent_document(), "spec.hours.window", "08:00-25:00"),
        (agent_document(), "spec.hours.days", ["monday"]),
        (agent_document(), "spec.prompt.digest", "sha256:abc"),
        (agent_document(), "spec.autonomy", "free"),
        (agent_document(), "spec.inputs", []),
        (agent_document(), "spec.use.annex3", "no"),
        (agent_document(), "spec.use.annex3", 0),
        (agent_document(), "spec.stores.0.kind", "vector"),
        (agent_document(), "spec.limits.concurrency", 0),
        (agent_document(), "spec.limits.concurrency", "4"),
        (agent_document(), "spec.limits.calls.perMinute", 1.5),
        (agent_document(), "spec.limits.timeout.call", "30"),
        (agent_document(), "spec.expires", "2027-02-30"),
        (agent_document(), "spec.expires", 20270630),
    ]
]

ACCEPTED: list[dict[str, Any]] = [
    *VALID.values(),
    ISSUER_USER,
    ISSUER_TASK,
    changed(server_document(), "spec.tools", {"crm.read-customer/v2 é名": {"effect": "write", "data": []}}),
    changed(server_document(), "spec.tools", {"prompts": {"effect": "read", "data": []}}),
    changed(server_document(), "spec.resources", {"lib://x/{a}?b={c}": {"data": [], "price": "0 USD"}}),
    changed(changed(server_document(), "spec.prompts", {"a b": {"data": ["personal"]}}), "spec.tools", ...),
    changed(agent_document(), "spec.tools", [{"server": "crm", "prompts": ["p"], "when": {"userRole": "x"}}]),
    changed(agent_document(), "spec.tools", [{"server": "crm", "resources": ["lib://x/{a}"], "allow": ["t"]}]),
    changed(server_document(), "spec.url", "https://[::1]:8443/mcp"),
    changed(agent_document(), "spec.limits", ...),
    changed(agent_document(), "spec.backupOwner", ...),
    changed(agent_document(), "spec.hours", ...),
    changed(agent_document(), "spec.tools.0.when", ...),
    changed(agent_document(), "spec.tools", []),
    changed(agent_document(), "spec.purpose", "Zeile eins\nZeile zwei"),
]


def _published(kind: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator(
        schema(kind), pattern_options=jsonschema_rs.RegexOptions(), offline=True, validate_formats=True
    )


@pytest.mark.requirement("registry:manifest:strict")
@pytest.mark.parametrize(("case", "document"), REFUSED, ids=[case for case, _ in REFUSED])
def test_form_and_published_schema_refuse_the_same(case: str, document: dict[str, Any]) -> None:
    with pytest.raises(ManifestError) as refused:
        read(document)
    assert refused.value.code is Code.MANIFEST_INVALID
    assert not _published(document["kind"]).is_valid(document), case


@pytest.mark.requirement("registry:manifest:schema")
@pytest.mark.parametrize("document", ACCEPTED, ids=lambda document: f"{document['kind']}")
def test_form_and_published_schema_accept_the_same(document: dict[str, Any]) -> None:
    assert len(read(document)) == 1
    assert [error.message for error in _published(document["kind"]).iter_errors(document)] == []


@pytest.mark.requirement("registry:manifest:schema")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_publishes_a_schema_with_an_id_a_title_and_descriptions(kind: str) -> None:
    published = schema(kind)
    assert published["$id"] == f"/api/v1/schemas/{kind.lower()}.json"
    assert published["title"] == kind
    assert published["description"]
    assert published["additionalProperties"] is False


def test_data_classes_are_those_of_the_data_file() -> None:
    assert set(data_classes()) == {
        "public", "internal", "confidential", "personal", "financial", "phi", "special", "secret",
    }  # fmt: skip


@pytest.mark.requirement("registry:manifest:all-faults")
def test_every_fault_of_every_document_is_told_with_path_line_and_hint() -> None:
    text = (MANIFESTS / "support-copilot.yaml").read_text()
    text = text.replace("owner: dana", "ownr: dana", 1).replace("30s", "30x").replace("[employees]", "[martians]")
    with pytest.raises(ManifestError) as refused:
        read_manifests(f"{text}\n---\nkind: Nothing\n---\n- a list\n".encode())
    found = {(fault.document, fault.path): fault for fault in refused.value.faults}
    assert set(found) == {
        ("Agent support-copilot", "spec.ownr"),
        ("Agent support-copilot", "spec.owner"),
        ("Agent support-copilot", "spec.limits.timeout.call"),
        ("Agent support-copilot", "spec.inputs[0]"),
        ("document 2", "kind"),
        ("document 3", ""),
    }
    assert found["Agent support-copilot", "spec.ownr"].hint == "did you mean `owner`?"
    assert found["Agent support-copilot", "spec.ownr"].line == 7
    assert "`500ms`, `30s`" in found["Agent support-copilot", "spec.limits.timeout.call"].hint
    assert "and 5 more" in refused.value.message


@pytest.mark.requirement("registry:manifest:strict")
def test_one_tool_granted_twice_is_refused_because_the_second_grant_would_widen_the_first() -> None:
    document = agent_document()
    document["spec"]["tools"].append({"server": "crm", "allow": ["read_customer"]})
    with pytest.raises(ManifestError, match="granted twice"):
        read(document)


@pytest.mark.requirement("registry:manifest:unicode")
def test_names_of_tools_not_in_normal_form_are_refused_and_texts_are_normalised() -> None:
    with pytest.raises(ManifestError, match="normalisation form C"):
        read(changed(server_document(), "spec.tools", {"cafe\u0301": {"effect": "read", "data": []}}))
    (agent,) = read(changed(agent_document(), "spec.purpose", "cafe\u0301"))
    assert agent.kind == "Agent"
    assert agent.spec.purpose == "caf\u00e9"


def test_a_fault_cannot_imitate_the_screen_around_it() -> None:
    with pytest.raises(ManifestError) as refused:
        read(changed(agent_document(), "spec.\u202eevil\x1b[2J", 1))
    assert refused.value.message.isascii()
    assert "\x1b" not in refused.value.message


@pytest.mark.requirement("registry:reading:strict")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "repeated"),
        ("a: {b: 1, b: 2}", "repeated"),
        ("a: &x 1", "anchor"),
        ("a: [&x [1], *x]", "anchor"),
        ("a: *x", "alias"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !!binary aGk=", "tag"),
        ("? [a]\n: b", "not a text"),
        ("a: b: c", "not YAML"),
        ("a: \x00", "not YAML"),
        ("a: " + "[" * 100_000, "deeper"),
        ("a: [" + "b," * 100_001 + "]", "more than 100000 values"),
        ("---\na: 1\n" * 1_001, "more than 1000 documents"),
        ("a: " + "b" * 2**20, "bytes"),
        ('{"a": 1, "a": 2}', "repeats a key"),
        ('{"a": ' * 40 + "1" + "}" * 40, "deeper"),
        ("{a: 1}", "not JSON"),
    ],
)
def test_ambiguous_oversized_and_deep_files_are_refused_with_the_cause(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_documents(text.encode())


@pytest.mark.requirement("registry:reading:strict")
def test_plain_scalars_are_those_of_yaml_1_2() -> None:
    (raw,) = read_documents(b"a: [no, on, 2027-06-30, 10:30, 1_000, 0x10, true, ~, 7, '7', <<]")
    assert raw.value == {"a": ["no", "on", "2027-06-30", "10:30", "1_000", "0x10", True, None, 7, "7", "<<"]}


def test_an_empty_file_is_told_to_hold_no_manifest() -> None:
    with pytest.raises(InvalidInputError, match="no manifest"):
        read_manifests(b"# only a comment\n")


@pytest.mark.requirement("registry:reading:strict")
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_make_reading_fail_otherwise_than_by_refusing(data: bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        read_manifests(data)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.requirement("registry:manifest:strict")
@given(st.sampled_from(sorted(VALID)), _json, st.data())
def test_whatever_stands_in_a_field_the_form_and_the_schema_agree(kind: str, value: Any, data: st.DataObject) -> None:
    spec = VALID[kind]["spec"]
    document = changed(VALID[kind], f"spec.{data.draw(st.sampled_from(sorted(spec)))}", value)
    try:
        text = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return
    value = orjson.loads(text)
    try:
        read_manifests(text)
        accepted = True
    except InvalidInputError:
        accepted = False
    assert accepted == _published(kind).is_valid(value)
