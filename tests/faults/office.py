"""A running installation with one row of every kind an agent's life leaves, and copies of it for whoever spoils one.

`Office.before` is a copy of its data directory from before things ended: keys were revoked, links opened, roles taken
back, an agent retired after it. Somebody who kept such a copy can put any of its rows back.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson

from accredit.audit.state import row_digest
from accredit.bootstrap import Running, run
from accredit.demo import fleet, spoiling
from accredit.demo.office import HIGH, LOW, MEDIUM, Office
from accredit.demo.world import World, world
from accredit.kernel.canonical import canonical
from accredit.kernel.clock import ScriptedClock
from accredit.serving import bound, served
from accredit.settings import Settings
from tests.gateway.stage import modern

Doc = dict[str, Any]
Row = tuple[str, str, bytes, str, str]
"""Kind, key, doc, digest, outbox id."""
NOW_US = 1_795_428_000_000_000  # 2026-11-23T10:00:00Z
ENDED = "old-digest"
DAY_US = 86_400_000_000


@dataclass
class Premises(Office):
    """What was set up, and what is known of it."""

    place: World
    clock: ScriptedClock
    before: Path = field(default_factory=Path)
    known: dict[str, str] = field(default_factory=dict)
    """Ids and secrets by what they are of."""

    def __post_init__(self) -> None:
        super().__init__(self.place)

    def token_of(self, name: str) -> str:
        return str(self._as(name)._http.headers["authorization"])

    def person_of(self, name: str) -> str:
        return self._as(name).person

    async def seed(self, scratch: Path) -> None:
        await self.place.sign_in()
        await self.place.register()
        await self._invite()
        await self._applied("ada", *fleet.staff())
        for name in fleet.STAFF:
            await self.place.sign_in_as(name, await self._link(name))
        self.clock.advance(1)
        for name, role, team in (*fleet.ROLES, ("otto", "security", None)):
            await self._grant(name, role, team)
        await self._applied("ada", fleet.agreement())
        self.clock.advance(1)  # a role counts for what is asked after it began
        (pending,) = await self._applied("ada", fleet.group())
        await self._as("mira").vote(pending["approval"], "admin")
        (server,) = await self._applied("otto", fleet.live_server(self.place.crm_url))
        await self._as("sam").vote(server["approval"], "security")
        await self._vouch()
        documents = fleet.live_agents()
        old = documents[LOW] | {"metadata": {**documents[LOW]["metadata"], "name": ENDED}}
        await self._applied("dana", *documents.values(), old)
        for agent in (LOW, ENDED, MEDIUM):
            request = await self._submit(agent)
            await self._as("lena").vote(request, "team-lead")
            if agent == MEDIUM:
                await self._as("sam").vote(request, "security")
            await self._activated(agent)
            await self._enrolled(agent)
        await self._at_work()
        self.before = spoiling.copied(self.place.data, scratch / "before")
        await self._ended()

    async def _at_work(self) -> None:
        """Everything that will end, while it lasts."""
        known, as_ = self.known, self._as
        known["incident"] = (
            await as_("sam").post(f"agents/production/{LOW}/incidents", {"severity": 3, "reason": "odd"})
        )["id"]
        known["restriction"] = (
            await as_("sam").post(
                f"agents/production/{LOW}/restrictions", {"kind": "throttle", "calls_per_minute": 60, "minutes": 600,
                                                          "cause": "a look"},
            )
        )["id"]  # fmt: skip
        known["delegation"] = (
            await as_("sam").post("delegations", {"to": self.person_of("una"), "role": "security", "days": 9})
        )["id"]
        known["token"] = (await as_("sam").post("tokens", {"name": "spare", "scopes": ["admin"]}))["token"]
        link = (await as_("bo").post(f"persons/{self.person_of('bo')}/sign-in-link", {}))["link"]
        known["link"] = link.partition("#")[2]
        session = (await as_("cora").post(f"persons/{self.person_of('cora')}/sign-in-link", {}))["link"]
        people = self.place.running.plane.people
        known["session"] = await people.open_session(session.partition("#")[2], source="10.0.0.1")
        known["late"] = await self._ask_for_role("business-owner", None, person=self.person_of("una"))
        digest = self.place.agents[f"production/{LOW}"]
        token = await digest.token()
        assert (await digest.call("delete_customer", {"customer_id": "c-17"}, token=token)).is_error
        await self.place.running.plane.enforcer.drained()
        await self.place.running.plane.watched()
        known["retired token"] = await self.place.agents[f"production/{ENDED}"].token()
        known["high"] = await self._submit(HIGH)

    async def _ended(self) -> None:
        known, as_ = self.known, self._as
        await as_("sam").post(f"incidents/{known['incident']}/close", {"reason": "explained"})
        await as_("sam").post(f"restrictions/{known['restriction']}/lift", {"reason": "looked at"})
        await as_("sam").post(f"delegations/{known['delegation']}/end", {})
        (spare,) = (one for one in (await as_("sam").get("tokens"))["items"] if one["name"] == "spare")
        await as_("sam").delete(f"tokens/{spare['id']}")
        await self.place.sign_in_as("bo", "#" + known["link"])
        people = self.place.running.plane.people
        await people.close_session(people.authenticate_session(known["session"]))
        (grant,) = (
            one["id"]
            for one in (await as_("ada").get("roles"))["items"]
            if (one["email"], one["role"]) == ("otto@example.com", "security")
        )
        await as_("ada").post(f"roles/{grant}/revoke", {"reason": "he operates"})
        await as_("mira").vote(known["late"], "admin", vote="reject", comment="not una")
        (alert,) = (one for one in (await as_("sam").get("alerts"))["items"] if one["kind"] == "first-denial")
        await as_("sam").post(f"alerts/{alert['id']}/resolve", {"note": "a mistake", "disposition": "false-positive"})
        changed = fleet.group() | {"spec": {"members": ["lee@example.com"]}}
        (pending,) = await self._applied("ada", changed)
        await self._as("mira").vote(pending["approval"], "admin")
        shorter = fleet.agreement()
        await self._applied("ada", shorter | {"spec": {**shorter["spec"], "expires": "2027-06-30"}})
        await as_("dana").post(f"agents/production/{ENDED}/retire", {"reason": "over"})
        # and what is under way
        await as_("dana").post(f"approvals/{known['high']}/assessment", fleet.assessment(self.person_of("bo")))
        for name, role in (("sam", "security"), ("cora", "compliance")):
            await as_(name).vote(known["high"], role)
        known["asked"] = await self._ask_for_role("compliance", None, person=self.person_of("una"))
        await as_("sam").post(
            f"agents/production/{MEDIUM}/restrictions",
            {"kind": "hold", "role": "security", "minutes": 600, "cause": "watch each label"},
        )
        sorter = self.place.agents[f"production/{MEDIUM}"]
        told = await sorter.call("label_ticket", {"ticket": "T-1", "label": "refund"}, token=await sorter.token())
        assert told.structured_content is not None
        known["hold"] = str(told.structured_content["hold"])
        open_link = (await as_("lee").post(f"persons/{self.person_of('lee')}/sign-in-link", {}))["link"]
        known["open link"] = open_link.partition("#")[2]
        await self.place.running.plane.watched()


class Branch:
    """One process on a copy."""

    def __init__(self, of: Premises, url: str, running: Running, http: httpx2.AsyncClient) -> None:
        self._of = of
        self.url = url
        self.running = running
        self._http = http

    async def tries(self, name: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        """Somebody's act, with the token they hold: its status and the code of its refusal."""
        headers = {"authorization": self._of.token_of(name)}
        answer = await self._http.post(f"{self.url}/api/v1/{path}", json=body or {}, headers=headers)
        return answer.status_code, "" if answer.status_code < 300 else str(answer.json()["code"])

    async def votes(self, name: str, request: str, role: str) -> tuple[int, str]:
        """Somebody looks at a request and approves it; whatever keeps them from either."""
        headers = {"authorization": self._of.token_of(name)}
        shown = await self._http.get(f"{self.url}/api/v1/approvals/{request}", headers=headers)
        if shown.status_code >= 300:
            return shown.status_code, str(shown.json()["code"])
        seen = shown.json()["view_digest"] or "sha256:" + "0" * 64
        body = {"role": role, "vote": "approve", "view_digest": seen, "comment": "looked at it"}
        return await self.tries(name, f"approvals/{request}/vote", body)

    async def calls(self, agent: str, tool: str, arguments: Mapping[str, Any], token: str | None = None) -> str:
        """What an agent's call comes to, with the token it holds: `allowed`, a code, or `refused` before any."""
        body, headers = modern(params={"name": tool, "arguments": dict(arguments)})
        given = {key: value for key, value in headers.items() if key not in {"host", "authorization"}}
        token = token or await self._of.place.agents[f"production/{agent}"].token()
        answer = await self._http.post(
            f"{self.url}/mcp/crm-live",
            content=body,
            headers=given | {"mcp-name": tool, "authorization": f"Bearer {token}"},
        )
        told = answer.json()
        if answer.status_code >= 300 or "result" not in told:
            return "refused"
        result = told["result"]
        return str(result["structuredContent"]["code"]) if result.get("isError") else "allowed"


