"""Whatever is sent to the gateway, a tool is reached only through `Enforcer.admit`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from accredit.enforcement.model import Admitted, Call, Refused
from tests.enforcement.place import WORKER, Place, place
from tests.gateway.stage import legacy, modern

_KNOWN = (
    "initialize",
    "notifications/initialized",
    "notifications/cancelled",
    "ping",
    "server/discover",
    "tools/list",
    "tools/call",
)
_EMPTY = ("prompts/list", "resources/list", "resources/templates/list")
_OTHERS = (
    "resources/read",
    "resources/subscribe",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "tasks/get",
    "tasks/result",
    "notifications/progress",
    "TOOLS/CALL",
    "tools/call ",
    "tools//call",
    "",
    "x" * 300,
)


class _Counted:
    """`admit`, counted, with what it answered."""

    def __init__(self, at: Place) -> None:
        self._real = at.enforcer.admit
        self.admitted = 0
        self.asked = 0
        at.enforcer.admit = self  # type: ignore[method-assign]  # the gateway calls whatever stands there

    async def __call__(self, call: Call) -> Admitted | Refused:
        self.asked += 1
        answer = await self._real(call)
        self.admitted += isinstance(answer, Admitted)
        return answer


@pytest.mark.requirement("enforcement:one-path")
@pytest.mark.parametrize(("server", "name"), [("crm", "read"), (None, "crm__read")])
def test_no_endpoint_method_era_or_form_of_message_reaches_a_tool_but_through_admit(
    tmp_path: Path, server: str | None, name: str
) -> None:
    params: dict[str, Any] = {"name": name, "arguments": {}}

    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            counted, box = _Counted(at), at.site.box
            token = await at.token("worker", server=server)
            session = await at.session(token, server=server)
            for method in (*_KNOWN, *_EMPTY, *_OTHERS):
                for rpc_id in (7, None):
                    for body, headers in (
                        modern(method, params, rpc_id=rpc_id),
                        legacy(method, params, rpc_id=rpc_id, session=session),
                    ):
                        headers.pop("mcp-name", None)
                        if method == "tools/call":
                            headers["mcp-name"] = name
                        if method.strip() != method or not method:
                            headers.pop("mcp-method", None)
                        answer = await at.post(token, body, headers, server=server)
                        assert answer.status_code < 500, (method, answer.text)
                        assert len(box.calls) == counted.admitted, method
                        if method in _OTHERS or (method in _EMPTY and rpc_id is None):
                            assert "error" in answer.json(), method
            assert counted.admitted == 2, "one call of each era was to go through"
            assert counted.asked == 3, "a prompt that is not there was decided about, with the name it has in no header"
            counted.asked -= 1
            await _in_other_forms(at, token, session, server, name)
            assert counted.asked == counted.admitted == len(box.calls) == 2

    asyncio.run(live())


async def _in_other_forms(at: Place, token: str, session: str, server: str | None, name: str) -> None:
    """Calls wrapped, repeated or sent another way: none of them is one message of one era by POST."""
    body, headers = modern(params={"name": name, "arguments": {}})
    message = json.loads(body)
    old_body, old_headers = legacy("tools/call", {"name": name, "arguments": {}}, session=session)
    bodies: tuple[Any, ...] = (
        [message],
        [message, message],
        [],
        {"jsonrpc": "2.0", "id": 1, "result": message},
        message | {"jsonrpc": "1.0"},
        message | {"id": None},
        message | {"id": {"a": 1}},
        message | {"method": ["tools/call"]},
        message | {"params": [message["params"]]},
    )
    for each in bodies:
        answer = await at.post(token, json.dumps(each).encode(), headers, server=server)
        assert answer.status_code == 400, (each, answer.text)
    assert (await at.post(token, body * 2, headers, server=server)).status_code == 400
    assert (await at.post(token, b"[" + old_body + b"]", old_headers, server=server)).status_code == 400
    given = {key: value for key, value in headers.items() if key not in {"host", "authorization"}}
    given["authorization"] = f"Bearer {token}"
    for verb in ("GET", "PUT", "PATCH", "OPTIONS", "HEAD", "DELETE"):
        answer = await at.site.agents_http.request(verb, at.route(server), content=body, headers=given)
        assert answer.status_code >= 400, verb
    others = ("/mcp/", "/mcp//crm", "/mcp/crm/", "/mcp/crm/x", "/MCP/crm", "/mcp/../mcp/CRM", "/MCP", "/mcp/CRM")
    for path in (*others, "/mcp" if server else "/mcp/mcp"):
        answer = await at.site.agents_http.post(httpx2.URL(at.url).join(path), content=body, headers=given)
        assert answer.status_code >= 400, path
