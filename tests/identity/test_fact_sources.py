"""What one person alone registered vouches for users and tasks in development, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson
import pytest

from accredit.identity.endpoint import TokenReply
from accredit.identity.model import IssuerKind
from accredit.identity.providers import ContextProviders
from accredit.kernel.codes import Code
from accredit.registry.model import AgentState, Environment
from tests.identity.world import ADMIN, SUPPORT, Instance, World, agent, granted, refusal, run


def _moved(world: World, environment: Environment) -> None:
    """As if the very same agent stood there: nothing else is another."""
    state = AgentState.ACTIVE if environment is Environment.PRODUCTION else AgentState.APPROVED
    world.directory[SUPPORT] = agent(SUPPORT, state=state, environment=environment)


async def _signed_off(world: World, kind: str, key: str, *, by_two: bool) -> None:
    row = world.control.view.get(kind, key)
    assert row is not None
    doc = {name: value for name, value in row.doc.items() if name != "enacted"}
    await world.put(kind, key, doc | ({"enacted": "sha256:" + "0" * 64} if by_two else {}))


async def _instance() -> Instance:
    return await (await World().started()).instance()


@pytest.mark.parametrize("environment", [Environment.STAGING, Environment.PRODUCTION])
@pytest.mark.requirement("identity:fact-source:two-persons")
def test_an_issuer_that_one_person_registered_counts_in_development_alone(environment: Environment) -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        assert isinstance(await instance.ask_exchange(task_token=world.task_token()), TokenReply)
        _moved(world, environment)
        assert refusal(await instance.ask_exchange()).code is Code.ISSUER_UNAPPROVED
        await _signed_off(world, "issuer", world.users.id, by_two=True)
        assert isinstance(await instance.ask_exchange(), TokenReply)
        # the task's issuer is another
        reply = await instance.ask_exchange(task_token=world.task_token())
        assert refusal(reply).code is Code.ISSUER_UNAPPROVED
        await _signed_off(world, "issuer", world.ticketing.id, by_two=True)
        assert isinstance(await instance.ask_exchange(task_token=world.task_token()), TokenReply)

    run(scenario())


@pytest.mark.requirement("identity:fact-source:two-persons")
def test_a_provider_that_one_person_registered_counts_in_development_alone_and_is_not_asked_elsewhere() -> None:
    async def scenario() -> None:
        instance = await _instance()
        world = instance.world
        spec = {"of": "user", "issuer": "staff", "url": "https://hr.example.com/facts", "facts": {"level": "integer"}}
        manifest = {"apiVersion": "accredit/v1", "kind": "ContextProvider", "metadata": {"name": "hr"}, "spec": spec}
        await world.registry.apply([("hr.json", orjson.dumps(manifest))], ADMIN)
        asked: list[str] = []

        class Fetch:
            async def ready(self) -> None:
                await asyncio.sleep(0.5)  # no time of the provider's, which has 300 ms

            async def __call__(self, url: str, body: bytes, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
                asked.append(url)
                return b'{"level": 3}'

        async def no_credential(credential: str | None, url: str) -> Mapping[str, str]:
            return {}

        providers = ContextProviders(
            world.control, world.state, Fetch(), no_credential, world.directory, clock=world.clock
        )
        principal = world.verifier.verify(granted(await instance.ask_exchange()), path="/mcp/crm")
        assert (await providers.of(principal, None)).user["hr"]["level"] == 3
        _moved(world, Environment.PRODUCTION)
        found = await providers.of(principal, None)
        assert (found.user, found.absent, len(asked)) == ({}, (("hr", Code.ISSUER_UNAPPROVED),), 1)
        await _signed_off(world, "context_provider", "hr", by_two=True)
        assert (await providers.of(principal, None)).user["hr"]["level"] == 3
        assert providers.fact_types(IssuerKind.USER)["hr"]
        await providers.aclose()

    run(scenario())
