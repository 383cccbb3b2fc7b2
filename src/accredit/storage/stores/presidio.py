"""Microsoft Presidio beside the built-in detector, in scans of stores: what it recognises by form and context words.

It runs in a process of its own, for it is some fifty times as slow. Nothing is loaded from a network: there is no
language model, so names of people and places are not looked for, and its recognisers of e-mail addresses and URLs,
which would ask for a list of domains, are left out; addresses are found by the built-in detector.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from threading import Lock
from typing import Any, Final

from accredit.lifecycle.detecting import BuiltInDetector
from accredit.storage.stores.reading import missing

__all__ = ["PresidioDetector"]

_OURS: Final = {
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip_address",
    "PHONE_NUMBER": "phone",
    "UK_NHS": "uk_nhs",
    "US_PASSPORT": "passport",
    "US_SSN": "us_ssn",
}
"""What the built-in detector has a name for."""
_LEFT_OUT: Final = frozenset(
    {"EmailRecognizer", "UrlRecognizer", "DateRecognizer", "UuidRecognizer", "SpacyRecognizer"}
)
_FINANCIAL: Final = frozenset({"crypto", "us_bank_number"})
_LANGUAGE: Final = "en"
_SURE: Final = 0.5
_PIECE: Final = 50_000
_OVERLAP: Final = 200
_SECONDS: Final = 60
"""What one text may take before it counts as not looked at."""


class PresidioDetector:
    """Both detectors behind the port `FindsPersonal`; of a kind that both know, the higher count."""

    def __init__(self, locales: Iterable[str]) -> None:
        """`locales` are those of the built-in detector.

        Raises:
            UnavailableError: Presidio is not installed.
        """
        if find_spec("presidio_analyzer") is None:
            raise missing("presidio", "presidio-analyzer")
        self._built_in = BuiltInDetector(locales)
        self._pool: Executor | None = None
        self._starting = Lock()

    @property
    def name(self) -> str:
        with contextlib.suppress(PackageNotFoundError):
            return f"built-in, presidio {version('presidio-analyzer')}"
        return "built-in, presidio"

    def seen(self, text: str) -> tuple[Mapping[str, int], bool]:
        counts, whole = self._built_in.seen(text)
        more = self._counted(text)
        if more is None:
            return counts, False
        return {kind: max(counts.get(kind, 0), more.get(kind, 0)) for kind in {*counts, *more}}, whole

    def data_class(self, kind: str) -> str:
        try:
            return self._built_in.data_class(kind)
        except ValueError:
            return "financial" if kind in _FINANCIAL else "personal"

    def close(self) -> None:
        """End the process."""
        with self._starting:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _counted(self, text: str) -> Mapping[str, int] | None:
        """What Presidio counts; None if it did not get through."""
        try:
            return self._asked(text).result(timeout=_SECONDS)
        except Exception:  # noqa: BLE001 - it raises errors of many roots, and its process may die
            self._ended()
            return None

    def _asked(self, text: str) -> Future[Mapping[str, int]]:
        with self._starting:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
            return self._pool.submit(_count, text)

    def _ended(self) -> None:
        with self._starting:
            pool, self._pool = self._pool, None
        if isinstance(pool, ProcessPoolExecutor):
            for process in list(pool._processes.values()):  # noqa: SLF001 - there is no other way to stop a search
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)


def _count(text: str) -> Mapping[str, int]:
    """Different values of each kind. In the process that is Presidio's."""
    found: dict[str, set[str]] = {}
    for piece in _pieces(text):
        for one in _engine().analyze(piece, language=_LANGUAGE, score_threshold=_SURE):
            kind = _OURS.get(one.entity_type, one.entity_type.lower())
            found.setdefault(kind, set()).add(piece[one.start : one.end])
    return {kind: len(values) for kind, values in found.items()}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, max(len(text) - _OVERLAP, 1), _PIECE - _OVERLAP):
        yield text[start : start + _PIECE]


@cache
def _engine() -> Any:
    os.environ["REGEX_TIMEOUT_SECONDS"] = "10"
    import spacy  # noqa: PLC0415 - an extra
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # noqa: PLC0415
    from presidio_analyzer.nlp_engine import SpacyNlpEngine  # noqa: PLC0415

    class BlankEngine(SpacyNlpEngine):  # type: ignore[misc]
        """Words and nothing else: the stock engine downloads a model when it is made."""

        def __init__(self) -> None:
            super().__init__()
            self.nlp = {_LANGUAGE: spacy.blank(_LANGUAGE)}

        def load(self) -> None:
            """There is nothing to load."""

    registry = RecognizerRegistry(supported_languages=[_LANGUAGE])
    registry.load_predefined_recognizers(languages=[_LANGUAGE])
    registry.recognizers = [one for one in registry.recognizers if one.name not in _LEFT_OUT]
    return AnalyzerEngine(registry=registry, nlp_engine=BlankEngine(), supported_languages=[_LANGUAGE])
