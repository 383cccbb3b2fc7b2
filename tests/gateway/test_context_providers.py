"""Facts about users and tasks from registered providers, over sockets: when they count, and when they are absent."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from accredit.enforcement.history import PastCall
from accredit.kernel.clock import ScriptedClock
from accredit.policy.replay import reproduce
from accredit.serving import bound, served
from tests.enforcement.place import KIM, TICKET, WORKER, Place, document, place
from tests.families import every_third
from tests.policies import with_cases

NEEDED = (
    'forbid (principal, action == Action::"crm/read", resource)'
    " unless { context has user && context.user has hr && context.user.hr has level && context.user.hr.level >= 3 };"
)
SECRET = "of-the-hr-provider-0123456789"


class Hr:
    """A provider that answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status, self.body = 200, json.dumps({"level": 3, "department": "sales"}).encode()
        self.more: list[tuple[bytes, bytes]] = []
        self.hangs = False
        self.release = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        assert (scope["method"], scope["path"], scope["query_string"]) == ("POST", "/facts", b"")
        self.asked.append(json.loads(message["body"]))
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        if self.hangs:
            await self.release.wait()
        await send({"type": "http.response.start", "status": self.status, "headers": self.more})
        await send({"type": "http.response.body", "body": self.body})


def provider(base_url: str, name: str = "hr", **spec: Any) -> dict[str, Any]:
    base = {
        "of": "user", "issuer": "directory", "url": f"{base_url}/facts", "timeout": "2s", "credential": "hr-key",
        "facts": {"level": "integer", "department": "string", "lead": "boolean"},
    }  # fmt: skip
    return document("ContextProvider", {"name": name}, base | spec)


@asynccontextmanager
async def with_provider(data: Path, **spec: Any) -> AsyncIterator[tuple[Place, Hr]]:
    hr = Hr()
    async with served(hr, bound("127.0.0.1", 0)) as url, place(data, WORKER) as at:
        credential = {"origin": url, "header": "Authorization", "value": SECRET}
        await at.operator.put("upstream-credentials/hr-key", credential)
        await at.apply(provider(url, **spec))
        await at.operator.post("policy/publish", {"files": with_cases({"org/a.cedar": NEEDED})})
        yield at, hr


def live(scenario: Callable[[Place, Hr], Awaitable[None]], tmp_path: Path, **spec: Any) -> None:
    async def run() -> None:
        async with with_provider(tmp_path / "data", **spec) as (at, hr):
            await scenario(at, hr)
            await at.settled()

    asyncio.run(run())


def _calls(at: Place) -> list[PastCall]:
    return [one for one in at.running.plane.history.calls() if isinstance(one, PastCall)]


@pytest.mark.requirement("provider:facts:count", "provider:asked:minimal")
def test_registered_facts_decide_calls_under_the_providers_name_with_their_age(tmp_path: Path) -> None:
    async def scenario(at: Place, hr: Hr) -> None:
        token = await at.token("worker", user=KIM)
        assert (await at.call(token, "read")).allowed
        assert hr.asked == [{"for": "user", "id": KIM, "issuer": at.site.directory.url}]
        assert hr.headers[0]["authorization"] == SECRET
        clock = at.site.clock
        assert isinstance(clock, ScriptedClock)
        clock.advance(20)
        assert (await at.call(token, "read")).allowed
        assert len(hr.asked) == 1, "what is known is not asked again"
        clock.advance(41)
        hr.body = b'{"level": 2}'
        (await at.call(token, "read")).refused("forbidden_by_policy")
        await at.settled()
        known = [call.facts() for call in _calls(at)]
        assert [facts["user"]["hr"] for facts in known if facts] == [
            {"level": 3, "department": "sales", "age_s": 0},
            {"level": 3, "department": "sales", "age_s": 20},
            {"level": 2, "age_s": 0},
        ]
        # nobody is asked about whom no user stands behind
        (await at.call(await at.token("worker"), "read")).refused("forbidden_by_policy")
        assert len(hr.asked) == 2
        # the past comes out as it was, whatever the provider says now
        hr.body = b'{"level": 9}'
        found = reproduce(at.running.plane.history.calls())
        assert found.exact
        assert found.judged == 4
        assert len(hr.asked) == 2

    live(scenario, tmp_path)


def _redirect(hr: Hr) -> None:
    hr.status, hr.more = 307, [(b"location", b"http://127.0.0.1:1/")]


def _error(hr: Hr) -> None:
    hr.status = 500


