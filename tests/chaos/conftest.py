"""What every chaos test asks for."""

from __future__ import annotations

import pytest


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How many times to kill."""
    count = request.config.getoption("--rounds")
    assert isinstance(count, int)
    return count
