"""Promises of how long records are kept: legal holds, erasure, retention, archives."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("keeping:hold:beats", "DESIGN §5", "a legal hold keeps all that it could mean, the unknown included"),
    Requirement("keeping:hold:two", "DESIGN §5", "placer and lifter differ, whichever accounts they use"),
    Requirement("keeping:hold:proven", "DESIGN §3.2", "a hold the log contradicts stops every deletion"),
    Requirement("keeping:hold:nameless", "DESIGN §5", "no hold keeps the name of the subject it means"),
)
