"""The sample fleet, served from a thread of its own, for tests that speak to it as anybody outside does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from accredit.api.control import control_api
from accredit.api.plane import ControlPlane
from accredit.demo.world import World, world
from accredit.enforcement.ports import Controls
from accredit.kernel.clock import Clock, SystemClock
from tests.api.conformance import Conformance
from tests.living import living

_T = TypeVar("_T")
_PATIENCE_S = 30


@dataclass
class Installation:
    """One running installation and the ways into it."""

    world: World
    loop: asyncio.AbstractEventLoop
    token: str
    link: str
    conformance: Conformance = field(init=False)
    """Looks at every answer that the clients made here are given."""

    def __post_init__(self) -> None:
        self.conformance = Conformance(control_api(self.plane))

    @property
    def url(self) -> str:
        return self.world.url

    @property
    def plane(self) -> ControlPlane:
        return self.world.running.plane

    @property
    def data(self) -> Path:
        return self.world.data

    def do(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run something where the installation runs."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(_PATIENCE_S)

    def client(self, token: str | None = None) -> httpx2.Client:
        """A client with the admin's token, another, or (empty) none."""
        given = self.token if token is None else token
        headers = {"authorization": f"Bearer {given}"} if given else {}
        return httpx2.Client(
            base_url=self.url,
            headers=headers,
            trust_env=False,
            timeout=_PATIENCE_S,
            event_hooks={"response": [self.conformance]},
        )

    def checkpoint(self) -> bytes:
        """Publish a checkpoint over everything there is."""

        async def published() -> bytes:
            return await self.plane.log.checkpoint()

        return self.do(published())

    def reading_token(self) -> str:
        """A further token that may only read."""
        with self.client() as http:
            made = http.post("/api/v1/tokens", json={"name": "reader", "scopes": ["read"]})
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    def call(self, agent: str, tool: str, arguments: dict[str, Any]) -> Any:
        """One governed call by the MCP SDK's client."""

        async def calling() -> Any:
            enrolled = self.world.agents[agent]
            return await enrolled.call(tool, arguments, token=await enrolled.token(user="kim@example.com"))

        return self.do(calling())

    def records(self, kind: str, limit: int = 50) -> list[dict[str, Any]]:
        """The newest records of a kind, once everything that nobody awaited is durable."""
        self.do(self.plane.enforcer.drained())
        with self.client() as http:
            return list(http.get("/api/v1/audit/records", params={"kind": kind, "limit": limit}).json()["items"])


async def _sample_fleet(started: World) -> None:
    await started.register()
    for name in ("support-copilot", "refund-desk", "ticket-counter"):
        await started.enrol(name)


@contextlib.contextmanager
def installation(
    data: Path,
    *,
    clock: Clock | None = None,
    furnish: Callable[[World], Coroutine[Any, Any, None]] = _sample_fleet,
    replaced: Callable[[Controls], Controls] = lambda controls: controls,
) -> Iterator[Installation]:
    """One with its first admin signed in, and unless said otherwise with the sample fleet in it."""
    with living(world(data, clock or SystemClock(), replaced=replaced)) as (started, loop):
        link = started.running.link
        assert link is not None

        async def furnished() -> str:
            answer = await started.sign_in()
            await furnish(started)
            return str(answer["token"])

        token = asyncio.run_coroutine_threadsafe(furnished(), loop).result(_PATIENCE_S)
        yield Installation(started, loop, token, link)
