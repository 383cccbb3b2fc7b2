"""What the tests of tool servers share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway import scripted


@pytest.fixture(scope="module")
def script() -> Iterator[str]:
    """The scripted server where any user can read it."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "scripted.py"
    shutil.copy(scripted.__file__, path)
    path.chmod(0o644)
    yield str(path)
    shutil.rmtree(folder)
