"""Options of the whole suite."""

from __future__ import annotations

import hypothesis
import pytest

# how long an example takes says how busy the machine is
hypothesis.settings.register_profile("accredit", deadline=None)
hypothesis.settings.load_profile("accredit")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often the chaos tests kill what they start: three times by default, more in `make chaos`."""
    parser.addoption("--rounds", type=int, default=3, help="how many times each chaos test kills its process")
