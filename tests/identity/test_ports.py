"""What this room offers fits the ports of the rooms that use it."""

from __future__ import annotations

import pytest

from accredit.enforcement.ports import CredentialBroker, TokenVerifier
from tests.identity.world import World, run


@pytest.mark.requirement("identity:access:form", "identity:broker:pinned")
def test_verifier_and_broker_are_what_enforcement_asks_for() -> None:
    async def scenario() -> None:
        world = await World().started()
        verifier: TokenVerifier = world.verifier
        broker: CredentialBroker = world.broker
        token = await (await world.instance()).token()
        assert verifier.still_valid(verifier.verify(token, path="/mcp/crm")) is None
        assert callable(broker.headers)

    run(scenario())
