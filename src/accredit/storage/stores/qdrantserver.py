"""A Qdrant server, over its REST interface; its collections are the namespaces.

Not verified against a real server: tests play its documented contract. A server deletes softly: points stay in their
segment until its optimizer rewrites it, which happens past thresholds of its own, and snapshots and the write-ahead
log apart. So absence of bytes is proven only for a collection that was dropped with its snapshots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

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
from accredit.storage.stores.asking import HttpAsking
from accredit.storage.stores.reading import item_of

__all__ = ["QdrantServerStore"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}")
_NOT_THERE: Final = frozenset({404})


class QdrantServerStore:
    """Items as points: their text and fields are in the payload."""

    def __init__(self, store: Store, headers: Mapping[str, str]) -> None:
        self._store = store
        self._server = HttpAsking(store.location, headers)
        told = self._server.ask("GET", "/") or {}
        self._version = str(told.get("version", "unknown"))[:40] if isinstance(told, Mapping) else "unknown"

    @property
    def version(self) -> str:
        return f"qdrant {self._version}"

    def capabilities(self) -> Capabilities:
        return Capabilities(filter_by=("agent", "user", "session"), assign=True, drop=True, snapshots=True)

    def inventory(self) -> Sequence[Holding]:
        listed = _result(self._server.ask("GET", "/collections"))["collections"]
        names = sorted(str(one["name"]) for one in listed)
        return [Holding(name, self._count(name)) for name in names if _NAME.fullmatch(name)]

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        body: dict[str, Any] = {"limit": limit, "with_payload": True, "with_vector": False}
        if after is not None:
            body["offset"] = _key(after)
        answer = self._server.ask("POST", f"{_path(namespace)}/points/scroll", body=body, absent=_NOT_THERE)
        if answer is None:
            return ItemPage((), None)
        result = _result(answer)
        following = result.get("next_page_offset")
        items = tuple(self._item(one) for one in result["points"])
        return ItemPage(items, None if following is None else str(following))

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        body = {"ids": [_key(one) for one in ids], "with_payload": True, "with_vector": False}
        answer = self._server.ask("POST", f"{_path(namespace)}/points", body=body, absent=_NOT_THERE)
        return () if answer is None else tuple(self._item(one) for one in _result(answer))

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        body = {"points": [_key(one) for one in ids]}
        path = f"{_path(namespace)}/points/delete"
        self._server.ask("POST", path, body=body, query={"wait": "true"}, absent=_NOT_THERE)

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        body = {"payload": {field: value}, "points": [_key(one) for one in ids]}
        self._server.ask("POST", f"{_path(namespace)}/points/payload", body=body, query={"wait": "true"})

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        listed = self._server.ask("GET", f"{_path(namespace)}/snapshots", absent=_NOT_THERE)
        snapshots = [str(one["name"]) for one in _result(listed)] if listed is not None else []
        copies = ["copies of the server's storage", "full snapshots of the server"]
        if not empty or (listed is not None and self._count(namespace)):
            copies += [f"snapshot {name[:100]}" for name in snapshots[:100]]
            return Finished((), tuple(copies))
        for name in snapshots:
            self._server.ask("DELETE", f"{_path(namespace)}/snapshots/{quote(name, safe='')}", absent=_NOT_THERE)
        self._server.ask("DELETE", _path(namespace), absent=_NOT_THERE)
        return Finished(("drop", "snapshot-cleanup"), tuple(copies))

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        del markers
        if self._server.ask("GET", _path(namespace), absent=_NOT_THERE) is None:
            return Residue(ResidualBytes.NONE, "the server has no such collection any more")
        why = "deleted points stay in a collection's segments until its optimizer rewrites them"
        return Residue(ResidualBytes.NOT_CHECKABLE, why)

    def close(self) -> None:
        self._server.close()

    def _count(self, namespace: str) -> int:
        answer = self._server.ask("POST", f"{_path(namespace)}/points/count", body={"exact": True}, absent=_NOT_THERE)
        return 0 if answer is None else int(_result(answer)["count"])

    def _item(self, point: Mapping[str, Any]) -> Item:
        fields = dict(point.get("payload") or {})
        text = fields.pop(self._store.text_field, "")
        return item_of(str(point["id"]), text, fields, created=self._store.created_field)


def _path(namespace: str) -> str:
    if not _NAME.fullmatch(namespace):
        raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no collection")
    return f"/collections/{namespace}"


def _key(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 20 else text


def _result(answer: Any) -> Any:
    if not isinstance(answer, Mapping) or "result" not in answer:
        raise UnavailableError(Code.STORE_UNREACHABLE, "the server's answer has no result")
    return answer["result"]
