"""The record format: what is hashed, what is sealed, what can be opened and what cannot be hidden."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.audit.model import Entry, Facts, Part, StoredRecord
from accredit.audit.records import (
    EncodedRecord,
    PartBounds,
    body_of,
    disclose,
    encode,
    header_of,
    leaf_data,
    open_part,
    part_commitment,
    part_values,
    sealed_parts,
    stored_record,
    verify_disclosure,
)
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import SeededIds
from tests.audit.building import STREAM, control, decision, keys

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def _encoded(entry: Entry, *, seq: int = 5, bounds: PartBounds | None = None) -> EncodedRecord:
    return encode(
        entry,
        stream=STREAM,
        seq=seq,
        kind_seq=2,
        draw=SeededIds(3).secret,
        keys=keys(),
        bounds=bounds or PartBounds(),
    )


def _stored(record: EncodedRecord) -> StoredRecord:
    row = (record.seq, record.header, record.body, record.leaf_hash, record.sealed, record.outbox_id)
    return stored_record(STREAM, row, dict(record.wrapped))


@pytest.mark.requirement("audit:record:leaf")
def test_the_leaf_is_the_hash_of_header_and_salted_body_as_written_down() -> None:
    record = _encoded(decision(1))
    length = int.from_bytes(record.header[:2], "big")
    assert length == len(record.header) - 2
    body_hash = hashlib.sha256(b"\x03" + record.body).digest()
    entry = record.header + body_hash
    assert leaf_data(record.header, record.body) == entry
    assert record.leaf_hash == hashlib.sha256(b"\x00" + entry).digest()
    assert len(entry) <= 65_535


@pytest.mark.requirement("audit:record:header")
def test_the_header_has_exactly_its_fixed_fields_and_absent_is_null() -> None:
    fields = json.loads(_encoded(control(1)).header[2:])
    assert set(fields) == {
        "v", "stream", "seq", "kind", "kind_seq", "time", "agent", "version", "environment", "tool", "effect",
        "scope", "data_classes", "decision", "action",
    }  # fmt: skip
    assert fields["tool"] is None
    assert fields["data_classes"] is None
    assert (fields["v"], fields["stream"], fields["seq"], fields["kind_seq"]) == (1, STREAM, 5, 2)


@pytest.mark.requirement("audit:record:canonical")
def test_header_and_body_are_rfc_8785_bytes() -> None:
    for entry in (decision(1), control(2)):
        record = _stored(_encoded(entry))
        assert record.header[2:] == rfc8785.dumps(header_of(record))
        assert record.body == rfc8785.dumps(body_of(record))


@pytest.mark.requirement("audit:record:canonical")
@pytest.mark.parametrize(
    "body",
    [
        {"x": 1.5},
        {"x": 2**53},
        {"ключ": 1},
        {"x": b"raw"},
        {"x": {1: 2}},
        {"parts": {}},
        {"outbox": "x"},
        {"counted": {}},
    ],
    ids=repr,
)
def test_a_body_without_one_canonical_form_or_with_a_reserved_name_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        _encoded(decision(1, body=body))


@pytest.mark.requirement("audit:record:bounded")
@pytest.mark.parametrize(
    "entry",
    [
        decision(1, facts=Facts("Not A Kind")),
        decision(1, facts=Facts("decision", agent="a" * 9_000)),
        decision(1, body={"x": "y" * 300_000}),
        decision(1, parts=tuple(Part(f"p{i}", {}) for i in range(17))),
        decision(1, parts=(Part("twice", {}), Part("twice", {}))),
        decision(1, parts=(Part("UPPER", {}),)),
        decision(1, parts=(Part("context", {"x": float("nan")}),)),
        decision(1, parts=(Part("context", {"x": [{"y": float("inf")}]}),)),
        decision(1, parts=(Part("context", {"x": object()}),)),
    ],
    ids=range(9),
)
def test_what_is_too_large_or_not_json_is_refused(entry: Entry) -> None:
    with pytest.raises(InvalidInputError):
        _encoded(entry)


@pytest.mark.requirement("audit:parts:exact")
@given(value=st.dictionaries(st.text(max_size=8), _json, max_size=6))
@settings(max_examples=60)
def test_a_part_gives_back_exactly_the_values_sent(value: dict[str, Any]) -> None:
    record = _stored(_encoded(decision(1, parts=(Part("arguments", value),))))
    plaintext = open_part(record, "arguments", keys())
    assert json.dumps(part_values(plaintext), sort_keys=True) == json.dumps(value, sort_keys=True)


@pytest.mark.requirement("audit:parts:commitment")
@given(value=st.dictionaries(st.text(max_size=8), _json, min_size=1, max_size=6), data=st.data())
@settings(max_examples=60)
def test_one_field_can_be_opened_alone_and_nothing_else_passes_for_it(
    value: dict[str, Any], data: st.DataObject
) -> None:
    record = _stored(_encoded(decision(1, parts=(Part("arguments", value),))))
    stated = body_of(record)["parts"]["arguments"]
    commitment, pairs = bytes.fromhex(stated["commitment"]), stated["pairs"]
    path = data.draw(st.sampled_from(sorted(value)))
    shown = disclose(open_part(record, "arguments", keys()), path)
    assert json.loads(shown.value) == value[path]
    assert verify_disclosure(shown, pairs=pairs, commitment=commitment)
    for change in (
        {"value": shown.value + b" "},
        {"path": shown.path + "x"},
        {"salt": bytes(32)},
        {"index": shown.index + 1},
        {"pairs": pairs + 1},
        {"proof": (*shown.proof, bytes(32))},
    ):
        forged = type(shown)(**{name: getattr(shown, name) for name in shown.__slots__} | change)
        assert not verify_disclosure(forged, pairs=pairs, commitment=commitment)
    assert not verify_disclosure(shown, pairs=pairs + 1, commitment=commitment)


@pytest.mark.requirement("audit:parts:domains")
def test_a_pair_is_framed_so_that_path_and_value_cannot_be_shifted_into_one_another() -> None:
    record = _stored(_encoded(decision(1, parts=(Part("arguments", {"ab": 1}),))))
    shown = disclose(open_part(record, "arguments", keys()), "ab")
    commitment = bytes.fromhex(body_of(record)["parts"]["arguments"]["commitment"])
    assert commitment == hashlib.sha256(b"\x04" + shown.salt + b"\x00\x02ab1").digest()
    shifted = type(shown)("a", shown.salt, b"b1", 0, 1, ())
    assert not verify_disclosure(shifted, pairs=1, commitment=commitment)


@pytest.mark.requirement("audit:parts:sealed")
def test_parts_are_sealed_apart_under_their_own_keys_and_bound_to_their_place() -> None:
    record = _encoded(decision(1))
    assert b"c-1" not in record.header + record.body + record.sealed
    stored = _stored(record)
    assert [part.name for part in stored.parts] == ["arguments", "context", "request"]
    moved = stored_record(
        STREAM,
        (6, record.header, record.body, record.leaf_hash, record.sealed, None),
        dict(record.wrapped),
    )
    with pytest.raises(InvalidInputError):
        open_part(moved, "arguments", keys())
    wrapped = dict(record.wrapped)
    swapped = stored_record(
        STREAM,
        (5, record.header, record.body, record.leaf_hash, record.sealed, None),
        {"arguments": wrapped["context"], "context": wrapped["arguments"]},
    )
    for name in ("arguments", "context", "request", "unheard-of"):
        with pytest.raises(InvalidInputError):
            open_part(swapped, name, keys())


@pytest.mark.requirement("audit:parts:sealed")
def test_wrapping_keys_change_every_sixteen_million_records() -> None:
    entry = decision(1)
    early, late = _encoded(entry, seq=2**24 - 1), _encoded(entry, seq=2**24)
    for record in (early, late):
        assert part_values(open_part(_stored(record), "request", keys()))["tool"] == "read_customer"
    belongs_to = keys().belongs_to(2**24, "request")
    with pytest.raises(InvalidInputError):  # the wrapping key of the epoch before does not open it
        keys().unwrap(2**24 - 1, dict(late.wrapped)["request"], belongs_to)


@pytest.mark.requirement("audit:parts:ciphertext")
def test_the_body_names_the_hash_of_every_ciphertext() -> None:
    record = _encoded(decision(1))
    stated = body_of(_stored(record))["parts"]
    for name, ciphertext in sealed_parts(record.sealed):
        assert stated[name]["ciphertext"] == hashlib.sha256(ciphertext).hexdigest()
        assert set(stated[name]) == {"ciphertext", "commitment", "pairs"}


@pytest.mark.requirement("audit:parts:refused")
@given(
    value=st.dictionaries(st.text(max_size=20), st.text(max_size=3_000), max_size=12),
    other=st.dictionaries(st.text(max_size=6), st.integers(), max_size=80),
)
@settings(max_examples=60)
def test_a_refused_call_keeps_every_digest_and_at_most_four_kilobytes(
    value: dict[str, str], other: dict[str, int]
) -> None:
    entry = decision(1, parts=(Part("arguments", value), Part("context", other)), refused=True)
    record = _stored(_encoded(entry))
    stated = body_of(record)["parts"]
    kept = 0
    for name, sent in (("arguments", value), ("context", other)):
        plaintext = open_part(record, name, keys())  # the commitment over everything sent holds for what was kept
        values = part_values(plaintext)
        assert values.items() <= sent.items()
        kept += sum(
            len(json.dumps(each, ensure_ascii=False).encode()) + len(path.encode()) for path, each in values.items()
        )
        assert len(values) + stated[name].get("truncated", 0) == stated[name]["pairs"] == len(sent)
    assert kept <= 4_096


@pytest.mark.requirement("audit:parts:truncated")
def test_an_oversize_part_is_cut_with_a_marker_and_its_digest_still_binds_what_was_sent() -> None:
    value = {"a": "x" * 500, "b": "y" * 50_000, "c": "z" * 500}
    record = _stored(_encoded(decision(1, parts=(Part("arguments", value),)), bounds=PartBounds(part_bytes=20_000)))
    stated = body_of(record)["parts"]["arguments"]
    assert stated["truncated"] == 1
    plaintext = open_part(record, "arguments", keys())
    assert part_values(plaintext) == {"a": value["a"], "c": value["c"]}
    assert b"y" * 5_000 in plaintext  # its start stays readable
    # who has the value that was sent can show that it was this one: leaf and salt were kept
    at = plaintext.index(b"\x06")
    leaf, salt = plaintext[at + 1 : at + 33], plaintext[at + 33 : at + 65]
    assert leaf == hashlib.sha256(b"\x04" + salt + b"\x00\x01b" + orjson.dumps(value["b"])).digest()
    commitment = bytes.fromhex(stated["commitment"])
    assert part_commitment(plaintext, 3, commitment)
    assert not part_commitment(plaintext, 4, commitment)
    shown = disclose(plaintext, "c")
    assert verify_disclosure(shown, pairs=3, commitment=commitment)
    with pytest.raises(InvalidInputError):
        disclose(plaintext, "b")


@pytest.mark.requirement("audit:parts:truncated")
def test_a_name_too_long_to_keep_is_stated_by_its_digest() -> None:
    path = "p" * 5_000
    record = _stored(_encoded(decision(1, parts=(Part("arguments", {path: 1, "b": 2}),))))
    assert body_of(record)["parts"]["arguments"]["truncated"] == 1
    plaintext = open_part(record, "arguments", keys())
    assert part_values(plaintext) == {"b": 2}
    assert b"sha256:" + hashlib.sha256(path.encode()).hexdigest().encode() in plaintext


@pytest.mark.requirement("audit:parts:truncated")
def test_a_control_event_keeps_its_state_whole() -> None:
    value = {"row": "x" * 1_000_000}
    record = _stored(_encoded(control(1, parts=(Part("state", value),))))
    assert part_values(open_part(record, "state", keys())) == value


@pytest.mark.requirement("audit:parts:erasable")
def test_without_its_data_key_a_part_is_gone_with_its_salts_and_the_leaf_stays() -> None:
    record = _encoded(decision(1))
    row = (record.seq, record.header, record.body, record.leaf_hash, record.sealed, None)
    remaining = dict(record.wrapped)
    del remaining["arguments"]
    erased = stored_record(STREAM, row, remaining)
    with pytest.raises(InvalidInputError):
        open_part(erased, "arguments", keys())
    assert part_values(open_part(erased, "request", keys()))["tool"] == "read_customer"
    assert hashlib.sha256(b"\x00" + leaf_data(record.header, record.body)).digest() == record.leaf_hash


@pytest.mark.requirement("audit:parts:tamper")
def test_no_changed_byte_of_a_sealed_part_or_its_key_opens() -> None:
    record = _encoded(decision(1, parts=(Part("context", {"a": 1}),)))
    row = (record.seq, record.header, record.body, record.leaf_hash, record.sealed, None)
    wrapped = dict(record.wrapped)["context"]
    for at in range(len(wrapped)):
        changed = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
        with pytest.raises(InvalidInputError):
            open_part(stored_record(STREAM, row, {"context": changed}), "context", keys())
    start = len(record.sealed) - len(sealed_parts(record.sealed)[0][1])
    for at in range(start, len(record.sealed)):
        changed = record.sealed[:at] + bytes([record.sealed[at] ^ 1]) + record.sealed[at + 1 :]
        with pytest.raises(InvalidInputError):
            open_part(stored_record(STREAM, (*row[:4], changed, None), {"context": wrapped}), "context", keys())
