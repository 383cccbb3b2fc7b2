"""Which tool is asked about, and what of a framework's classes is wrapped."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.errors import InvalidInputError
from accredit.sdk.adapters import FRAMEWORKS, govern
from accredit.sdk.adapters.wrapping import check_every
from accredit.sdk.guard import ToolDecision
from accredit.sdk.guarded import CatalogueNames, GuardedTools
from tests.adapters.bench import Bench, guarded

# -- names


@pytest.mark.requirement("sdk:guarded:names")
def test_a_tool_is_what_it_was_said_to_be_or_nothing() -> None:
    names = CatalogueNames("crm", {"give back": "shop/refund"})
    assert names.find("give back") == "shop/refund"
    assert names.find("read") == "crm/read"
    assert names.find("mcp__shop__refund") == "shop/refund"
    assert CatalogueNames().find("read") is None
    assert names.find("../shop/refund") == "crm/..%2Fshop%2Frefund"
    for wrong in ("refund", "Shop/refund", "shop/", "/refund", "shop/a/b", "shop/@read"):
        with pytest.raises(InvalidInputError):
            CatalogueNames("crm", {"refund": wrong})
    with pytest.raises(InvalidInputError):
        CatalogueNames("a/b")


@pytest.mark.requirement("sdk:guarded:names")
@given(st.text(max_size=40))
def test_no_name_reaches_another_server(name: str) -> None:
    found = CatalogueNames("crm").find(name)
    assert found is not None
    if not name.startswith("mcp__"):
        assert found.startswith("crm/")
        assert found.count("/") == 1


@pytest.mark.requirement("sdk:adapters:closed")
@pytest.mark.parametrize("text", ["[]", "7", "{", '{"a": 1, "a": 2}', '"x"', "nul", '{"a": NaN}', "{}" * 2])
def test_arguments_that_are_not_one_object_are_refused_unasked(text: str) -> None:
    bench = Bench()
    tools = guarded(bench)
    assert tools.check("read", text).code == "arguments_invalid"
    assert asyncio.run(tools.check_async("read", text)).code == "arguments_invalid"
    assert not bench.asked


@pytest.mark.requirement("sdk:adapters:closed")
def test_arguments_without_a_json_form_are_refused() -> None:
    bench = Bench()
    tools = guarded(bench)
    for odd in ({"x": object()}, {1: "a", "b": object()}, {"x": {1, 2}}):
        assert not tools.check("read", odd)  # type: ignore[arg-type]
        assert not asyncio.run(tools.check_async("read", odd))  # type: ignore[arg-type]


@pytest.mark.requirement("sdk:adapters:closed")
def test_many_threads_ask_at_once() -> None:
    bench = Bench()
    tools = guarded(bench)
    found: list[bool] = []

    def asks(number: int) -> None:
        found.append(bool(tools.check("read", {"customer_id": str(number)})))

    threads = [threading.Thread(target=asks, args=(number,)) for number in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert found == [True] * 40


@pytest.mark.requirement("sdk:guarded:environment")
def test_the_environment_names_one_credential() -> None:
    said = {"ACCREDIT_URL": "https://a.example.com", "ACCREDIT_AGENT": "clerk", "ACCREDIT_AGENT_KEY": "acca_x"}
    assert GuardedTools.from_environment(said)
    for wrong in (
        {"ACCREDIT_AGENT_KEY": ""},
        {"ACCREDIT_AGENT": ""},
        {"ACCREDIT_URL": ""},
        {"ACCREDIT_URL": "http://a.example.com"},
        {"ACCREDIT_IDENTITY": "id.json"},
        {"ACCREDIT_TOOLS": "{"},
        {"ACCREDIT_TOOLS": '{"a": 1}'},
        {"ACCREDIT_TOOLS": '["a"]'},
        {"ACCREDIT_TOOLS": '{"a": "b"}'},
    ):
        with pytest.raises(InvalidInputError):
            GuardedTools.from_environment(said | wrong)


@pytest.mark.requirement("sdk:guarded:environment")
def test_a_framework_is_governed_by_one() -> None:
    with pytest.raises(InvalidInputError):
        govern("basic")
    assert len(FRAMEWORKS) == 10


# -- refusals


@pytest.mark.requirement("sdk:adapters:checked")
@pytest.mark.parametrize("code", ["approval_required", "approval_denied", "timeout", "unavailable", "tool_not_granted"])
def test_every_refusal_is_one_short_object_with_a_hint(code: str) -> None:
    text = ToolDecision(allowed=False, code=code, message='"' * 5_000, approval="hld_1").refusal()
    told = json.loads(text)
    assert (told["error"], told["code"], told["hold"]) == ("refused", code, "hld_1")
    assert told["hint"]
    assert len(text) < 2_000


# -- wrapping


class _Tool:
    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, text: str) -> str:
        self.ran.append(text)
        return text

    async def arun(self, text: str) -> str:
        return self.run(f"a{text}")

    async def stream(self, text: str) -> AsyncIterator[str]:
        self.ran.append(text)
        yield text


def _wrapped() -> tuple[Bench, type[_Tool]]:
    """A framework of its own, and who answers for it."""
    bench = Bench()
    base: type[_Tool] = type("Base", (_Tool,), dict(_Tool.__dict__))
    tools = guarded(bench)

    def named(_: Any, text: str) -> tuple[str, dict[str, str]]:
        return "read", {"customer_id": text}

    def refused(decision: ToolDecision, *_: Any) -> str:
        return decision.code

    for method in ("run", "stream"):
        check_every(base, method, tools, named, refused)
    return bench, base


@pytest.mark.requirement("sdk:adapters:checked")
def test_a_class_that_is_defined_later_is_checked_and_what_it_inherits_is_not_asked_about_twice() -> None:
    bench, base = _wrapped()

    class Later(base):  # type: ignore[valid-type,misc]
        def run(self, text: str) -> str:
            return f"later {super().run(text)}"

    class Last(Later):
        def run(self, text: str) -> str:
            return f"last {super().run(text + '!')}"

    tool = Last()
    assert tool.run("x") == "last later x!"
    assert bench.asked == [("crm/read", {"customer_id": "x"})]
    bench.says = "deny"
    assert (tool.run("x"), Later().run("x"), tool.ran) == ("tool_not_granted", "tool_not_granted", ["x!"])


@pytest.mark.requirement("sdk:adapters:checked")
def test_a_tool_that_calls_a_tool_is_asked_about_both() -> None:
    bench, base = _wrapped()
    inner = base()

    class Outer(base):  # type: ignore[valid-type,misc]
        def run(self, text: str) -> str:
            bench.says = "deny"
            return f"{inner.run(text)} {self.run(text) if text == 'again' else ''}"

    assert Outer().run("x").strip() == "tool_not_granted"
    bench.says = "allow"
    # itself, too
    assert Outer().run("again") == "tool_not_granted tool_not_granted"
    assert inner.ran == []


@pytest.mark.requirement("sdk:adapters:checked")
def test_a_stream_of_results_begins_after_a_yes() -> None:
    bench, base = _wrapped()
    tool = base()

    async def streamed() -> list[str]:
        return [each async for each in tool.stream("x")]

    assert asyncio.run(streamed()) == ["x"]
    bench.says = "deny"
    assert asyncio.run(streamed()) == ["tool_not_granted"]
    assert tool.ran == ["x"]


@pytest.mark.requirement("sdk:adapters:closed")
def test_a_framework_that_is_not_as_it_was_is_refused() -> None:
    with pytest.raises(AttributeError):
        check_every(_Tool, "gone", guarded(Bench()), lambda *_: ("", {}), lambda *_: None)
