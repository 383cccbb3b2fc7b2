"""What is peculiar to a Chroma directory: the file of its vector index holds memory of the process that saved it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accredit.storage.stores.chroma import ChromaStore
from tests.stores.kinds import NAMESPACE, store

_TEXT = b"QUICKSILVER-0007-HERON"


def _client(path: Path) -> Any:
    chromadb = pytest.importorskip("chromadb", reason="chromadb is not installed: make stores")
    return chromadb.PersistentClient(str(path), settings=chromadb.Settings(anonymized_telemetry=False))


@pytest.mark.requirement("stores:adapters:residual-bytes")
@pytest.mark.parametrize("saved", [False, True])
def test_bytes_are_gone_from_the_unused_room_of_an_index_that_goes_on_answering(tmp_path: Path, *, saved: bool) -> None:
    client = _client(tmp_path)
    # few records are only queued, and the index on disk is empty; with a low threshold it is saved with them
    known: dict[str, Any] = {"metadata": {"hnsw:sync_threshold": 10, "hnsw:batch_size": 5}} if saved else {}
    collection = client.create_collection(NAMESPACE, embedding_function=None, **known)
    collection.add(
        ids=[f"it-{at}" for at in range(60)],
        documents=[f"note {at}" for at in range(60)],
        embeddings=[[float(at), 1.0] for at in range(60)],
    )
    client.close()
    # as it was met: what the process had in its memory stands where no item does
    for name in ("data_level0.bin", "length.bin"):
        (file,) = tmp_path.glob(f"*/{name}")
        file.write_bytes(file.read_bytes()[: -len(_TEXT)] + _TEXT)
    adapter = ChromaStore(store("chroma", tmp_path), tmp_path)
    adapter.delete(NAMESPACE, [f"it-{at}" for at in range(50)])
    adapter.finish(NAMESPACE, empty=False)
    adapter.close()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and _TEXT in path.read_bytes()] == []
    client = _client(tmp_path)
    found = client.get_collection(NAMESPACE, embedding_function=None).query(query_embeddings=[[55.0, 1.0]], n_results=3)
    client.close()
    assert sorted(found["ids"][0]) == ["it-54", "it-55", "it-56"]


@pytest.mark.requirement("stores:adapters:residual-bytes")
def test_reading_what_is_left_saves_no_memory_of_the_reader(tmp_path: Path) -> None:
    client = _client(tmp_path)
    client.create_collection(NAMESPACE, embedding_function=None).add(
        ids=["it-1", "it-2"], documents=["one", "two"], embeddings=[[1.0, 1.0], [2.0, 1.0]]
    )
    client.close()
    adapter = ChromaStore(store("chroma", tmp_path), tmp_path)
    adapter.finish(NAMESPACE, empty=False)
    assert len(adapter.items(NAMESPACE, None, 10).items) == 2
    (file,) = tmp_path.glob("*/data_level0.bin")
    file.write_bytes(file.read_bytes()[: -len(_TEXT)] + _TEXT)  # as a reader has been seen to leave it
    assert adapter.residue(NAMESPACE, [_TEXT]).residual.value != "found"
    adapter.close()
    assert _TEXT not in file.read_bytes()


@pytest.mark.requirement("stores:adapters:residual-bytes")
@pytest.mark.parametrize("header", [b"", b"\x02" + bytes(35), b"\x01" + bytes(19) + b"\xff" * 16])
def test_an_index_of_another_form_is_left_as_it_is_and_what_is_in_it_is_found(tmp_path: Path, header: bytes) -> None:
    client = _client(tmp_path)
    client.create_collection(NAMESPACE, embedding_function=None).add(
        ids=["it-1", "it-2"], documents=["one", "two"], embeddings=[[1.0, 1.0], [2.0, 1.0]]
    )
    client.close()
    (index,) = tmp_path.glob("*/data_level0.bin")
    index.write_bytes(_TEXT + bytes(100))
    (index.parent / "header.bin").write_bytes(header)
    adapter = ChromaStore(store("chroma", tmp_path), tmp_path)
    adapter.finish(NAMESPACE, empty=False)
    assert index.read_bytes() == _TEXT + bytes(100)
    assert adapter.residue(NAMESPACE, [_TEXT]).residual.value == "found"
    adapter.close()
