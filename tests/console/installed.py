"""A real installation with its sample servers, in a thread of its own, for tests that look at it as people do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from accredit.api.plane import ControlPlane
from accredit.demo import fleet
from accredit.demo.world import DemoPerson, World, world
from accredit.kernel.clock import SystemClock
from tests.living import living

__all__ = ["House", "house"]

_T = TypeVar("_T")
_PATIENCE_S = 60


@dataclass
class House:
    """One running installation; what people do beside the console, they do over the API."""

    world: World
    loop: asyncio.AbstractEventLoop
    persons: dict[str, str] = field(default_factory=dict)
    """Ids of people by the first part of their address."""

    @property
    def url(self) -> str:
        return self.world.url

    @property
    def plane(self) -> ControlPlane:
        return self.world.running.plane

    @property
    def link(self) -> str:
        """The first administrator's, as `up` prints it."""
        link = self.world.running.link
        assert link is not None
        return link

    def do(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run something where the installation runs."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(_PATIENCE_S)

    def browsing(self) -> httpx2.Client:
        """A client that sends what a browser would, without a session."""
        headers = {"sec-fetch-site": "same-origin"}
        return httpx2.Client(base_url=self.url, headers=headers, trust_env=False, timeout=_PATIENCE_S)

    def somebody(self, name: str) -> DemoPerson:
        return self.world.people[name]

    def applied(self, name: str, *documents: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Manifests, applied by somebody."""
        files = [{"name": "files.json", "text": fleet.as_file([dict(one) for one in documents])}]
        return list(self.do(self.somebody(name).post("apply", {"files": files}))["items"])

    def get(self, name: str, path: str) -> Any:
        """What somebody reads over the API."""
        return self.do(self.somebody(name).get(path))

    def post(self, name: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What somebody does over the API."""
        return self.do(self.somebody(name).post(path, body or {}))

    def link_for(self, name: str) -> str:
        """A sign-in link for somebody registered, made by the first administrator."""
        return str(self.post("ada", f"persons/{self.persons[name]}/sign-in-link")["link"])

    # -- furnishing

    def second_admin(self) -> None:
        """Mira joins Ada."""
        made = self.post("ada", "invitations", {"email": "mira@example.com"})
        self.do(self.world.sign_in_as("mira", made["link"]))

    def people(self) -> None:
        """Everybody is registered, signed in, and given their roles by two persons."""
        self.applied("ada", *fleet.staff())
        found = self.get("ada", "persons")["items"]
        self.persons = {one["email"].partition("@")[0]: one["id"] for one in found}
        for name in fleet.STAFF:
            self.do(self.world.sign_in_as(name, self.link_for(name)))
        for name, role, team in fleet.ROLES:
            body = {"role": role, "person": self.persons[name]} | ({"team": team} if team else {})
            asked = self.post("ada", "roles", body)
            self.do(self.somebody("mira").vote(asked["approval"], "admin"))

    def production(self) -> None:
        """The tools of production, and three agents that want to be approved."""
        (pending,) = self.applied("otto", fleet.live_server(self.world.crm_url))
        issuers = fleet.issuers(self.world.directory, self.world.desk, self.world.desk_url)
        for each in (pending, *self.applied("otto", *issuers)):
            self.do(self.somebody("sam").vote(each["approval"], "security"))
        self.applied("ada", fleet.agreement())
        self.applied("dana", *fleet.live_agents().values())

    def enrolled(self, name: str) -> None:
        """An instance of an agent in production, whose key its owner confirmed."""
        owner = self.somebody("dana")
        self.do(self.world.enrol(f"production/{name}", by=owner, server="crm-live"))
        (key,) = self.do(owner.get("credentials", agent=f"production/{name}"))["items"]
        self.post("dana", f"credentials/{key['id']}/confirm", {"thumbprint": key["thumbprint"]})

    def call(self, name: str, tool: str, arguments: Mapping[str, Any], *, user: str | None = None) -> Any:
        """One governed call in production."""
        agent = self.world.agents[f"production/{name}"]

        async def calling() -> Any:
            return await agent.call(tool, arguments, token=await agent.token(user=user))

        return self.do(calling())

    def settled(self) -> None:
        """Everything nobody awaited is durable, and what is watched was looked at."""
        self.do(self.plane.enforcer.drained())
        self.do(self.plane.watched())


@contextlib.contextmanager
def house(data: Path) -> Iterator[House]:
    """An installation on which nobody has signed in and nothing is registered."""
    with living(world(data, SystemClock())) as (started, loop):
        started.people["ada"] = started.operator
        yield House(started, loop)
