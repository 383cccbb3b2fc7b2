"""A real installation in which each tool server has one agent that may use all of it, and the ways to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from accredit.bootstrap import run
from accredit.demo.world import DemoPerson
from accredit.serving import bound, served
from accredit.settings import Settings
from tests.conformance.calling import Listed, listed
from tests.conformance.relay import relay
from tests.policies import with_cases

__all__ = ["Installation", "installation"]

_CREDENTIAL = "Bearer 0123456789abcdef-conformance"


def _document(kind: str, metadata: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind, "spec": dict(spec)}
    return head | ({"metadata": dict(metadata)} if metadata else {})


def _agent(server: str, what: Listed) -> dict[str, Any]:
    items = {kind: found for kind, found in (("resources", what.resources), ("prompts", what.prompts)) if found}
    spec = {
        "purpose": "be measured",
        "owner": "dana@example.com",
        "tools": [{"server": server, "allow": what.tools, **items}],
        "data": ["internal"],
        "models": [],
        "prompt": {"digest": "sha256:" + "0" * 64},
        "autonomy": "acts-unattended",
        "audience": "employees",
        "inputs": ["employees"],
        "reach": "department",
        "use": {"annex3": False, "decidesOnPeople": False},
        "limits": {"calls": {"perMinute": 100_000}, "concurrency": 64, "cost": {"perDay": "1000 USD"}},
    }
    return _document("Agent", {"name": server, "team": "support", "environment": "development"}, spec)


def _server(name: str, url: str, what: Listed, revision: str | None) -> dict[str, Any]:
    def each(names: Iterable[str], **more: str) -> dict[str, Any]:
        return {one: {"data": ["internal"], "price": "0 USD", **more} for one in names}

    items = {kind: each(found) for kind, found in (("resources", what.resources), ("prompts", what.prompts)) if found}
    spec = {
        "url": url,
        "credential": name,
        "elicitation": ["form", "url"],
        "tools": each(what.tools, effect="read"),
        **items,
        **({"revision": revision} if revision is not None else {}),
    }
    return _document("ToolServer", {"name": name, "environment": "development"}, spec)


class Installation:
    """An installation in which each tool server has one agent that may use all of it."""

    def __init__(self, operator: DemoPerson, port: int, stack: contextlib.AsyncExitStack) -> None:
        self._operator = operator
        self._port = port
        self._stack = stack

    async def register(self, name: str, url: str, revision: str | None = None) -> str | Mapping[str, Any]:
        """Where an agent that may use everything of that server reaches it; or the problem, if it is not taken.

        `revision` is the one that is spoken to it; None: the newest it knows.
        """
        operator, what = self._operator, await listed(url)
        origin = url.removesuffix("/mcp")
        await operator.put(
            f"upstream-credentials/{name}", {"origin": origin, "header": "Authorization", "value": _CREDENTIAL}
        )
        text = json.dumps([_server(name, url, what, revision), _agent(name, what)])
        status, answer = await operator.attempt("apply", {"files": [{"name": "f.json", "text": text}]})
        if status >= 300:
            return dict(answer)
        key = (await operator.post(f"agents/{name}/keys", {"days": 1}))["key"]
        relayed = await self._stack.enter_async_context(relay("127.0.0.1", self._port, f"Authorization: Bearer {key}"))
        return f"http://127.0.0.1:{relayed}/mcp/{name}"


@asynccontextmanager
async def installation(data: Path) -> AsyncIterator[Installation]:
    """One, with nothing registered but the people it takes."""
    async with contextlib.AsyncExitStack() as stack:
        listener = bound("127.0.0.1", 0)
        port = int(listener.getsockname()[1])
        settings = Settings(port=port, disk_reserve_mb=0, attempts_per_minute=1_000_000)
        running = await stack.enter_async_context(run(data, settings, port=port))
        url = await stack.enter_async_context(served(running.app, listener))
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60))
        operator = DemoPerson(http)
        await operator.sign_in(running.first_link or "")
        people = [
            _document("Person", None, {"email": "dana@example.com"}),
            _document("Team", {"name": "support"}, {"zones": ["UTC"]}),
        ]
        await operator.post("apply", {"files": [{"name": "f.json", "text": json.dumps(people)}]})
        forbid = 'forbid (principal, action, resource in DataClass::"secret");'
        await operator.post("policy/publish", {"files": with_cases({"org/guardrails.cedar": forbid})})
        yield Installation(operator, port, stack)
