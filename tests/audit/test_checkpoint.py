"""Signed heads: one spelling, one signer, nothing taken on trust."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.checkpoint import CheckpointSigner, CheckpointVerifier, log_origin, parse_checkpoint
from accredit.kernel.errors import InvalidInputError
from tests.audit.building import signer

_ROOT = bytes(range(32))
_ORIGIN = log_origin("ins_test", "str_test")


@pytest.mark.requirement("audit:checkpoint:form")
def test_a_checkpoint_is_a_signed_note_of_origin_size_and_root() -> None:
    note = signer().sign(42, _ROOT)
    text, _, line = note.decode().partition("\n\n")
    assert text == f"{_ORIGIN}\n42\n{base64.b64encode(_ROOT).decode()}"
    dash, name, signature = line.removesuffix("\n").split(" ")
    assert (dash, name) == ("—", _ORIGIN)
    assert len(base64.b64decode(signature)) == 4 + 64
    head = CheckpointVerifier(signer().vkey).verify(note)
    assert (head.origin, head.size, head.root) == (_ORIGIN, 42, _ROOT)


@pytest.mark.requirement("audit:checkpoint:form")
def test_a_published_verifier_key_is_read_and_its_id_checked() -> None:
    # the example key of the Go note package, as published there
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    verifier = CheckpointVerifier(vkey)
    assert verifier.origin == "PeterNeumann"
    with pytest.raises(InvalidInputError):
        CheckpointVerifier(vkey.replace("c74f20a3", "c74f20a4"))


@pytest.mark.requirement("audit:checkpoint:signature")
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_changed_bit_of_a_checkpoint_verifies(at: int, bit: int) -> None:
    note = signer().sign(42, _ROOT)
    at %= len(note)
    changed = note[:at] + bytes([note[at] ^ (1 << bit)]) + note[at + 1 :]
    with pytest.raises(InvalidInputError):
        signer().verifier().verify(changed)


@pytest.mark.requirement("audit:checkpoint:form")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n42\n", "\n042\n"),
        ("\n42\n", "\n+42\n"),
        ("\n42\n", "\n4\uff12\n"),
        ("\n42\n", "\n42\nextension\n"),
        ("\n42\n", "\n42\r\n"),
        ("\n42\n", "\n99999999999999999999\n"),
        ("\n\n", "\n"),
        ("— ", "- "),
        ("— ", "—  "),
        ("AAECAwQ", "AAECAwR"),
        ("Hh8=", "Hh9="),
        ("Hh8=", "Hh8"),
    ],
)
def test_a_checkpoint_spelled_otherwise_is_refused(old: str, new: str) -> None:
    note = signer().sign(42, _ROOT).decode()
    assert old in note
    with pytest.raises(InvalidInputError):
        signer().verifier().verify(note.replace(old, new, 1).encode())


@pytest.mark.requirement("audit:checkpoint:form")
@pytest.mark.parametrize("note", [b"", b"\n", b"\n\n", b"\xff\n\n", b"a\n1\n\n", b"x" * 70_000])
def test_what_is_no_note_is_refused(note: bytes) -> None:
    with pytest.raises(InvalidInputError):
        parse_checkpoint(note)


@pytest.mark.requirement("audit:checkpoint:signature")
def test_lines_of_other_keys_are_ignored_and_do_not_suffice() -> None:
    ours = signer().sign(42, _ROOT)
    other = CheckpointSigner(_ORIGIN, b"o" * 32).sign(42, _ROOT)
    witness = CheckpointSigner("witness.example", b"w" * 32).sign(42, _ROOT)
    line = other.rpartition(b"\n\n")[2] + witness.rpartition(b"\n\n")[2]
    assert signer().verifier().verify(ours + line).size == 42
    with pytest.raises(InvalidInputError):
        signer().verifier().verify(other)
    with pytest.raises(InvalidInputError):
        signer().verifier().verify(witness)
    # a signature line of ours that does not verify spoils the note even beside one that does
    with pytest.raises(InvalidInputError):
        signer().verifier().verify(ours + signer().sign(43, _ROOT).rpartition(b"\n\n")[2])


@pytest.mark.requirement("audit:checkpoint:fork")
def test_a_signer_refuses_a_smaller_or_another_head_than_it_signed() -> None:
    own = signer()
    first = own.sign(10, _ROOT)
    assert own.sign(10, _ROOT) == first
    for size, root in ((9, _ROOT), (10, bytes(32))):
        with pytest.raises(InvalidInputError):
            own.sign(size, root)
    assert own.verifier().verify(own.sign(11, bytes(32))).size == 11


@pytest.mark.requirement("audit:checkpoint:form")
@pytest.mark.parametrize("origin", ["", "with space", "with+plus", "x" * 300])
def test_a_name_that_cannot_stand_in_a_note_is_refused(origin: str) -> None:
    with pytest.raises(InvalidInputError):
        CheckpointSigner(origin, b"s" * 32)
