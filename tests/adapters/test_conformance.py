"""The one suite that every adapter passes: nothing runs without a yes, and a refusal reaches the model.

`make test` runs it for the frameworks that its environment has; `make adapters` for each in an environment of its own
(`ADAPTERS` names which).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

import pytest

from accredit.kernel.signatures import signature
from accredit.sdk import adapters
from accredit.sdk.adapters.importing import govern_on_import
from tests.adapters.bench import HOLD, TIMEOUT_S, bench, tools

_CHOSEN: Final = os.environ.get("ADAPTERS", "langchain openai_agents pydantic_ai").split()
_ARGUMENTS: Final = {"customer_id": "c-1"}
_ASKED: Final = ("crm/read", _ARGUMENTS)

Play = Callable[..., None]


@pytest.fixture(scope="module", autouse=True)
def _governed() -> None:
    """As `accredit run` has it: by importing the framework, which the driver does."""
    govern_on_import(tools)


@pytest.fixture(params=_CHOSEN)
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    """Let the framework's agent run once; what it raises besides `Exception` stops the suite."""
    driver = import_module(f"tests.adapters.drivers.{request.param}")
    assert adapters._installed[request.param] is tools
    bench.reset()

    def played(*, stream: bool = False, fails: bool = False) -> None:
        bench.forget()
        try:
            driver.play(_ARGUMENTS, stream=stream)
        except Exception:
            if not fails:
                raise

    yield played
    bench.reset()


def _refusal() -> dict[str, Any]:
    """The refusal as it stands in what the model was told."""
    (said,) = bench.told
    said = said.replace('\\"', '"')  # some frameworks show the answer as a text within a text
    begins = re.search(r'\{"error": ?"refused"', said)
    assert begins, said
    found, _ = json.JSONDecoder().raw_decode(said[begins.start() :])
    return dict(found)


@pytest.mark.requirement("sdk:adapters:checked")
def test_allow(play: Play) -> None:
    play()
    assert bench.asked == [_ASKED]
    assert bench.ran == ["c-1"]
    assert "Kim" in bench.told[0]


_READ: Final = {"type": "object", "properties": {"customer_id": {"type": "string"}}, "required": ["customer_id"]}


@pytest.mark.requirement("sdk:local:signature")
def test_what_the_tool_takes_is_told_where_the_framework_says_so(play: Play, request: pytest.FixtureRequest) -> None:
    play()
    told = request.node.callspec.params["play"] in {"langchain", "openai_agents", "pydantic_ai"}
    assert bench.signature == (signature(_READ) if told else None)


@pytest.mark.requirement("sdk:adapters:checked")
def test_deny(play: Play) -> None:
    bench.says = "deny"
    play()
    assert (bench.asked, bench.ran) == ([_ASKED], [])
    said = _refusal()
    assert (said["code"], said["decision_id"]) == ("tool_not_granted", "dec_0001")
    assert said["hint"]


@pytest.mark.requirement("sdk:adapters:checked")
def test_hold(play: Play) -> None:
    bench.says = "hold"
    for _ in range(2):
        play()
        said = _refusal()
        assert (said["code"], said["hold"], bench.ran) == ("approval_required", HOLD, [])
        assert HOLD in said["hint"]
    bench.hold = "approved"
    play()
    assert (bench.ran, bench.hold) == (["c-1"], "used")
    play()
    assert (_refusal()["hold"], bench.ran) == (HOLD, [])


@pytest.mark.requirement("sdk:adapters:closed")
def test_timeout(play: Play) -> None:
    bench.says = "hang"
    began = time.monotonic()
    play()
    assert time.monotonic() - began < 40 * TIMEOUT_S
    assert (_refusal()["code"], bench.ran) == ("timeout", [])


@pytest.mark.requirement("sdk:adapters:closed")
def test_raise(play: Play) -> None:
    bench.says = "raise"
    play()
    assert (_refusal()["code"], bench.ran) == ("unavailable", [])
    bench.says = "break"
    play(fails=True)
    assert (bench.asked, bench.ran) == ([], [])
    bench.says = "allow"
    play()
    assert bench.ran == ["c-1"]


@pytest.mark.requirement("sdk:adapters:checked")
def test_stream(play: Play) -> None:
    play(stream=True)
    assert (bench.asked, bench.ran) == ([_ASKED], ["c-1"])
    assert "Kim" in bench.told[0]
    bench.says = "deny"
    play(stream=True)
    assert (bench.asked, bench.ran, _refusal()["code"]) == ([_ASKED], [], "tool_not_granted")
    bench.says = "break"
    play(stream=True, fails=True)
    assert (bench.asked, bench.ran) == ([], [])
