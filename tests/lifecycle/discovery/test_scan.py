"""What a look at a folder finds, and what it does not do."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.errors import InvalidInputError, NotFoundError
from accredit.lifecycle.discovery.detectors import FORMATS, candidates, traces_in
from accredit.lifecycle.discovery.model import ScanBounds, ScanReport
from accredit.lifecycle.discovery.scan import scan
from accredit.lifecycle.discovery.shown import Secrets, program, tidy, url
from tests.lifecycle.discovery.tree import DECOYS, FOUND, OURS, PLAIN, SECRETS, planted

SALT = b"0" * 32


def _scan(root: Path, bounds: ScanBounds | None = None) -> ScanReport:
    return scan(root, salt=SALT, bounds=bounds or ScanBounds())


@pytest.mark.requirement("discovery:scan:formats")
def test_every_format_of_the_tree_is_found_and_no_decoy_is(tmp_path: Path) -> None:
    report = _scan(planted(tmp_path))
    found = sorted((one.path, one.format, one.name) for one in report.traces)
    assert found == sorted((path, form, name) for path, (form, _, names) in FOUND.items() for name in names)
    assert len({form for form, _, _ in FOUND.values()}) >= 30
    assert not {one.path for one in report.traces} & set(DECOYS)
    assert report.whole
    assert report.skipped == {"packages": 2}


@pytest.mark.requirement("discovery:scan:formats")
def test_every_row_of_the_table_is_reached_by_a_path_of_its_own() -> None:
    for row in FORMATS:
        for path in row.paths:
            assert row in candidates(path.replace("*", "some")), path


@pytest.mark.requirement("discovery:scan:secrets")
def test_no_secret_of_the_tree_is_in_the_report_and_each_is_told_of(tmp_path: Path) -> None:
    report = _scan(planted(tmp_path))
    assert not [secret for secret in SECRETS if secret in repr(report)]
    kinds = {secret.kind for one in report.traces for secret in one.secrets}
    assert {"openai_key", "anthropic_key", "accredit_key", "named"} <= kinds


@pytest.mark.requirement("discovery:scan:secrets")
def test_digests_of_secrets_are_alike_under_one_salt_and_say_nothing_under_another(tmp_path: Path) -> None:
    planted(tmp_path)
    first, again, other = _scan(tmp_path), _scan(tmp_path), scan(tmp_path, salt=b"1" * 32)
    assert first == again
    mine = {secret.digest for one in first.traces for secret in one.secrets}
    assert mine.isdisjoint({secret.digest for one in other.traces for secret in one.secrets})
    of_openai = {secret.digest for one in first.traces for secret in one.secrets if secret.kind == "openai_key"}
    assert len(of_openai) == 1  # in three files


@pytest.mark.requirement("discovery:scan:hostile")
def test_nothing_outside_the_folder_is_read_through_a_link(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    planted(outside)
    inside.mkdir()
    (inside / "linked").symlink_to(outside)
    (inside / ".mcp.json").symlink_to(outside / "a/.mcp.json")
    report = _scan(inside)
    assert report.traces == ()
    assert report.skipped == {"link": 2}


@pytest.mark.requirement("discovery:scan:hostile")
def test_what_is_no_plain_file_is_not_opened_and_is_told_of(tmp_path: Path) -> None:
    (tmp_path / ".cursor").mkdir()
    os.mkfifo(tmp_path / ".cursor/mcp.json")  # opening it would wait for a writer
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "agent.py"))
        report = _scan(tmp_path)
    assert [(one.format, one.unread) for one in report.traces] == [("cursor", "no plain file")]


_DEEP = "[" * 5_000
_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
_MERGES = "".join(f"k{n}: &k{n} {{a{n}: 1, <<: [{', '.join(f'*k{m}' for m in range(n))}]}}\n" for n in range(400))


@pytest.mark.requirement("discovery:scan:hostile")
@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".mcp.json", b'{"mcpServers":' + _DEEP.encode()),
        (".mcp.json", b"\xff\xfe\x00\xd8"),
        (".mcp.json", b"\x80\x81 no text"),
        (".mcp.json", b"{" * 2**20 + b"x"),
        (".mcp.json", b'"\\"' * 300_000),
        (".mcp.json", b"{}" + b" " * 2**21),
        (".mcp.json", gzip.compress(b"{}")),
        (".codex/config.toml", b"a = " + _DEEP.encode()),
        (".codex/config.toml", b"a" + b".a" * 100_000 + b" = 1"),
        ("librechat.yaml", (_MERGES + "mcpServers: {}\n").encode()),
        ("librechat.yaml", b"mcpServers: " + b"{a: " * 5_000),
        ("librechat.yaml", b"mcpServers: !!python/object/apply:os.system ['touch owned']\n  x"),
    ],
)
def test_a_hostile_configuration_is_told_of_as_unread(tmp_path: Path, path: str, content: bytes) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_bytes(content)
    report = _scan(tmp_path)
    assert [bool(one.unread) for one in report.traces] == [True]
    assert sum(report.skipped.values()) == 1
    assert not Path("owned").exists()


@pytest.mark.requirement("discovery:scan:hostile")
@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.py", "import crewai\nx = " + "(" * 5_000),
        ("a.py", "import crewai\nx = " + "-" * 100_000 + "1"),
        ("a.py", "import crewai\nx = " + "a." * 100_000 + "b"),
        ("a.py", "import crewai\n\0"),
        ("a.ts", "import x from 'ai'\n" + "name='" * 50_000),
        ("a.yaml", _BOMB + "kind: app\nbackstory: x\n"),
        ("a.yaml", "a: &a\n  backstory: [*a]\nb: *a\n"),
        ("a.yaml", "{{ if }}\nOPENAI_API_KEY: x\n"),
        ("x.ipynb", '{"cells": "import crewai"}'),
        ("compose.yaml", "services:\n  a:\n    environment: OPENAI_API_KEY\n"),
    ],
)
def test_a_hostile_file_that_could_be_anything_is_passed_over(tmp_path: Path, path: str, content: str) -> None:
    (tmp_path / path).write_text(content)
    (tmp_path / "b.py").write_text("from pydantic_ai import Agent\nAgent('m')\n")
    assert [one.path for one in _scan(tmp_path).traces] == ["b.py"]


@pytest.mark.requirement("discovery:scan:hostile")
def test_a_yaml_bomb_around_a_configuration_changes_nothing_of_what_is_found(tmp_path: Path) -> None:
    (tmp_path / "librechat.yaml").write_text(_BOMB + "mcpServers:\n  p: {command: p-mcp, args: *i}\n")
    assert [(one.name, one.command) for one in _scan(tmp_path).traces] == [("p", "p-mcp")]


@pytest.mark.requirement("discovery:scan:bounds")
def test_what_is_beyond_a_bound_is_said(tmp_path: Path) -> None:
    planted(tmp_path)
    assert not _scan(tmp_path, ScanBounds(files=10)).whole
    assert not _scan(tmp_path, ScanBounds(read=10)).whole
    assert not _scan(tmp_path, ScanBounds(total_bytes=500)).whole
    assert not _scan(tmp_path, ScanBounds(depth=1)).whole
    few = _scan(tmp_path, ScanBounds(traces=5))
    assert (len(few.traces), few.whole) == (5, False)
    small = _scan(tmp_path, ScanBounds(file_bytes=10))
    assert {one.unread for one in small.traces} == {"too large"}


@pytest.mark.requirement("discovery:scan:bounds")
def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        _scan(tmp_path / "none")


def test_a_single_file_is_looked_at_as_what_its_folders_make_it(tmp_path: Path) -> None:
    planted(tmp_path)
    (one,) = _scan(tmp_path / "c/.cursor/mcp.json").traces
    assert (one.format, one.name) == ("cursor", "tracker")


@pytest.mark.requirement("discovery:scan:hostile")
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(FORMATS))
def test_no_content_makes_a_reader_fail_in_another_way_than_it_says(content: bytes, row: object) -> None:
    for one in FORMATS:
        if one is row:
            with contextlib.suppress(InvalidInputError):
                assert isinstance(traces_in(one, "x", content, Secrets(SALT)), list)


_KEYS = (
    "mcpServers servers mcp env args command url nodes data spec kind name graphs config participants apiVersion "
    "metadata services environment jobs steps"
)
_LEAVES = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8) | st.sampled_from(["accredit/v1", "Agent"])
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS.split()), inner, max_size=4),
    max_leaves=25,
)


@pytest.mark.requirement("discovery:scan:hostile")
@settings(max_examples=60, deadline=None)
@given(_JSON)
def test_no_form_of_a_value_makes_a_row_of_the_table_fail(value: object) -> None:
    content = orjson.dumps(value)
    for row in FORMATS:
        if row.reader.value in {"json", "yaml", "first-yaml"}:
            try:
                traces_in(row, "x", content, Secrets(SALT))
            except InvalidInputError:
                assert row.reader.value != "json"  # what JSON allows in a text YAML may not


@pytest.mark.requirement("discovery:scan:secrets")
@settings(max_examples=100)
@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(SECRETS[:2]))
def test_no_text_that_is_kept_has_a_known_secret_in_it(before: str, after: str, secret: str) -> None:
    assert secret not in url(f"https://example.com/{before}?x={secret}&y={after}")
    assert secret not in program("npx", ["-y", "pkg", "--token", secret, after])
    assert secret not in tidy(f"{before} {secret} {after}")


@pytest.mark.requirement("discovery:scan:secrets")
@pytest.mark.parametrize(
    "value", ["", "${KEY}", "$KEY", "your-api-key", "<token>", "changeme", "xxxx-xxxx", "env:KEY", "sk-..."]
)
def test_what_only_stands_for_a_secret_is_none(value: str) -> None:
    assert Secrets(SALT).of([("API_KEY", value)]) == ()


@pytest.mark.requirement("discovery:scan:secrets")
def test_a_secret_is_told_by_its_name_if_it_looks_like_nothing() -> None:
    (named,) = Secrets(SALT).of([("PG_PASSWORD", PLAIN)])
    assert (named.kind, named.name, named.ours) == ("named", "PG_PASSWORD", "")
    (ours,) = Secrets(SALT).of([("Authorization", f"Bearer {OURS}")])
    assert (ours.kind, len(ours.ours)) == ("accredit_key", 64)


def test_text_that_could_deceive_whoever_reads_it_is_spelled_out() -> None:
    assert tidy("a\u202eb\x1b[31m\nc") == "a\\u202eb [31m c"
