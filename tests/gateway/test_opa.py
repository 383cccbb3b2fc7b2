"""An Open Policy Agent beside us may refuse and never allow, and its answer is part of the record."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from accredit.enforcement.model import Admitted, Refused
from accredit.kernel.codes import Code
from accredit.policy.ports import VetoAnswer
from accredit.policy.replay import reproduce
from tests.enforcement.place import WORKER, Place, place


class _Opa(BaseHTTPRequestHandler):
    """Answers what it was told to, as the data API would."""

    protocol_version = "HTTP/1.1"
    answer: tuple[int, bytes] = (200, b'{"result": []}')
    pause_s = 0.0
    drip_s = 0.0
    """How long it takes between the bytes of its answer."""
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).asked.append(json.loads(body)["input"])
        threading.Event().wait(type(self).pause_s)
        status, answer = type(self).answer
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        for at in range(0, len(answer), 1 if type(self).drip_s else len(answer)):
            threading.Event().wait(type(self).drip_s)
            self.wfile.write(answer[at : at + 1] if type(self).drip_s else answer)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _opa() -> Iterator[str]:
    _Opa.asked, _Opa.answer, _Opa.pause_s, _Opa.drip_s = [], (200, b'{"result": []}'), 0.0, 0.0
    with ThreadingHTTPServer(("127.0.0.1", 0), _Opa) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/data/accredit/deny"
        finally:
            server.shutdown()
            thread.join()


async def _called(at: Place, tool: str = "read", arguments: dict[str, Any] | None = None) -> Code:
    answer = await at.admit(await at.principal("worker"), tool, arguments or {})
    if isinstance(answer, Refused):
        return answer.code
    assert isinstance(answer, Admitted)
    at.settle(answer)
    return Code.ALLOWED


BROKEN: dict[str, tuple[int, bytes]] = {
    "undefined": (200, b"{}"),
    "null": (200, b'{"result": null}'),
    "a bool": (200, b'{"result": false}'),
    "no texts": (200, b'{"result": [1]}'),
    "no JSON": (200, b"ok"),
    "no object": (200, b"[]"),
    "an error": (500, b'{"result": []}'),
    "a redirect": (302, b'{"result": []}'),
    "too much": (200, b'{"result": ["' + b"x" * 70_000 + b'"]}'),
}


@pytest.mark.requirement("gateway:opa:vetoes", "gateway:opa:reproduced")
def test_it_refuses_what_would_pass_and_is_not_asked_of_what_would_not(tmp_path: Path) -> None:
    async def story(url: str) -> None:
        async with place(tmp_path / "data", WORKER, opa_url=url) as at:
            assert await _called(at) is Code.ALLOWED
            asked = _Opa.asked[-1]
            assert asked["action"]["id"] == "crm/read"
            assert {parent["type"] for parent in asked["principal"]["parents"]} >= {"Team", "Environment", "RiskTier"}
            assert asked["context"]["session"]["calls"] == 1
            assert await _called(at, "refund", {"cents": 5}) is Code.HELD
            before = len(_Opa.asked)
            assert await _called(at, "count") is Code.TOOL_NOT_GRANTED
            assert len(_Opa.asked) == before
            _Opa.answer = (200, b'{"result": ["not today"]}')
            assert await _called(at) is Code.VETOED
            assert await _called(at, "refund", {"cents": 6}) is Code.VETOED  # nobody is asked in vain
            assert at.records("decision")[-1][1]["policies"] == ["opa"]
            for answer in BROKEN.values():
                _Opa.answer = answer
                assert await _called(at) is Code.VETO_FAILED
            await at.settled()
            proof = reproduce(at.running.plane.history.calls())
            assert proof.exact
            assert proof.again == len(at.records("decision"))

    with _opa() as url:
        asyncio.run(story(url))


@pytest.mark.requirement("gateway:opa:fails-closed")
def test_one_that_is_slow_or_gone_refuses(tmp_path: Path) -> None:
    async def story(url: str) -> None:
        async with place(tmp_path / "data", WORKER, opa_url=url, opa_timeout_ms=50) as at:
            _Opa.pause_s = 0.5
            assert await _called(at) is Code.VETO_FAILED
            _Opa.pause_s, _Opa.drip_s = 0.0, 0.01  # 14 bytes: each in time, and all of them not
            assert await _called(at) is Code.VETO_FAILED
            _Opa.drip_s = 0.0
            assert await _called(at) is Code.ALLOWED
            at.ports["outside"].instead["ask"] = _gone
            assert await _called(at) is Code.VETO_FAILED

    with _opa() as url:
        asyncio.run(story(url))


async def _gone(_: bytes) -> VetoAnswer:
    return VetoAnswer(("opa",), "ConnectError")