def _hangs(hr: Hr) -> None:
    hr.hangs = True


def _large(hr: Hr) -> None:
    hr.body = json.dumps({"level": 3, "department": "x" * 5_000}).encode()


def _packed(hr: Hr) -> None:
    hr.body, hr.more = gzip.compress(hr.body), [(b"content-encoding", b"gzip")]


def _no_json(hr: Hr) -> None:
    hr.body = b"level: 3"


def _repeated(hr: Hr) -> None:
    hr.body = b'{"level": 1, "level": 3}'


def _list(hr: Hr) -> None:
    hr.body = b'[{"level": 3}]'


def _typed_otherwise(hr: Hr) -> None:
    hr.body = b'{"level": "3"}'


def _reserved(hr: Hr) -> None:
    hr.body = b'{"level": 3, "other": [{"__entity": {"type": "Agent", "id": "x"}}]}'


def _reserved_extension(hr: Hr) -> None:
    hr.body = b'{"level": {"__extn": {"fn": "decimal", "arg": "3.0"}}}'


@pytest.mark.parametrize(
    ("broken", "why"),
    every_third([
        (_redirect, "provider_unavailable"), (_error, "provider_unavailable"), (_hangs, "provider_unavailable"),
        (_large, "provider_unavailable"), (_packed, "provider_unavailable"), (_no_json, "provider_invalid"),
        (_repeated, "provider_invalid"), (_list, "provider_invalid"), (_typed_otherwise, "provider_invalid"),
        (_reserved, "provider_invalid"), (_reserved_extension, "provider_invalid"),
    ]),
)  # fmt: skip
@pytest.mark.requirement("provider:facts:absent")
def test_what_goes_wrong_leaves_the_facts_absent_and_is_said(
    broken: Callable[[Hr], None], why: str, tmp_path: Path
) -> None:
    async def scenario(at: Place, hr: Hr) -> None:
        broken(hr)
        token = await at.token("worker", user=KIM)
        told = (await at.call(token, "read")).refused("forbidden_by_policy")
        assert told["detail"] == f"without the facts of `hr` ({why})"
        assert (await at.call(token, "refund", {"cents": 5})).allowed, "what needs them not goes on"
        hr.release.set()
        await at.settled()
        _, body = at.records("decision")[0]
        assert body["absent"] == [["hr", why]]
        facts = _calls(at)[0].facts()
        assert facts is not None
        assert "hr" not in facts["user"]
        assert reproduce(at.running.plane.history.calls()).exact

    live(scenario, tmp_path)


@pytest.mark.requirement("provider:facts:typed")
def test_facts_that_are_not_registered_are_dropped(tmp_path: Path) -> None:
    async def scenario(at: Place, hr: Hr) -> None:
        hr.body = json.dumps({"level": 4, "salary": 1, "roles": ["admin"], "id": "root", "lead": None}).encode()
        assert (await at.call(await at.token("worker", user=KIM), "read")).allowed
        await at.settled()
        facts = _calls(at)[0].facts()
        assert facts is not None
        assert facts["user"] == {"id": KIM, "roles": [], "hr": {"level": 4, "age_s": 0}}

    live(scenario, tmp_path)


@pytest.mark.requirement("provider:asked:once")
def test_however_many_calls_want_the_same_facts_at_once_the_provider_is_asked_once(tmp_path: Path) -> None:
    async def scenario(at: Place, hr: Hr) -> None:
        hr.hangs = True
        principal = await at.principal("worker", user=KIM)
        given_up = asyncio.ensure_future(at.admit(principal, "read"))
        others = [asyncio.ensure_future(at.admit(principal, "read")) for _ in range(2)]
        async with asyncio.timeout(10):
            while not hr.asked:
                await asyncio.sleep(0)
        given_up.cancel()
        hr.release.set()
        for answer in await asyncio.gather(*others):
            at.settle(answer)  # type: ignore[arg-type]  # both are admitted, or this fails
        assert len(hr.asked) == 1

    live(scenario, tmp_path)


