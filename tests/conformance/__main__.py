"""`make conformance`: the same checks against tool servers directly and through the gateway, and where they differ.

Three targets stand behind a real installation with an agent each that may use everything of it: `reference`, which the
kits are made for; `sessions`, the same server, registered in the era of sessions; and `everything`, the published
sample server, whose own tools are called as well. The last two are not asked about the later era: the gateway's answers
there have nothing to be compared with. The kit's client scenarios are played with the SDK's client, alone and with the
gateway between it and the kit's server. The table says how the checks came out; the exit status is 1 for a difference
that `differences.toml` does not explain, or explains in vain.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accredit.serving import bound, served
from tests.conformance.calling import called
from tests.conformance.comparing import Check, Difference, Outcome, compared, judged, known_of
from tests.conformance.installing import installation
from tests.conformance.kits import CLIENT, CLIENT_SCENARIOS, RUNS, KitRun, everything, run_client, run_kit, versions
from tests.conformance.reference import Reference

LEGACY = "2025-11-25"
LIST = Path(__file__).with_name("differences.toml")


@dataclass(frozen=True, slots=True)
class _Target:
    """A tool server and the two ways to it."""

    name: str
    direct: str
    through: str

    @property
    def runs(self) -> tuple[KitRun, ...]:
        """Of the kits, in the era that the gateway speaks to it; for `reference` also clients of the older one."""
        return tuple(each for each in RUNS if each.sessions is (self.name != "reference"))


def _free_port() -> int:
    listener = bound("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    listener.close()
    return port


async def _measure(target: _Target, wanted: str) -> tuple[list[Difference], list[tuple[str, Outcome, Outcome]]]:
    """Every run of every kit on both ways, and the target's own tools where the kits know none of them."""
    differences: list[Difference] = []
    shown: list[tuple[str, Outcome, Outcome]] = []
    for each in target.runs:
        label = f"{target.name}, {each.label}"
        if wanted in label:
            direct, through = await run_kit(each, target.direct), await run_kit(each, target.through)
            shown.append((label, direct, through))
            differences += compared(label, direct, through)
    label = f"{target.name}, its own tools"
    if target.name == "everything" and wanted in label:
        direct, through = await called(target.direct), await called(target.through)
        shown.append((label, direct, through))
        differences += compared(label, direct, through)
    return differences, shown


async def _as_client(wanted: str) -> tuple[list[Difference], list[tuple[str, Outcome, Outcome]]]:
    """The kit's client scenarios: with the SDK's client alone, and with the gateway between it and the kit's server."""
    label = f"client, {CLIENT.label}"
    if wanted not in label:
        return [], []
    direct: dict[str, Sequence[Check]] = {}
    through: dict[str, Sequence[Check]] = {}
    at_once = asyncio.Semaphore(4)  # each is a process that starts a server, a client and perhaps an installation

    async def play(scenario: str, *, by: bool) -> Outcome:
        async with at_once:
            return await run_client(scenario, through=by)

    ways = [(scenario, by) for scenario in CLIENT_SCENARIOS for by in (False, True)]
    for (_, by), found in zip(ways, await asyncio.gather(*(play(one, by=by) for one, by in ways)), strict=True):
        (through if by else direct).update(found)
    return compared(label, direct, through), [(label, direct, through)]


def _count(outcome: Outcome) -> str:
    counted = Counter(check.status for checks in outcome.values() for check in checks)
    return f"{counted['SUCCESS']:4} passed {counted['FAILURE']:3} failed {counted['WARNING']:3} warnings"


async def _main(wanted: str, *, verbose: bool) -> int:
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    known = known_of(LIST.read_text())
    differences: list[Difference] = []
    shown: list[tuple[str, Outcome, Outcome]] = []
    async with contextlib.AsyncExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory())
        reference = await stack.enter_async_context(served(Reference().app(), bound("127.0.0.1", 0)))
        upstream = {
            "reference": f"{reference}/mcp",
            "sessions": f"{reference}/mcp",
            "everything": await stack.enter_async_context(everything(_free_port())),
        }
        installed = await stack.enter_async_context(installation(Path(place) / "data"))
        for name, direct in upstream.items():
            through = await installed.register(name, direct, LEGACY if name == "sessions" else None)
            if isinstance(through, str):
                found, counted = await _measure(_Target(name, direct, through), wanted)
            else:
                found = [Difference(name, "registration", "applied", "SUCCESS", "FAILURE", str(through["detail"]))]
                counted = []
            differences += found
            shown += counted
    found, counted = await _as_client(wanted)
    differences += found
    shown += counted
    width = max((len(label) for label, _, _ in shown), default=0)
    print(f"\n{'':{width}}  {'direct':36}  through the gateway")
    for label, before, after in shown:
        print(f"{label:{width}}  {_count(before):36}  {_count(after)}")
    unknown, stale = judged(differences, known)
    print(f"\n{len(differences)} checks came out differently, {len(differences) - len(unknown)} of them as listed")
    for one in differences if verbose else unknown:
        print(f"  {'' if one in unknown else '(listed) '}{one}")
    stale = stale if not wanted else []  # a part of the runs cannot show what is missing from the rest
    for each in stale:
        print(f"  listed, but not seen: {each}")
    return 1 if unknown or stale else 0


def main() -> None:
    """Run, print, and exit."""
    arguments = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    arguments.add_argument("--only", default="", help="run only what has this in its name, such as `reference`")
    arguments.add_argument("--verbose", action="store_true", help="show the differences that are listed too")
    given = arguments.parse_args()
    logging.getLogger("mcp").addHandler(logging.NullHandler())  # the kits send what the SDK warns of
    sys.exit(asyncio.run(_main(given.only, verbose=given.verbose)))


if __name__ == "__main__":
    main()