@asynccontextmanager
async def premises() -> AsyncIterator[Premises]:
    clock = ScriptedClock(NOW_US)
    with tempfile.TemporaryDirectory(prefix="accredit-faults-") as scratch:
        async with world(Path(scratch) / "data", clock) as place:
            made = Premises(place, clock)
            await made.seed(Path(scratch))
            yield made


@asynccontextmanager
async def opened(of: Premises, data: Path) -> AsyncIterator[Branch]:
    async with AsyncExitStack() as stack:
        listener = bound("127.0.0.1", 0)
        stack.callback(listener.close)
        port = int(listener.getsockname()[1])
        settings = Settings(port=port, public_url=of.place.url, allowed_hosts=(f"127.0.0.1:{port}",), disk_reserve_mb=0)
        running = await stack.enter_async_context(run(data, settings, port=port, clock=of.clock))
        url = await stack.enter_async_context(served(running.app, listener))
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=20))
        yield Branch(of, url, running, http)


# -- rows, as whoever can write the file sees them


def rows_of(data: Path, kind: str | None = None) -> Iterator[Row]:
    with closing(sqlite3.connect(data / "control.db")) as state:
        found = state.execute("SELECT kind, key, doc, digest, outbox_id FROM state ORDER BY kind, key").fetchall()
    return (row for row in found if kind in {None, row[0]})


def docs_of(data: Path, kind: str) -> dict[str, Doc]:
    return {key: orjson.loads(doc) for _, key, doc, _, _ in rows_of(data, kind)}


def written(data: Path, *rows: Row) -> None:
    with closing(sqlite3.connect(data / "control.db")) as state, state:
        state.executemany(
            "INSERT OR REPLACE INTO state (kind, key, doc, digest, outbox_id) VALUES (?, ?, ?, ?, ?)", rows
        )


def forged(kind: str, key: str, doc: Mapping[str, Any], outbox: str = "evt_forged") -> Row:
    """A row whose own digest fits, as somebody would make it who has read our source."""
    text = canonical(doc)
    return kind, key, text, row_digest(kind, key, text), outbox


def removed(data: Path, kind: str, key: str) -> None:
    with closing(sqlite3.connect(data / "control.db")) as state, state:
        assert state.execute("DELETE FROM state WHERE kind = ? AND key = ?", (kind, key)).rowcount == 1