@pytest.mark.requirement("provider:asked:minimal")
def test_what_no_policy_reads_is_not_asked_for_and_of_another_issuers_user_nobody_is_asked(tmp_path: Path) -> None:
    async def scenario(at: Place, hr: Hr) -> None:
        other = {**document("Issuer", {"name": "partners"}, {}), "spec": {
            "use": "user", "issuer": "https://partners.example", "jwks": at.site.directory.jwks}}  # fmt: skip
        await at.apply(other)
        signed = at.site.directory.sign("at+jwt", life_s=900, sub=KIM, aud=at.url, iss="https://partners.example")
        token = await at.site.identities["worker"].exchange(at.route("crm"), subject_token=signed)
        (await at.call(token, "read")).refused("forbidden_by_policy")
        assert hr.asked == [], "the same name at another issuer is somebody else"
        await at.operator.post("policy/publish", {"files": with_cases({"org/a.cedar": ""})})
        assert (await at.call(await at.token("worker", user=KIM), "read")).allowed
        assert hr.asked == []

    live(scenario, tmp_path)


@pytest.mark.requirement("provider:registered:off")
def test_a_provider_that_is_turned_off_or_registered_anew_counts_so_at_once(tmp_path: Path) -> None:
    async def scenario(at: Place, hr: Hr) -> None:
        token = await at.token("worker", user=KIM)
        assert (await at.call(token, "read")).allowed
        (row,) = (await at.operator.get("context-providers"))["items"]
        assert (row["name"], row["of"], row["off"]) == ("hr", "user", False)
        assert SECRET not in json.dumps(row)
        url = row["url"].removesuffix("/facts")
        await at.apply(provider(url, off=True))
        (await at.call(token, "read")).refused("forbidden_by_policy")
        await at.apply(provider(url, ttl="1s"))
        assert (await at.call(token, "read")).allowed
        assert len(hr.asked) == 2
        # a credential goes to its own origin alone
        await at.apply(provider("http://localhost:1"))
        told = (await at.call(token, "read")).refused("forbidden_by_policy")
        assert "provider_unavailable" in told["detail"]

    live(scenario, tmp_path)


@pytest.mark.requirement("provider:facts:count")
def test_facts_about_a_task_count_while_the_task_does(tmp_path: Path) -> None:
    async def scenario(at: Place, hr: Hr) -> None:
        text = (
            'forbid (principal, action == Action::"crm/read", resource) unless { context has task'
            ' && context.task has hr && context.task.hr has department && context.task.hr.department == "sales" };'
        )
        await at.operator.post("policy/publish", {"files": with_cases({"org/a.cedar": text})})
        token = await at.token("worker", user=KIM, ticket=TICKET)
        assert (await at.call(token, "read")).allowed
        assert hr.asked == [{"for": "task", "id": TICKET, "issuer": at.site.desk.url}]
        (await at.call(await at.token("worker", user=KIM), "read")).refused("forbidden_by_policy")
        assert len(hr.asked) == 1

    async def run() -> None:
        hr = Hr()
        async with served(hr, bound("127.0.0.1", 0)) as url, place(tmp_path / "data", WORKER) as at:
            await at.apply(provider(url, of="task", issuer="tickets", credential=None))
            await scenario(at, hr)

    asyncio.run(run())


_UNFIT: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("hr", {"issuer": "nobody"}, "issuer_unknown"), ("hr", {"issuer": "tickets"}, "issuer_unknown"),
    ("roles", {}, "conflict"), ("id", {}, "conflict"), ("hr", {"facts": {"age_s": "integer"}}, "manifest_invalid"),
    ("hr", {"facts": {}}, "manifest_invalid"), ("hr", {"facts": {"x": "object"}}, "manifest_invalid"),
    ("hr", {"url": "http://hr.example/facts"}, "manifest_invalid"),
    ("hr", {"url": "https://user@hr.example/"}, "manifest_invalid"), ("hr", {"timeout": "3s"}, "manifest_invalid"),
    ("hr", {"ttl": "2h"}, "manifest_invalid"), ("hr", {"maxBytes": 100_000}, "manifest_invalid"),
    ("customer_id", {}, "manifest_invalid"),
)  # fmt: skip


@pytest.mark.requirement("provider:registered:form")
def test_a_provider_that_could_shadow_a_claim_or_is_not_bounded_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            for name, spec, code in _UNFIT:
                answer = await at.refused_apply(provider("https://hr.example", name, **spec))
                assert code in json.dumps(answer), (name, spec, answer)
            # nor does an issuer later say what a provider says
            await at.apply(provider("https://hr.example", "level"))
            issuer = next(one for one in at.site.people() if one.get("metadata", {}).get("name") == "directory")
            issuer = {**issuer, "spec": {**issuer["spec"], "claims": {"level": "string"}}}
            assert "conflict" in json.dumps(await at.refused_apply(issuer))

    asyncio.run(run())
