"""Questions to the AuthZEN API of a real server: one started place for a module, and an enforcement point's key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2

from tests.enforcement.place import GUARDRAILS, WORKER, Place, document, place
from tests.policies import with_cases

__all__ = ["ALICE_READS", "INTEROP", "Answer", "Asking", "asking", "question", "release_of"]

_T = TypeVar("_T")

INTEROP: Final = Path(__file__).parent / "interop"


def release_of(scenario: str) -> dict[str, str]:
    """The files under `ext/` of a published scenario."""
    return {f"ext/{path.name}": path.read_text() for path in sorted((INTEROP / scenario / "ext").iterdir())}


def question(subject: str, action: str, resource: str, **context: Any) -> dict[str, Any]:
    """May `type:id` do this to `type:id`?"""

    def named(name: str) -> dict[str, Any]:
        kind, _, own = name.partition(":")
        return {"type": kind, "id": own}

    asked: dict[str, Any] = {"subject": named(subject), "action": {"name": action}, "resource": named(resource)}
    return asked | ({"context": context} if context else {})


ALICE_READS: Final = question("user:alice", "read", "record:record-1")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: httpx2.Headers
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def decision(self) -> bool:
        """The decision of a single evaluation, which was answered and is one."""
        assert self.status == 200, self.text
        decision = self.json["decision"]
        assert isinstance(decision, bool)
        return decision

    @property
    def context(self) -> Mapping[str, Any]:
        return dict(self.json["context"])

    def problem(self, status: int, code: str) -> Mapping[str, Any]:
        """It is that problem document."""
        assert (self.status, self.headers["content-type"]) == (status, "application/problem+json"), self.text
        assert (self.json["status"], self.json["code"]) == (status, code), self.text
        return dict(self.json)


class Asking:
    """A loop with one place in it, and a key of the enforcement point `app`."""

    def __init__(self, runner: asyncio.Runner, at: Place) -> None:
        self._runner = runner
        self.at = at
        self.key = ""

    def run(self, story: Coroutine[Any, Any, _T]) -> _T:
        """Let the loop turn until the story is over; every wait is bounded."""

        async def bounded() -> _T:
            async with asyncio.timeout(60):
                return await story

        return self._runner.run(bounded())

    async def point(self, name: str, **spec: Any) -> str:
        """Register an enforcement point; a key of it."""
        given = {"types": ["user", "record"], "servers": ["crm"], "calls": {"perMinute": 100_000}} | spec
        await self.at.apply(document("EnforcementPoint", {"name": name}, given))
        return str((await self.at.operator.post(f"enforcement-points/{name}/keys", {}))["secret"])

    async def token(
        self, name: str = "worker", *, user: str | None = None, ticket: str | None = None, roles: Sequence[str] = ()
    ) -> str:
        """A token of an agent, for this API."""
        identity, route = self.at.site.identities[name], f"{self.at.url}/access/v1"
        if user is None:
            return await identity.access_token(route)
        subject = self.at.site.directory.token_for(user, roles=list(roles), audience=self.at.url)
        task = None
        if ticket is not None:
            task = self.at.site.desk.token_for(
                ticket, user=user, agent=identity.agent, customer="c-1", audience=self.at.url
            )
        return await identity.exchange(route, subject_token=subject, task_token=task)

    async def publish(self, files: Mapping[str, str]) -> None:
        await self.at.operator.post("policy/publish", {"files": with_cases({**GUARDRAILS, **files})})

    async def send(
        self,
        path: str,
        content: bytes | AsyncIterator[bytes],
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        more: Sequence[tuple[bytes, bytes]] = (),
    ) -> Answer:
        """A body as it is; without a key it is the point's. `more` are headers that stand as they are, even twice."""
        named = {"content-type": "application/json", "authorization": f"Bearer {key or self.key}", **(headers or {})}
        given = [(name.encode(), value.encode()) for name, value in named.items()] + list(more)
        reply = await self.at.site.agents_http.request(
            method, f"{self.at.url}/access/v1/{path}", content=content, headers=given
        )
        return Answer(reply.status_code, reply.headers, reply.text)

    async def ask(self, path: str, body: Any, key: str | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(path, json.dumps(body).encode(), key, named)

    async def get(self, path: str, key: str | None = None) -> Answer:
        headers = {"authorization": f"Bearer {key or self.key}"}
        reply = await self.at.site.agents_http.get(f"{self.at.url}{path}", headers=headers)
        return Answer(reply.status_code, reply.headers, reply.text)

    def asked(self, path: str, body: Any, key: str | None = None, **headers: str) -> Answer:
        return self.run(self.ask(path, body, key, **headers))

    def advice(self) -> list[dict[str, Any]]:
        """The bodies of all records of advice, oldest first."""
        self.run(self.at.settled())
        return [body for _, body in self.at.records("advice")]

    def turned_away(self) -> list[dict[str, Any]]:
        """The bodies of all records of refused askers, oldest first."""
        self.run(self.at.settled())
        return [body for _, body in self.at.records("refused.authentication")]


@contextmanager
def asking(
    data: Path,
    files: Mapping[str, str],
    *agents: Mapping[str, Any],
    types: tuple[str, ...] = ("user", "record"),
    **settings: Any,
) -> Iterator[Asking]:
    """A place whose release holds these files, and whose point `app` may ask about the tool server and these types."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opened = place(data, *(agents or (WORKER,)), **settings)
        here = Asking(runner, runner.run(stack.enter_async_context(opened)))
        try:
            if files:
                here.run(here.publish(files))
            here.key = here.run(here.point("app", types=list(types)))
            yield here
        finally:
            runner.run(stack.aclose())
