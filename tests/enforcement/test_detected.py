"""What a result has in it is on record as kinds and counts, and as data classes in what the session touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.enforcement.model import Admitted, CallEnd, Refused
from accredit.enforcement.records import classes_seen
from accredit.kernel.codes import Code
from accredit.kernel.detector import Detector
from accredit.kernel.errors import UnavailableError
from accredit.registry.model import Environment, Tier
from tests.enforcement.place import CRM_FACTS, CRM_TOOLS, Place, ToolBox, agent, raw_bytes, site, tool

CARD = "4111 1111 1111 1111"
TOOLS = (*CRM_TOOLS, tool("send", text={"type": "string"}))
FACTS: Mapping[str, Mapping[str, Any]] = {
    **CRM_FACTS,
    "send": {"effect": "external", "data": ["internal"], "price": "0 USD"},
}
CLERK = agent("clerk", [{"allow": ["read", "send"]}], limits={"calls": {"perMinute": 600}, "cost": {"perDay": "9 USD"}})
EGRESS = {
    "org/egress.cedar": """
@hold("security")
forbid (principal, action in Action::"@external", resource)
when { context.session.data.contains("financial") || context.instance.data.contains("secret") };
"""
}


def _text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


async def _read(at: Place, who: Any, result: Mapping[str, Any] | None, end: CallEnd = CallEnd.OK) -> dict[str, Any]:
    """The body of the outcome of a call that answered so."""
    reading = await at.admit(who, "read")
    assert isinstance(reading, Admitted)
    at.settle(reading, end, result=result)
    await at.settled()
    return at.records("outcome")[-1][1]


async def _sends(at: Place, who: Any) -> Code:
    answer = await at.admit(who, "send", {"text": "hello"})
    if isinstance(answer, Refused):
        return answer.code
    at.settle(answer, sent=False)
    return Code.ALLOWED


@pytest.mark.requirement("detected:recorded:counts")
def test_an_outcome_tells_kinds_and_counts_and_no_value_in_the_clear(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data", box=ToolBox(*TOOLS)) as there, there.started() as at:
            await there.register(at, CLERK, facts=FACTS)
            who = await at.principal("clerk")
            said = f"card {CARD}, once more {CARD}, mail kim@example.com and ann@example.com"
            body = await _read(at, who, _text(said) | {"structuredContent": {"card": int(CARD.replace(" ", ""))}})
            assert (body["detected"], body["detected_in_part"]) == ({"card": 1, "email": 2}, False)
            # what a failed tool says is looked at too
            body = await _read(at, who, _text("no such user: kim@example.com"), CallEnd.TOOL_ERROR)
            assert body["detected"] == {"email": 1}
            body = await _read(at, who, {"error": {"code": 1, "message": "password=hunter2"}}, CallEnd.PROTOCOL_ERROR)
            assert body["detected"] == {"password": 1}
            for nothing in (_text("12 orders"), None):
                body = await _read(at, who, nothing)
                assert (body["detected"], body["detected_in_part"]) == (None, False)
            body = await _read(at, who, _text("x" * 40_000 + " kim@example.com"))
            assert (body["detected"], body["detected_in_part"]) == (None, True)
        for stored in raw_bytes(there.data):
            for value in (CARD, "kim@example.com", "hunter2"):
                assert value.encode() not in stored

    asyncio.run(live())


@pytest.mark.requirement("detected:recorded:always")
def test_a_detector_that_fails_neither_loses_the_outcome_nor_says_there_was_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Detector, value: Any) -> Any:
        raise RuntimeError(f"cannot read {value}")

    async def live() -> None:
        async with site(tmp_path / "data", box=ToolBox(*TOOLS)) as there, there.started() as at:
            await there.register(at, CLERK, facts=FACTS)
            who = await at.principal("clerk")
            monkeypatch.setattr(Detector, "count", fail)
            body = await _read(at, who, _text(CARD))
            assert (body["end"], body["detected"], body["detected_in_part"]) == ("ok", None, True)

    asyncio.run(live())
    assert "failed" in caplog.text
    assert CARD not in caplog.text


@pytest.mark.requirement("detected:session:touched")
def test_classes_seen_in_a_result_are_touched_by_that_call_also_after_a_restart(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data", box=ToolBox(*TOOLS)) as there:
            async with there.started() as at:
                await there.register(at, CLERK, facts=FACTS, files=EGRESS)
                who, other = await at.principal("clerk"), await at.principal("clerk", user="kim@example.com")
                assert await _sends(at, who) is Code.ALLOWED
                await _read(at, who, _text("12 orders"))
                assert await _sends(at, who) is Code.ALLOWED
                await _read(at, who, _text(f"paid by {CARD}"))
                assert await _sends(at, who) is Code.HELD
                assert await _sends(at, other) is Code.ALLOWED  # another session, and no secret
                await _read(at, other, _text("password=hunter2"))
                assert await _sends(at, other) is Code.HELD
                await at.settled()
            there.clock.advance(60)
            async with there.started() as at:
                assert await _sends(at, await at.principal("clerk")) is Code.HELD
                await at.settled()
            there.verified()

    asyncio.run(live())


@pytest.mark.requirement("detected:undeclared")
def test_a_class_nobody_approved_is_told_of_and_kept_from_the_most_critical_agents_in_production(
    tmp_path: Path,
) -> None:
    async def live() -> None:
        async with site(tmp_path / "data", box=ToolBox(*TOOLS)) as there, there.started() as at:
            await there.register(at, CLERK, facts=FACTS)
            who = await at.principal("clerk")
            body = await _read(at, who, _text("12 orders"))
            assert body["undeclared"] == []
            body = await _read(at, who, _text(f"paid by {CARD}, ask kim@example.com"))
            assert body["undeclared"] == ["financial", "personal"]
            await at.running.plane.room.monitor.round()
            alerts = (await at.operator.get("alerts"))["items"]
            assert {(one["kind"], one["matter"]) for one in alerts} >= {
                ("new-data-class", "financial"),
                ("new-data-class", "personal"),
            }
            for environment, tier, withheld in (
                (Environment.DEVELOPMENT, None, False),
                (Environment.PRODUCTION, Tier.LOW, False),
                (Environment.PRODUCTION, Tier.MEDIUM, False),
                (Environment.PRODUCTION, Tier.HIGH, True),
                (Environment.PRODUCTION, None, True),
            ):
                reading = await at.admit(who, "read")
                assert isinstance(reading, Admitted)
                opened = at.enforcer._open[reading.decision_id]
                assert opened.passage.agent is not None
                opened.passage.agent = replace(opened.passage.agent, environment=environment, tier=tier)
                if withheld:
                    with pytest.raises(UnavailableError, match="financial data") as refused:
                        at.enforcer.inspect(reading, _text(CARD))
                    assert refused.value.code is Code.RESULT_UNDECLARED
                    at.settle(reading, CallEnd.WITHHELD, code=Code.RESULT_UNDECLARED)
                else:
                    at.enforcer.inspect(reading, _text(CARD))
                    at.settle(reading, result=_text(CARD))
                await at.settled()
                ended = at.records("outcome")[-1][1]
                assert (ended["detected"], ended["undeclared"]) == ({"card": 1}, ["financial"])

    asyncio.run(live())


@pytest.mark.requirement("detected:undeclared")
def test_what_the_tool_is_registered_with_or_the_agent_approved_for_is_declared(tmp_path: Path) -> None:
    facts = {**FACTS, "read": {**FACTS["read"], "data": ["internal", "personal"]}}
    clerk = agent("clerk", [{"allow": ["read"]}], data=["internal", "personal", "financial"])

    async def live() -> None:
        async with site(tmp_path / "data", box=ToolBox(*TOOLS)) as there, there.started() as at:
            await there.register(at, clerk, facts=facts)
            body = await _read(at, await at.principal("clerk"), _text(f"{CARD} of kim@example.com, password=hunter2"))
            assert body["detected"] == {"card": 1, "email": 1, "password": 1}
            assert body["undeclared"] == ["secret"]

    asyncio.run(live())


@pytest.mark.requirement("detected:session:touched")
def test_outcomes_of_older_and_of_newer_versions_can_be_read() -> None:
    assert classes_seen({"end": "ok"}) == frozenset()
    assert classes_seen({"detected": None}) == frozenset()
    assert classes_seen({"detected": {"card": 2, "of_a_later_version": 1}}) == {"financial"}
