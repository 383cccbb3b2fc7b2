"""What models cost whose registration does not say: list prices and the operator's own, pinned when registered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import data_snapshot
from genai_prices.types import ModelPrice

from accredit.kernel.errors import InvalidInputError
from tests.enforcement.place import document
from tests.gateway.models import Room, chat, room, writer

LISTED = "gpt-4o"
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def _provider(url: str, models: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return document(
        "ModelProvider",
        {"name": "listed", "environment": "development"},
        {"api": "openai", "url": url, "credential": "llm-key", "models": models, **spec},
    )


def _agent(model: str) -> dict[str, Any]:
    return writer(models=[{"provider": "listed", "model": model}])


async def _cost(at: Room, model: str) -> int:
    at.provider.answer = {**chat("Hello"), "model": model, "usage": USAGE}
    asked = {"model": model, "messages": [], "max_tokens": 10}
    assert (await at.post("openai/v1/chat/completions", asked)).status_code == 200
    return int((await at.outcomes())[-1]["settled"]["cost"])


def _rates(at: Room) -> dict[str, Any]:
    row = at.at.running.plane.control.view.get("server", "listed")
    assert row is not None
    return {entry["name"]: entry["rates"] for entry in row.doc["tools"]}


@pytest.fixture
def dearer() -> Iterator[Any]:
    """A newer library, by which the model costs twice as much."""

    def come() -> None:
        before = data_snapshot.get_snapshot()
        providers = []
        for one in before.providers:
            models = [
                replace(model, prices=ModelPrice(input_mtok=Decimal(5), output_mtok=Decimal(20)))
                if one.id == "openai" and model.id == LISTED
                else model
                for model in one.models
            ]
            providers.append(replace(one, models=models))
        data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(providers=providers, from_auto_update=False))

    try:
        yield come
    finally:
        data_snapshot.set_custom_snapshot(None)


@pytest.mark.requirement("llm:prices")
def test_a_model_without_prices_has_its_list_price_and_keeps_it_until_it_is_registered_anew(
    tmp_path: Path, dearer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            manifest = _provider(at.url, {LISTED: {}}, prices="openai")
            await at.at.apply(manifest, _agent(LISTED))
            first = await _cost(at, LISTED)
            assert first == 100 * 2_500 + 20 * 10_000
            before = _rates(at)[LISTED]
            assert before["source"].startswith("genai-prices ")
            assert before["max_output"] == 128_000
            with monkeypatch.context() as patch:
                patch.setattr("accredit.registry.prices.version", lambda _: "99.0")
                await at.at.apply(manifest)
                assert _rates(at)[LISTED] == before  # the same price of another list is no change
            dearer()
            assert await _cost(at, LISTED) == first  # a newer library alone changes nothing
            registered = len(at.at.records("server.updated"))
            await at.at.apply(manifest)
            assert len(at.at.records("server.updated")) == registered + 1
            assert await _cost(at, LISTED) == 2 * first
            assert [one["settled"]["cost"] for one in await at.outcomes()] == [first, first, 2 * first]

    asyncio.run(live())


@pytest.mark.requirement("llm:prices")
def test_the_operators_own_prices_go_first_and_what_nobody_knows_a_price_of_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(
        f"openai:\n  {LISTED}: {{input: 7 USD, output: 9 USD, maxOutput: 100}}\n"
        "anthropic:\n  '*': {input: 50 USD, output: 100 USD, maxOutput: 1000}\n"
    )

    async def live() -> None:
        async with room(tmp_path / "data", price_file=str(own)) as at:
            unknown: list[dict[str, str]] = [{"prices": "openai"}, {"prices": "no-such"}, {}]
            for spec in unknown:
                refused = await at.at.refused_apply(_provider(at.url, {"gpt-of-nobody": {}}, **spec))
                assert "price_missing" in str(refused), refused
            # an address that is no provider's we know has no list price
            refused = await at.at.refused_apply(_provider(at.url, {"gpt-5": {}}))
            assert "price_missing" in str(refused)
            await at.at.apply(_provider(at.url, {LISTED: {}, "gpt-5": {}}, prices="openai"), _agent(LISTED))
            assert await _cost(at, LISTED) == 100 * 7_000 + 20 * 9_000
            assert _rates(at)[LISTED]["source"].startswith("price file ")
            assert _rates(at)["gpt-5"]["source"].startswith("genai-prices ")
            any_other = _provider(at.url, {"claude-of-tomorrow": {}})
            any_other["spec"]["api"] = "anthropic"
            any_other["metadata"]["name"] = "other"
            await at.at.apply(any_other)
            half = _provider(at.url, {"m": {"input": "1 USD"}})
            assert (await at.at.refused_apply(half))["code"] == "manifest_invalid"

    asyncio.run(live())


@pytest.mark.requirement("llm:prices")
def test_prices_by_size_count_as_the_highest_and_a_list_that_is_malformed_starts_nothing(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            tiered = _provider(at.url, {"claude-sonnet-4-5": {"maxOutput": 64_000}}, prices="anthropic")
            await at.at.apply(tiered)
            rates = _rates(at)["claude-sonnet-4-5"]
            assert {name: rates[name]["nanos"] // 10**7 for name in ("input", "output", "cache_read")} == {
                "input": 600,
                "output": 2250,
                "cache_read": 60,
            }
            assert rates["cache_write"]["nanos"] == 12 * 10**9
            assert rates["max_output"] == 64_000
        for text in (
            "openai: {m: {}}",
            "openai: {m: {input: 1 USD, output: 1 EUR, maxOutput: 1}}",
            "gemini: {}",
            "- 1",
        ):
            wrong = tmp_path / "wrong.yaml"
            wrong.write_text(text)
            with pytest.raises(InvalidInputError, match="price_file"):
                async with room(tmp_path / "other", price_file=str(wrong)):
                    raise AssertionError("it started")

    asyncio.run(live())


@pytest.mark.requirement("policy:access:models")
def test_the_dossier_and_the_access_validation_tell_of_models_what_they_tell_of_tools(tmp_path: Path) -> None:
    models = [{"provider": "gpt", "model": "gpt-x"}, {"provider": "elsewhere", "model": "m"}]

    async def live() -> None:
        async with room(tmp_path / "data", writer(models=models)) as there:
            unused = (await there.at.operator.get("agents/development/writer"))["answers"]["tools"]["models"]
            assert [(one["tool"], one["last_used"]) for one in unused] == [("elsewhere/m", None), ("gpt/gpt-x", None)]
            asked = {"model": "gpt-x", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
            assert (await there.post("openai/v1/chat/completions", asked)).status_code == 200
            await there.at.settled()
            dossier = await there.at.operator.get("agents/development/writer")
            elsewhere, used = dossier["answers"]["tools"]["models"]
            assert (used["outcome"], used["registered"], used["hosted_tools"]) == ("allowed", True, "refused")
            assert used["price"]["input"] == "3 USD"
            assert (used["provider"], used["model"], used["api"]) == ("gpt", "gpt-x", "openai")
            assert used["last_used"] is not None
            (record,) = [header for header, body in there.at.records("tool.pinned") if header["seq"] == used["record"]]
            assert record["tool"] == "gpt/gpt-x"
            assert (elsewhere["outcome"], elsewhere["code"]) == ("forbidden", "action_unknown")
            assert (elsewhere["price"], elsewhere["registered"], elsewhere["record"]) == (None, False, None)
            shown = await there.at.operator.get("agents/development/writer/validation")
            assert [(row["tool"], row["outcome"]) for row in shown["models"]] == [
                ("elsewhere/m", "forbidden"),
                ("gpt/gpt-x", "allowed"),
            ]
            assert shown["excess"] == []

    asyncio.run(live())
