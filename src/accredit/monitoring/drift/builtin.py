"""The built-in detector as one kind among those in use."""

from __future__ import annotations

from dataclasses import dataclass

from accredit.monitoring.drift.fleet import DEFAULT_THRESHOLD
from accredit.monitoring.drift.ports import DriftDetector

__all__ = ["ViewsKind"]


@dataclass(frozen=True, slots=True)
class ViewsKind:
    """A `DetectorKind`: many views of a session in one statistic."""

    threshold: float = DEFAULT_THRESHOLD
    name: str = "views"
    version: str = "1"
    stopped: str | None = None
    e_detector: bool = True

    @property
    def promise(self) -> str:
        sessions = round(10**self.threshold)
        return (
            f"{sessions} sessions at least on average until a false alarm, over baselines and sessions alike, while "
            "sessions are exchangeable with those of the baseline; of views that are fitted to it, nearly"
        )

    def make(self) -> DriftDetector:
        """One that is fitted to nothing yet."""
        # numpy: whoever compares nobody yet does without, and others load it beside the loop
        from accredit.monitoring.drift.detector import BehaviourDetector  # noqa: PLC0415

        return BehaviourDetector(self.threshold)
