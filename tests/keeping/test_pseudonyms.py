"""A mapping that was erased stands for nobody: whoever it stood for is new."""

from __future__ import annotations

import pytest

from accredit.audit.model import Pseudonym
from accredit.enforcement.pseudonyms import Pseudonyms
from accredit.kernel.ids import SeededIds


@pytest.mark.requirement("keeping:erase:exactly")
def test_whoever_was_erased_gets_a_new_pseudonym_whose_mapping_is_kept_again() -> None:
    known = [Pseudonym("user", "alice", "psd_a"), Pseudonym("user", "bob", "psd_b")]
    names = Pseudonyms(SeededIds(1), known)
    names.forget(["psd_a", "psd_nobody"])
    fresh, mapping = names.of("user", "alice")
    assert fresh != "psd_a"
    assert mapping == Pseudonym("user", "alice", fresh)
    assert names.of("user", "bob") == ("psd_b", None)
