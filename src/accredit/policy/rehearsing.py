"""Rehearsing a candidate release: lint, its own tests, and what it would have done to the calls on record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.ports import Engine, VetoEngine
from accredit.policy.rehearsal import Rehearsal
from accredit.policy.release import Release
from accredit.policy.releases import PolicyReleases
from accredit.policy.simulating import Simulations
from accredit.policy.testing import Fleet, TestRun, run_tests

__all__ = ["PolicyTestsError", "Rehearsals"]

_AT_ONCE = 50_000
"""So many records are replayed while somebody waits for the answer to `publish`."""


class PolicyTestsError(InvalidInputError):
    """The release's own cases do not pass, or there are none."""

    def __init__(self, run: TestRun) -> None:
        said = "it has no test case" if not run.cases else f"{len(run.failed)} of {len(run.cases)} cases fail"
        first = f": {run.failed[0].path}: {run.failed[0].name}: {run.failed[0].why}" if run.failed else ""
        super().__init__(Code.POLICY_TESTS_FAILED, f"{said}{first}"[:500], hint=Code.POLICY_TESTS_FAILED.remedy)
        self.run = run


class Rehearsals:
    """Makes the rehearsal that publishing needs."""

    def __init__(
        self,
        releases: PolicyReleases,
        engine: Engine,
        fleet: Callable[[], Fleet],
        simulations: Simulations,
        *,
        now_us: Callable[[], int],
        veto: VetoEngine | None = None,
    ) -> None:
        self._releases = releases
        self._engine = engine
        self._fleet = fleet
        self._simulations = simulations
        self._now_us = now_us
        self._veto = veto
        self._one_at_a_time = asyncio.Lock()

    async def tested(self, release: Release, *, mutation: bool = False) -> TestRun:
        """Run a release's own cases.

        Raises:
            InvalidInputError: a file of cases is not of the form.
        """
        async with self._one_at_a_time:  # it takes the interpreter from calls
            return await asyncio.to_thread(
                run_tests, release, self._engine, self._fleet(), mutation=mutation, veto=self._veto
            )

    async def rehearse(self, files: Mapping[str, str]) -> Rehearsal:
        """Test and simulate the release that these texts would be. A release without any policy needs no case.

        Raises:
            PolicyInvalidError: with every finding.
            PolicyTestsError: a case failed, or there is none.
            ConflictError: history is too long to be replayed on the way, and was not by a simulation of this release.
            UnavailableError: history could not be replayed.
        """
        release = await asyncio.to_thread(self._releases.candidate, files)
        run = await self.tested(release)
        if run.failed or (release.policies and not run.passed):
            raise PolicyTestsError(run)
        base = self._releases.current.digest
        report = await self._simulations.report(release, at_once=_AT_ONCE)
        return Rehearsal(
            release=release.digest,
            base=base,
            tests=len(run.cases),
            covered=run.determined,
            policies=len(release.policies),
            simulated_us=self._now_us(),
            since_us=report.since_us,
            until_seq=report.until_seq,
            calls=report.calls,
            denied=report.denied,
            allowed=report.allowed,
            held=report.held,
            failing=report.failing,
            agents=len(report.agents),
            breaking=report.breaking,
            report=report.digest,
        )
