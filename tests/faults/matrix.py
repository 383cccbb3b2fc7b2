"""One control after another is broken under a company whose agents were approved in each tier; what each is told.

The agents run in production, each activated by the gate of its tier, and call over the socket. A fault is injected
where the path of a call meets the control, or at the tool server; the rest is what `accredit up` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx2

from accredit.demo import fleet
from accredit.enforcement.ports import Controls
from accredit.kernel.codes import Code
from accredit.kernel.detector import Detector
from accredit.kernel.errors import UnavailableError
from accredit.policy.ports import VetoAnswer
from tests.api.company import Company, agent, assessment, company
from tests.enforcement.place import Port, ToolBox
from tests.gateway.stage import SSE_HEAD, RawServer, Script, Seen, answer_ok, modern
from tests.policies import with_cases

__all__ = ["FAULTS", "TIERS", "Cell", "Fault", "Works", "works"]

TIERS: Final = ("low", "medium", "high")
_SERVER: Final = "plant"
_FACTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "low": {"effect": "read", "data": ["internal"]},
    "medium": {"effect": "write", "scope": "own", "data": ["internal"]},
    "high": {"effect": "read", "data": ["personal"]},
}
_ASKED: Final = """
@hold("business-owner") forbid (
  principal, action in [Action::"plant/low", Action::"plant/medium", Action::"plant/high"], resource
) when { context.input has asked && context.input.asked };
"""
_AGREEMENT: Final = [{"provider": "anthropic", "model": "claude-sonnet-5", "agreement": "dpa-2026-14"}]
_PORTS: Final = ("verifier", "definitions", "broker", "spend", "holds", "validate", "decide", "audit")


@dataclass(frozen=True, slots=True)
class Cell:
    """What one call came to."""

    told: str
    """`answered`, or the code of the refusal."""
    reached: bool
    """Whether the call reached the tool server."""

    def __str__(self) -> str:
        if self.told == "answered":
            return "answered"
        return f"refused `{self.told}`" + (", sent" if self.reached else "")


class _Willing:
    """An engine beside ours that lets everything pass."""

    async def ask(self, document: bytes) -> VetoAnswer:
        return VetoAnswer()


@dataclass
class Works:
    """The company, its tool server, and what can be broken of both."""

    firm: Company
    ports: dict[str, Port]
    box: ToolBox
    raw: RawServer
    detector: Detector
    tokens: dict[str, str] = field(default_factory=dict)
    _up: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _port: int = 0

    # -- the tool server

    def start(self) -> None:
        """Listen, at the same address every time."""
        self.firm.place.do(self._up.enter_async_context(self.raw.run(self._port)))
        self._port = int(self.raw.url.rpartition(":")[2].partition("/")[0])

    def stop(self) -> None:
        """Be gone: nobody listens at that address."""
        self.firm.place.do(self._up.aclose())

    # -- calls

    def called(self, *, asked: bool = False, unpriced: bool = False) -> dict[str, Cell]:
        """A call of the agent of each tier, over the socket, all at once."""
        before = len(self.box.calls)
        names = {tier: f"{tier}-unpriced" if unpriced else tier for tier in TIERS}

        async def calling() -> list[str]:
            return await asyncio.gather(*(self._told(tier, names[tier], {"asked": asked}) for tier in TIERS))

        told = self.firm.place.do(calling())
        reached = {call["name"] for call in self.box.calls[before:]}
        return {tier: Cell(one, names[tier] in reached) for tier, one in zip(TIERS, told, strict=True)}

    async def _told(self, tier: str, tool: str, arguments: Mapping[str, Any]) -> str:
        body, headers = modern(params={"name": tool, "arguments": dict(arguments)})
        headers = {name: value for name, value in headers.items() if name != "host"}
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            answer = await http.post(
                f"{self.firm.place.url}/mcp/{_SERVER}",
                content=body,
                headers=headers | {"authorization": f"Bearer {self.tokens[tier]}"},
            )
        message = answer.json()
        if "error" in message:
            return str(message["error"]["data"]["code"])
        result = message["result"]
        return str(result["structuredContent"]["code"]) if result["isError"] else "answered"

    def in_flight(self) -> int:
        """Calls that were admitted and have no end."""
        return self.firm.place.plane.enforcer.in_flight

    def mend(self) -> None:
        """Nothing is broken any more."""
        for port in self.ports.values():
            port.instead.clear()
        self.firm.place.plane.enforcer._detector = self.detector
        self.box.answer = answer_ok


@dataclass(frozen=True, slots=True)
class Fault:
    """What is down, and how it comes to be."""

    down: str
    how: str
    """As the document says it."""
    inject: Callable[[Works], None]
    asked: bool = False
    """The call is one that a person has to approve."""
    unpriced: bool = False
    """The call is of a tool without a price."""
    mend: Callable[[Works], None] = Works.mend

    def row(self, cells: Mapping[str, Cell]) -> str:
        """The line of the document."""
        return f"| {self.down} | {self.how} | {' | '.join(str(cells[tier]) for tier in TIERS)} |"


def _raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def _later(error: Exception) -> Callable[..., Any]:
    async def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def _instead(port: str, method: str, what: Callable[..., Any]) -> Callable[[Works], None]:
    return lambda at: at.ports[port].instead.update({method: what})


def _no_record_of(kind: str) -> Callable[[Works], None]:
    def inject(at: Works) -> None:
        real = at.ports["audit"].real

        def append(entry: Any) -> Any:
            return real.append(entry) if entry.facts.kind != kind else _later(_NO_LOG)()

        at.ports["audit"].instead["append"] = append

    return inject


def _answers(script: Script) -> Callable[[Works], None]:
    def inject(at: Works) -> None:
        at.box.answer = script

    return inject


async def _hangs(_: asyncio.StreamWriter, seen: Seen) -> None:
    await seen.until_closed()


async def _breaks_off(writer: asyncio.StreamWriter, _: Seen) -> None:
    writer.write(SSE_HEAD + b'data: {"jsonrpc"')
    await writer.drain()
    writer.close()


async def _veto_is_gone(_: bytes) -> VetoAnswer:
    return VetoAnswer(fault="no answer")


def _no_look_at_results(at: Works) -> None:
    blind: Any = Port(at.detector)
    blind.instead["count"] = _raising(_BUG)
    at.firm.place.plane.enforcer._detector = blind


_NO_LOG = UnavailableError(Code.AUDIT_UNAVAILABLE, "the disk is gone")
_NO_COUNTERS = UnavailableError(Code.LIMITS_UNAVAILABLE, "the counters are gone")
_NO_CREDENTIAL = UnavailableError(Code.UPSTREAM_CREDENTIAL, "the credential cannot be opened")
_NO_LOOK = UnavailableError(Code.DEFINITION_UNVERIFIED, "nobody could be asked")
_BUG = RuntimeError("a mistake")

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "identity",
        "whether the credential still stands cannot be told",
        _instead("verifier", "still_valid", _raising(_BUG)),
    ),
    Fault("policy", "the engine fails", _instead("decide", "__call__", _raising(_BUG))),
    Fault("policy, the second engine", "Open Policy Agent does not answer", _instead("outside", "ask", _veto_is_gone)),
    Fault("schemas", "arguments cannot be checked", _instead("validate", "__call__", _raising(_BUG))),
    Fault(
        "definitions",
        "whether the tool is as pinned cannot be told",
        _instead("definitions", "refusal", _later(_NO_LOOK)),
    ),
    Fault("audit, before the call", "the decision cannot be written", _no_record_of("decision")),
    Fault("audit, after the call", "the outcome cannot be written", _no_record_of("outcome")),
    Fault("counters, attempts", "attempts cannot be counted", _instead("spend", "attempt", _raising(_NO_COUNTERS))),
    Fault("counters, limits", "nothing can be reserved", _instead("spend", "reserve", _raising(_NO_COUNTERS))),
    Fault("prices", "the tool has no price", lambda _: None, unpriced=True),
    Fault("approvals", "holds cannot be read", _instead("holds", "any_granted", _raising(_NO_LOG))),
    Fault(
        "approvals, a call nobody has to approve", "holds cannot be opened", _instead("holds", "open", _later(_NO_LOG))
    ),
    Fault(
        "approvals, a call somebody has to approve",
        "holds cannot be opened",
        _instead("holds", "open", _later(_NO_LOG)),
        asked=True,
    ),
    Fault(
        "credentials", "the upstream credential cannot be read", _instead("broker", "headers", _raising(_NO_CREDENTIAL))
    ),
    Fault("detector", "results cannot be looked at", _no_look_at_results),
    Fault("upstream", "nobody listens", Works.stop, mend=Works.start),
    Fault("upstream", "it hangs", _answers(_hangs)),
    Fault("upstream", "it breaks off in the middle of an answer", _answers(_breaks_off)),
)


@contextlib.contextmanager
def works(data: Path) -> Iterator[Works]:
    """The company with its tool server up, and one agent in force in each tier."""
    ports: dict[str, Port] = {}

    def replaced(controls: Controls) -> Controls:
        ports.update({name: Port(getattr(controls, name)) for name in _PORTS})
        ports["outside"] = Port(_Willing())
        swapped: Any = replace(controls, **ports)
        return swapped  # type: ignore[no-any-return]  # a port that forwards everything has every method

    tools = [
        {
            "name": name,
            "description": f"Does {name}.",
            "inputSchema": {"type": "object", "properties": {"asked": {"type": "boolean"}}},
        }
        for tier in TIERS
        for name in (tier, f"{tier}-unpriced")
    ]
    box = ToolBox(*tools)
    with company(data, replaced=replaced) as firm:
        made = Works(firm, ports, box, RawServer(box), firm.place.plane.enforcer._detector)
        made.start()
        try:
            _registered(made)
            for tier in TIERS:
                _in_force(made, tier)
            yield made
        finally:
            made.stop()


def _registered(made: Works) -> None:
    firm, origin = made.firm, made.raw.url.removesuffix("/mcp")
    credential = {"origin": origin, "header": "Authorization", "value": "0123456789abcdef-brokered"}
    answer = firm["otto"].put("/api/v1/upstream-credentials/plant-key", json=credential)
    assert answer.status_code < 300, answer.text
    facts: dict[str, Any] = {}
    for tier in TIERS:
        facts |= {tier: {**_FACTS[tier], "price": "0.01 USD"}, f"{tier}-unpriced": dict(_FACTS[tier])}
    spec = {"url": made.raw.url, "credential": "plant-key", "tools": facts}
    server = {
        "apiVersion": "accredit/v1",
        "kind": "ToolServer",
        "metadata": {"name": _SERVER, "environment": "production"},
        "spec": spec,
    }
    (pending,) = firm.apply("otto", server)
    firm.vote("sam", pending["approval"], "security")
    asked = firm.post("otto", "policy/publish", {"files": with_cases({**fleet.policies(), "org/asked.cedar": _ASKED})})
    firm.vote("sam", asked["approval"], "security")


def _in_force(made: Works, tier: str) -> None:
    firm, name = made.firm, f"{tier}-worker"
    spec: dict[str, Any] = {
        "tools": [{"server": _SERVER, "allow": [tier, f"{tier}-unpriced"]}],
        "limits": {"timeout": {"call": "1s"}, "calls": {"perMinute": 600}},
    }
    if tier == "high":
        spec |= {"data": ["personal"], "models": _AGREEMENT}
    declared = agent(name)
    request = firm.submitted(declared | {"spec": declared["spec"] | spec})
    assert firm.get("dana", f"agents/production/{name}/tier")["tier"] == tier
    gate = [("lena", "team-lead"), ("sam", "security")][: 1 + (tier == "medium")]
    if tier == "high":
        firm.post("dana", f"approvals/{request}/assessment", assessment(firm.ids["bo"]))
        gate = [("sam", "security"), ("cora", "compliance"), ("bo", "business-owner")]
    for voter, role in gate:
        firm.vote(voter, request, role)
    firm.post("dana", f"agents/production/{name}/activate")
    enrolled = replace(firm.enrolled(f"production/{name}"), route=f"{firm.place.url}/mcp/{_SERVER}")
    made.tokens[tier] = firm.place.do(enrolled.token())
