"""One installation for this folder's tests: what each adds is its own, and none counts on being the first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.installation import Installation, installation


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("api") / "data") as running:
        yield running
