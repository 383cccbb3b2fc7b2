"""Presidio beside the built-in detector: offline, in a process of its own, and never the reason that a scan stops."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest

from accredit.kernel.errors import UnavailableError
from accredit.storage.stores import presidio
from accredit.storage.stores.presidio import PresidioDetector

pytestmark = pytest.mark.requirement("stores:scan:presidio")


@pytest.fixture
def detector() -> Iterator[PresidioDetector]:
    pytest.importorskip("presidio_analyzer", reason="presidio-analyzer is not installed: make presidio")
    made = PresidioDetector(["us"])
    yield made
    made.close()


def test_without_presidio_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presidio, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError) as refused:
        PresidioDetector([])
    assert refused.value.hint == "pip install 'accredit[presidio]'"


def test_what_either_knows_is_counted_once(detector: PresidioDetector) -> None:
    bank = "My bank account number is 945456787654, routing aside."
    counts, whole = detector.seen(
        f"{bank} mail jo@example.org, card 4111111111111111, wallet 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ"
    )
    assert whole
    assert counts["email"] == counts["card"] == counts["crypto"] == 1
    assert {detector.data_class(kind) for kind in ("crypto", "card")} == {"financial"}
    assert detector.data_class("us_driver_license") == "personal"
    assert "presidio" in detector.name


def test_an_eight_digit_number_and_a_time_zone_are_no_findings(detector: PresidioDetector) -> None:
    # what Presidio alone was measured to say of them: a bank number, a date, an organisation
    assert detector.seen("ticket 48213, record 12345678, at 10:00 UTC in Lyon, see https://example.org/a") == ({}, True)


def test_a_value_deep_in_a_long_text_and_on_a_border_is_found_once(detector: PresidioDetector) -> None:
    wallet = "16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ"
    for at in (49_990, 49_790, 149_700):
        counts, whole = detector.seen("x " * (at // 2) + wallet + " y" * 10_000)
        assert (counts, whole) == ({"crypto": 1}, True)


def test_no_connection_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("presidio_analyzer", reason="presidio-analyzer is not installed: make presidio")
    import socket

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert presidio._count("call +1 202 555 0143 about jo@example.org and 4111111111111111")["card"] == 1


def test_a_process_that_dies_leaves_the_text_as_not_looked_at_and_the_next_one_is_started(
    detector: PresidioDetector,
) -> None:
    assert detector.seen("card 4111111111111111")[1]
    for process in multiprocessing.active_children():
        process.kill()
        process.join()
    counts, whole = detector.seen("card 4111111111111111")
    assert (counts, whole) in (({"card": 1}, False), ({"card": 1}, True))
    assert detector.seen("card 4111111111111111") == ({"card": 1}, True)
