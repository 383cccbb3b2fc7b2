"""`make conformance`: the same checks against tool servers directly and through the gateway, and where they differ.

Two targets stand behind a real installation with one agent that may use every tool of both: `reference`, which the kits
are made for, and `everything`, the published sample server, whose own tools are called as well. The table says how the
checks came out; the exit status is 1 for a difference that `differences.toml` does not explain, or explains in vain.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from accredit.bootstrap import run
from accredit.demo.world import DemoPerson
from accredit.serving import bound, served
from accredit.settings import Settings
from tests.conformance.calling import called, tools_of
from tests.conformance.comparing import Difference, Outcome, compared, judged, known_of
from tests.conformance.kits import RUNS, everything, run_kit, versions
from tests.conformance.reference import Reference
from tests.conformance.relay import relay
from tests.policies import with_cases

LIST = Path(__file__).with_name("differences.toml")
_CREDENTIAL = "Bearer 0123456789abcdef-conformance"


@dataclass(frozen=True, slots=True)
class _Target:
    """A tool server and the two ways to it."""

    name: str
    direct: str
    through: str


def _document(kind: str, metadata: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind, "spec": dict(spec)}
    return head | ({"metadata": dict(metadata)} if metadata else {})


def _agent(server: str, tools: Sequence[str]) -> dict[str, Any]:
    spec = {
        "purpose": "be measured",
        "owner": "dana@example.com",
        "tools": [{"server": server, "allow": list(tools)}],
        "data": ["internal"],
        "models": [],
        "prompt": {"digest": "sha256:" + "0" * 64},
        "autonomy": "acts-unattended",
        "audience": "employees",
        "inputs": ["employees"],
        "reach": "department",
        "use": {"annex3": False, "decidesOnPeople": False},
        "limits": {"calls": {"perMinute": 100_000}, "concurrency": 64, "cost": {"perDay": "1000 USD"}},
    }
    return _document("Agent", {"name": server, "team": "support", "environment": "development"}, spec)


def _server(name: str, url: str, tools: Sequence[str]) -> dict[str, Any]:
    facts = {tool: {"effect": "read", "data": ["internal"], "price": "0 USD"} for tool in tools}
    return _document(
        "ToolServer", {"name": name, "environment": "development"}, {"url": url, "credential": name, "tools": facts}
    )


class _Installation:
    """An installation in which each tool server has one agent that may use all of it."""

    def __init__(self, operator: DemoPerson, port: int, stack: contextlib.AsyncExitStack) -> None:
        self._operator = operator
        self._port = port
        self._stack = stack

    async def register(self, name: str, url: str) -> str | Mapping[str, Any]:
        """Where an agent that may use everything of that server reaches it; or the problem, if it is not taken."""
        operator, tools = self._operator, await tools_of(url)
        origin = url.removesuffix("/mcp")
        await operator.put(
            f"upstream-credentials/{name}", {"origin": origin, "header": "Authorization", "value": _CREDENTIAL}
        )
        text = json.dumps([_server(name, url, tools), _agent(name, tools)])
        status, answer = await operator.attempt("apply", {"files": [{"name": "f.json", "text": text}]})
        if status >= 300:
            return dict(answer)
        key = (await operator.post(f"agents/{name}/keys", {"days": 1}))["key"]
        relayed = await self._stack.enter_async_context(relay("127.0.0.1", self._port, f"Authorization: Bearer {key}"))
        return f"http://127.0.0.1:{relayed}/mcp/{name}"


@asynccontextmanager
async def _installation(data: Path) -> AsyncIterator[_Installation]:
    async with contextlib.AsyncExitStack() as stack:
        listener = bound("127.0.0.1", 0)
        port = int(listener.getsockname()[1])
        settings = Settings(port=port, disk_reserve_mb=0, attempts_per_minute=1_000_000)
        running = await stack.enter_async_context(run(data, settings, port=port))
        url = await stack.enter_async_context(served(running.app, listener))
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60))
        operator = DemoPerson(http)
        await operator.sign_in(running.first_link or "")
        people = [
            _document("Person", None, {"email": "dana@example.com"}),
            _document("Team", {"name": "support"}, {"zones": ["UTC"]}),
        ]
        await operator.post("apply", {"files": [{"name": "f.json", "text": json.dumps(people)}]})
        forbid = 'forbid (principal, action, resource in DataClass::"secret");'
        await operator.post("policy/publish", {"files": with_cases({"org/guardrails.cedar": forbid})})
        yield _Installation(operator, port, stack)


def _free_port() -> int:
    listener = bound("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    listener.close()
    return port


async def _measure(target: _Target, wanted: str) -> tuple[list[Difference], list[tuple[str, Outcome, Outcome]]]:
    """Every run of every kit on both ways, and the target's own tools where the kits know none of them."""
    differences: list[Difference] = []
    shown: list[tuple[str, Outcome, Outcome]] = []
    for each in RUNS:
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
            "everything": await stack.enter_async_context(everything(_free_port())),
        }
        installation = await stack.enter_async_context(_installation(Path(place) / "data"))
        for name, direct in upstream.items():
            through = await installation.register(name, direct)
            if isinstance(through, str):
                found, counted = await _measure(_Target(name, direct, through), wanted)
            else:
                found = [Difference(name, "registration", "applied", "SUCCESS", "FAILURE", str(through["detail"]))]
                counted = []
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
