"""Stores that are spoken to over HTTP, playing the documented contract of the real ones.

Strict: what is not asked for in the documented way, or without the credential, is refused.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.stores.rows import Row

__all__ = ["TOKEN", "fill_mem0", "fill_qdrant", "served"]

TOKEN: Mapping[str, str] = {"Authorization": "Token m0-secret-key"}


@dataclass
class Held:
    """What one served place has: collections of points, or memories by agent."""

    kept: dict[str, dict[Any, dict[str, Any]]] = field(default_factory=dict)
    snapshots: dict[str, list[str]] = field(default_factory=dict)


_HELD: dict[Path, Held] = {}
_URLS: dict[Path, str] = {}


def _at(path: Path) -> Held:
    return _HELD.setdefault(path, Held())


def fill_qdrant(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    points = {at + 1: {"text": one.text, **one.fields} for at, one in enumerate(rows)}
    _at(path).kept[namespace] = points
    _at(path).snapshots[namespace] = ["s1.snapshot"]


def fill_mem0(path: Path, namespace: str, rows: Sequence[Row]) -> None:
    _at(path).kept[namespace] = {
        one.id: {"id": one.id, "memory": one.text, "metadata": dict(one.fields), "created_at": "2026-11-01T10:00:00Z"}
        for one in rows
    }


def served(kind: str, path: Path) -> str:
    """Where the store of a place is served, on loopback, until the tests end."""
    if path not in _URLS:
        handler = type("Serving", (_Qdrant if kind == "qdrant" else _Mem0,), {"held": _at(path)})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _URLS[path] = f"http://127.0.0.1:{server.server_address[1]}"
    return _URLS[path]


class _Handler(BaseHTTPRequestHandler):
    held: ClassVar[Held]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is theirs
        """Nothing is said."""

    def _body(self) -> Any:
        size = int(self.headers.get("content-length") or 0)
        return json.loads(self.rfile.read(size)) if size else None

    def _say(self, status: int, answer: Any = None) -> None:
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        raise NotImplementedError


class _Qdrant(_Handler):
    """Of https://api.qdrant.tech: collections, points, snapshots."""

    def _answer(self, method: str) -> None:
        body, url = self._body(), urlsplit(self.path)
        if self.headers.get("api-key") != "secret-key-1":
            self._say(401, {"status": {"error": "no key"}})
            return
        if url.path == "/":
            self._say(200, {"title": "qdrant", "version": "1.16.0"})
            return
        if (method, url.path) == ("GET", "/collections"):
            self._say(200, {"result": {"collections": [{"name": one} for one in self.held.kept]}, "status": "ok"})
            return
        parts = url.path.removeprefix("/collections/").split("/")
        points = self.held.kept.get(parts[0])
        if points is None:
            self._say(404, {"status": {"error": "not found"}})
            return
        self._say(200, {"result": self._result(method, parts, points, body, url.query), "status": "ok"})

    def _result(self, method: str, parts: list[str], points: dict[Any, Any], body: Any, query: str) -> Any:
        match method, parts[1:]:
            case "GET", []:
                return {"status": "green"}
            case "DELETE", []:
                return self.held.kept.pop(parts[0]) is not None
            case "POST", ["points", "count"]:
                return {"count": len(points)}
            case "POST", ["points", "scroll"]:
                keys = [key for key in sorted(points) if "offset" not in body or key >= body["offset"]]
                there, rest = keys[: body["limit"]], keys[body["limit"] :]
                shown = [{"id": key, "payload": points[key]} for key in there]
                return {"points": shown, "next_page_offset": rest[0] if rest else None}
            case "POST", ["points"]:
                return [{"id": key, "payload": points[key]} for key in body["ids"] if key in points]
            case "POST", ["points", "delete"]:
                assert query == "wait=true"
                for key in body["points"]:
                    points.pop(key, None)
                return {"status": "completed"}
            case "POST", ["points", "payload"]:
                for key in body["points"]:
                    points[key].update(body["payload"])
                return {"status": "completed"}
            case "GET", ["snapshots"]:
                return [{"name": one} for one in self.held.snapshots.get(parts[0], ())]
            case "DELETE", ["snapshots", name]:
                self.held.snapshots[parts[0]].remove(name)
                return True
            case _:
                raise AssertionError((method, parts))


class _Mem0(_Handler):
    """Of https://docs.mem0.ai: memories by agent."""

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        if self.headers.get("authorization") != TOKEN["Authorization"]:
            self._say(401, {"detail": "no token"})
            return
        if (method, url.path) == ("GET", "/v1/memories/"):
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            found = list(self.held.kept.get(query["agent_id"], {}).values())
            start, size = (int(query["page"]) - 1) * int(query["page_size"]), int(query["page_size"])
            self._say(200, {"count": len(found), "next": None, "results": found[start : start + size]})
            return
        match = re.fullmatch(r"/v1/memories/([^/]+)/", url.path)
        assert match is not None
        agent = next((name for name, found in self.held.kept.items() if match[1] in found), None)
        if agent is None:
            self._say(404, {"detail": "not found"})
        elif method == "DELETE":
            del self.held.kept[agent][match[1]]
            self._say(204)
        else:
            self._say(200, {**self.held.kept[agent][match[1]], "agent_id": agent})
