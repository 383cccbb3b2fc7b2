"""Options of the whole suite."""

from __future__ import annotations

from functools import lru_cache

import httpx2._transports.default
import hypothesis
import pytest

# each of thousands of clients would read the machine's authorities for itself, most of them to speak without TLS
httpx2._transports.default.create_ssl_context = lru_cache(httpx2.create_ssl_context)  # type: ignore[attr-defined]

# how long an example takes says how busy the machine is
hypothesis.settings.register_profile("accredit", deadline=None)
hypothesis.settings.load_profile("accredit")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often the chaos tests kill what they start, and whether whole families of cases are run."""
    parser.addoption("--rounds", type=int, default=3, help="how many times each chaos test kills its process")
    parser.addoption("--thorough", action="store_true", help="run the cases that are marked `thorough`, and no others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a family of slow cases every run has some, and `make thorough` the others."""
    wanted = bool(config.getoption("--thorough"))
    found = [(item, (item.get_closest_marker("thorough") is not None) is wanted) for item in items]
    config.hook.pytest_deselected(items=[item for item, runs in found if not runs])
    items[:] = [item for item, runs in found if runs]
