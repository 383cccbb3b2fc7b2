"""What an instance says it runs, signed with its own key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from accredit.identity.endpoint import TokenEndpoint
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, CredentialId
from tests.identity.world import SUPPORT, URL, Instance, World, refusal, run

_DIGEST = "sha256:" + "a" * 64


class Heard:
    """Who said what."""

    def __init__(self) -> None:
        self.said: list[tuple[AgentId, CredentialId, Mapping[str, Any]]] = []

    def __call__(self, agent: AgentId, credential: CredentialId, posture: Mapping[str, Any]) -> None:
        self.said.append((agent, credential, posture))


async def _heard() -> tuple[Heard, Instance]:
    world, heard = await World().started(), Heard()
    world.endpoint = TokenEndpoint(
        world.state,
        world.keys,
        world.verifier,
        world.directory,
        world.tasks,
        world.audit,
        clock=world.clock,
        ids=world.ids,
        attempts=world.gate,
        public_url=URL,
        on_posture=heard,
    )
    return heard, await world.instance()


@pytest.mark.requirement("identity:posture:reported")
def test_a_posture_reaches_whoever_compares_it_with_agent_and_credential_as_proven() -> None:
    async def scenario() -> None:
        heard, instance = await _heard()
        posture = {"version": _DIGEST, "prompt": _DIGEST, "models": [["anthropic", "claude-sonnet-5"]]}
        await instance.token(**instance.proof(posture=posture))
        assert heard.said == [(SUPPORT, instance.credential.id, posture)]
        await instance.token(**instance.proof(posture={}))
        await instance.token()
        assert len(heard.said) == 2

    run(scenario())


MALFORMED: dict[str, Any] = {
    "a text": "sha256:",
    "a list": [],
    "another key": {"version": _DIGEST, "agent": "agt_billing"},
    "a null": {"version": None},
    "no digest": {"prompt": "sha256:zz"},
    "a digest with a line after it": {"prompt": _DIGEST + "\n"},
    "a pair of three": {"models": [["a", "b", "c"]]},
    "an empty name": {"models": [["", "b"]]},
    "a long name": {"models": [["a" * 129, "b"]]},
    "a name that turns its line around": {"models": [["a", "b\u202e"]]},
    "many models": {"models": [["a", "b"]] * 51},
    "models by name": {"models": {"a": "b"}},
}


@pytest.mark.requirement("identity:posture:form")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_posture_of_another_form_refuses_the_assertion_and_is_told_nobody(name: str) -> None:
    async def scenario() -> None:
        heard, instance = await _heard()
        reply = refusal(await instance.ask(**instance.proof(posture=MALFORMED[name])))
        assert reply.code is Code.TOKEN_CLAIMS
        assert heard.said == []

    run(scenario())


@pytest.mark.requirement("identity:posture:proven")
def test_nobody_reports_for_another_and_no_report_counts_twice() -> None:
    async def scenario() -> None:
        heard, instance = await _heard()
        stranger = Instance(instance.world, instance.world.user_key, instance.credential)
        refusal(await stranger.ask(**stranger.proof(posture={"version": _DIGEST})))
        proof = instance.proof(posture={"version": _DIGEST})
        await instance.token(**proof)
        refusal(await instance.ask(**proof))
        assert len(heard.said) == 1

    run(scenario())
