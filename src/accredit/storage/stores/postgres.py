"""A PostgreSQL database whose tables are the namespaces, with or without pgvector.

A deleted row stays in its page until `VACUUM`, and the page in its file: so finishing is `VACUUM FULL`, which writes
the table and its indexes anew. What the write-ahead log, replicas and backups still hold, nobody can see from here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import (
    Capabilities,
    Finished,
    Holding,
    Item,
    ItemPage,
    ResidualBytes,
    Residue,
)
from accredit.registry.model import Store
from accredit.storage.stores.reading import basic_pair, item_of, missing

__all__ = ["PostgresItemStore"]

_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_TYPES: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_NOT_READ: Final = frozenset({"bytea", "halfvec", "sparsevec", "tsvector", "vector"})
_LATER: Final = ("the write-ahead log and its archive, until they are recycled", "replicas and backups of the database")


class PostgresItemStore:
    """Items as rows of tables in the schema of the search path; the registered id field must have a unique index."""

    def __init__(self, store: Store, headers: Mapping[str, str], *, socket: str | None = None) -> None:
        """`socket` is the folder of a local server's socket, instead of the location's host."""
        try:
            import psycopg  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise missing("store-postgres", "psycopg") from error
        there, pair = urlsplit(store.location), basic_pair(headers)
        user, password = pair if pair is not None else ("postgres", None)
        self._psycopg, self._store = psycopg, store
        local = socket is not None or there.hostname in {"127.0.0.1", "::1", "localhost"}
        with self._said():
            self._database = psycopg.connect(
                host=socket or there.hostname, port=there.port or 5432, user=user,
                dbname=there.path.lstrip("/") or "postgres",
                password=password, connect_timeout=5, autocommit=True, application_name="accredit",
                sslmode="prefer" if local else "verify-full",
                options="-c statement_timeout=600000 -c lock_timeout=30000",
            )  # fmt: skip
            self._version = self._database.info.server_version

    @property
    def version(self) -> str:
        return f"postgresql {self._version // 10_000}.{self._version % 10_000}, psycopg {self._psycopg.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            filter_by=("agent", "user", "session", "time"), assign=True, compact=True, residual_probe=True
        )

    def inventory(self) -> Sequence[Holding]:
        wanted = [self._store.id_field, self._store.text_field]
        with self._said():
            rows = self._database.execute(
                "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema() AND"
                " column_name = ANY(%s) GROUP BY table_name HAVING count(*) = 2 ORDER BY table_name",
                (wanted,),
            ).fetchall()
            return [self._holding(name) for (name,) in rows if _TABLE.fullmatch(name)]

    def _holding(self, name: str) -> Holding:
        row = self._database.execute(
            f'SELECT count(*), pg_total_relation_size(%s) FROM "{name}"',  # noqa: S608 - the name has the form of one
            (f'"{name}"',),
        ).fetchone()
        assert row is not None  # noqa: S101 - an aggregate has one
        return Holding(name, row[0], row[1])

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        with self._said():
            columns = self._columns(namespace)
            if columns is None:
                return ItemPage((), None)
            key = self._store.id_field
            where = f'WHERE "{key}" > CAST(%s AS {columns[key]})' if after is not None else ""
            rows = self._read(
                namespace, columns, f'{where} ORDER BY "{key}" LIMIT {int(limit)}', () if after is None else (after,)
            )
        items = tuple(self._item(row) for row in rows)
        return ItemPage(items, items[-1].id if len(items) == limit else None)

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        with self._said():
            columns = self._columns(namespace)
            if columns is None:
                return ()
            rows = self._read(
                namespace, columns, f'WHERE CAST("{self._store.id_field}" AS text) = ANY(%s)', (list(ids),)
            )
            return tuple(self._item(row) for row in rows)

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        with self._said():
            columns = self._columns(namespace)
            if columns is None or not ids:
                return
            key, kind = self._store.id_field, columns[self._store.id_field]
            forms = _castable(ids, kind)
            self._database.execute(
                f'DELETE FROM "{namespace}" WHERE "{key}" = ANY(CAST(%s AS {kind}[]))',  # noqa: S608 - names have the form of names
                (forms,),
            )

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        with self._said():
            columns = self._columns(namespace)
            if columns is None or field not in columns:
                raise InvalidInputError(Code.BODY_MALFORMED, f"`{field[:80]}` is no column")
            self._database.execute(
                f'UPDATE "{namespace}" SET "{field}" = %s WHERE CAST("{self._store.id_field}" AS text) = ANY(%s)',  # noqa: S608 - as above
                (value, list(ids)),
            )

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        del empty  # the application's table stays, with nothing in it
        with self._said():
            if self._columns(namespace) is not None:
                self._database.execute(f'VACUUM (FULL, ANALYZE) "{namespace}"')
                with contextlib.suppress(self._psycopg.Error):  # takes a right that a store's user may lack
                    self._database.execute("CHECKPOINT")
        return Finished(("vacuum-full",), _LATER)

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        del markers  # files of the server cannot be read from here
        with self._said():
            if self._columns(namespace) is None:
                return Residue(ResidualBytes.NONE, "the table is not there")
            row = self._database.execute(
                "SELECT pg_stat_get_dead_tuples(%s::regclass), (SELECT count(*) FROM pg_stat_activity WHERE"
                " backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database())",
                (f'"{namespace}"',),
            ).fetchone()
        assert row is not None  # noqa: S101 - two subqueries make one row
        dead, older = row
        if dead:
            return Residue(ResidualBytes.FOUND, f"{dead} dead rows are left in the table")
        if older:
            return Residue(
                ResidualBytes.NOT_CHECKABLE, "another transaction that is open may keep deleted rows in the table"
            )
        return Residue(ResidualBytes.NONE, "the table was written anew and has no dead rows")

    def close(self) -> None:
        self._database.close()

    # -- reading

    def _columns(self, namespace: str) -> dict[str, str] | None:
        """Each column with its type; None if there is no such table."""
        if not _TABLE.fullmatch(namespace):
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no table")
        rows = self._database.execute(
            "SELECT column_name, udt_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name = %s ORDER BY ordinal_position",
            (namespace,),
        ).fetchall()
        found = {name: kind for name, kind in rows if _TABLE.fullmatch(name) and _TYPES.fullmatch(kind)}
        if not rows:
            return None
        if self._store.id_field not in found or self._store.text_field not in found:
            raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace}` lacks the columns that are registered")
        return found

    def _read(
        self, namespace: str, columns: Mapping[str, str], rest: str, given: Sequence[Any]
    ) -> list[dict[str, Any]]:
        read = [name for name, kind in columns.items() if kind not in _NOT_READ]
        listed = ", ".join(f'"{name}"' for name in read)
        found = self._database.execute(f'SELECT {listed} FROM "{namespace}" {rest}', given).fetchall()  # noqa: S608 - names have the form of names
        return [dict(zip(read, row, strict=True)) for row in found]

    def _item(self, row: dict[str, Any]) -> Item:
        key = row.pop(self._store.id_field)
        if key is None:
            raise UnavailableError(Code.STORE_UNTRUSTED, "a row has no id, so it could not be deleted by one")
        return item_of(str(key), row.pop(self._store.text_field), row, created=self._store.created_field)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            raise UnavailableError(Code.STORE_UNREACHABLE, f"PostgreSQL refuses: {type(error).__name__}") from error


def _castable(ids: Sequence[str], kind: str) -> list[str]:
    if kind in {"int2", "int4", "int8"}:
        return [one for one in ids if re.fullmatch(r"-?[0-9]{1,18}", one)]
    if kind == "uuid":
        return [one for one in ids if re.fullmatch(r"[0-9a-fA-F-]{32,36}", one)]
    return list(ids)
