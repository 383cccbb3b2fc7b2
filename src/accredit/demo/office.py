"""What the people of the sample fleet do over the API, each with a token of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accredit.demo import fleet
from accredit.demo.checks import require
from accredit.demo.world import DemoAgent, DemoPerson, World

__all__ = ["HIGH", "LOW", "MEDIUM", "Office"]

LOW, MEDIUM, HIGH = "ticket-digest", "ticket-sorter", "refund-clerk"


class Office:
    """Their acts, for stories to be made of."""

    def __init__(self, place: World) -> None:
        self._world = place
        self._requests: dict[str, str] = {}
        """The newest request about each agent."""

    def _as(self, name: str) -> DemoPerson:
        return self._world.people[name]

    async def _apply(self, name: str, *documents: Mapping[str, Any]) -> tuple[int, Any]:
        text = fleet.as_file([dict(document) for document in documents])
        return await self._as(name).attempt("apply", {"files": [{"name": "life.json", "text": text}]})

    async def _applied(self, name: str, *documents: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        status, answer = await self._apply(name, *documents)
        require(status < 300, f"{name} applied: {status} {answer}")
        return list(answer["items"])

    async def _vouch(self) -> None:
        """Issuers and their keys, registered while there was one administrator, get the word of a second person."""
        world = self._world
        issuers = fleet.issuers(world.directory, world.desk, world.desk_url)
        for pending in await self._applied("otto", *issuers):
            require(pending["result"] == "pending", f"one person's word alone: {pending}")
            await self._as("sam").vote(pending["approval"], "security")
        again = {one["result"] for one in await self._applied("otto", *issuers)}
        require(again == {"unchanged"}, f"signed off and not in force: {again}")

    # -- people

    async def _invite(self) -> None:
        """The first admin invites the second."""
        self._world.people["ada"] = self._world.operator
        made = await self._as("ada").post("invitations", {"email": "mira@example.com"})
        await self._world.sign_in_as("mira", made["link"])

    async def _link(self, name: str) -> str:
        """A sign-in link for somebody, made by the first admin."""
        known = {one["email"]: one["id"] for one in (await self._as("ada").get("persons"))["items"]}
        made = await self._as("ada").post(f"persons/{known[f'{name}@example.com']}/sign-in-link", {})
        return str(made["link"])

    async def _ask_for_role(self, role: str, team: str | None, **holder: str) -> str:
        asked = await self._as("ada").post("roles", {"role": role, **holder} | ({"team": team} if team else {}))
        return str(asked["approval"])

    async def _grant(self, name: str, role: str, team: str | None) -> None:
        """Ask for a role and have the other administrator approve it; it counts for what is asked later."""
        request = await self._ask_for_role(role, team, person=self._as(name).person)
        await self._as("mira").vote(request, "admin")

    # -- agents in production

    async def _submit(self, agent: str) -> str:
        answer = await self._as("dana").post(f"agents/production/{agent}/submit", {})
        self._requests[agent] = answer["id"]
        return str(answer["id"])

    async def _activate(self, agent: str) -> tuple[int, Any]:
        return await self._as("dana").attempt(f"agents/production/{agent}/activate", {})

    async def _activated(self, agent: str) -> None:
        status, answer = await self._activate(agent)
        require(status < 300, f"activation gave {status} {answer}")

    async def _enrolled(self, agent: str) -> DemoAgent:
        """A production instance whose key its owner has confirmed."""
        await self._world.enrol(f"production/{agent}", by=self._as("dana"), server="crm-live")
        made = self._world.agents[f"production/{agent}"]
        keys = (await self._as("dana").get("credentials", agent=f"production/{agent}"))["items"]
        (key,) = (one for one in keys if one["thumbprint"] == made.identity.thumbprint)
        await self._as("dana").post(f"credentials/{key['id']}/confirm", {"thumbprint": key["thumbprint"]})
        return made
