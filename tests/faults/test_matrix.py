"""The fault matrix of docs/faults.md: what agents of each tier are told while one control is down, and afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.matrix import FAULTS, TIERS, Fault, Works, works

_DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
_HEAD = "| what is down | how | low | medium | high |\n| --- | --- | --- | --- | --- |\n"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    with works(tmp_path_factory.mktemp("matrix") / "data") as made:
        yield made


def _written() -> list[str]:
    _, found, rest = _DOCUMENT.read_text().partition(_HEAD)
    assert found, "the document lost its table"
    return rest.partition("\n\n")[0].strip().splitlines()


@pytest.mark.requirement("faults:matrix:documented")
def test_the_document_has_a_line_for_each_fault_and_no_other() -> None:
    written = [tuple(line.split(" | ")[:2]) for line in _written()]
    assert written == [(f"| {fault.down}", fault.how) for fault in FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{fault.down}: {fault.how}" for fault in FAULTS])
@pytest.mark.requirement("faults:matrix:closed", "faults:matrix:documented", "faults:matrix:over")
def test_while_a_control_is_down_each_tier_is_told_what_is_documented_and_afterwards_all_is_as_it_was(
    plant: Works, fault: Fault
) -> None:
    fault.inject(plant)
    try:
        cells = plant.called(asked=fault.asked, unpriced=fault.unpriced)
    finally:
        fault.mend(plant)
    assert fault.row(cells) in _written()
    for tier, cell in cells.items():
        passed, sent = cell.told == "answered", fault.down in {"upstream", "detector"}
        assert passed == cell.reached or (sent and not passed), f"{tier}: refused and sent, or answered and not sent"
    answered = [cells[tier].told == "answered" for tier in TIERS]
    assert answered == sorted(answered, reverse=True), "a higher tier is told no more than a lower one"
    assert {str(cell) for cell in plant.called().values()} == {"answered"}
    assert plant.in_flight() == 0
