"""What a driver plays on: the tool, what the model was told, and a decision point that answers as a case wants."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.kernel.ids import AgentId
from accredit.sdk.guard import AsyncGuard, Guard, ToolDecision
from accredit.sdk.guarded import CatalogueNames, GuardedTools
from accredit.sdk.identity import AgentKey, AsyncAgentKey
from accredit.sdk.wire import WireAnswer, WireRequest

__all__ = ["HOLD", "TIMEOUT_S", "Bench", "bench", "guarded", "tools"]

HOLD: Final = "hld_0001"
TIMEOUT_S: Final = 0.4
_URL: Final = "http://127.0.0.1:1"
_AGENT: Final = AgentId("development/clerk")
_KEY: Final = "acca_of-the-clerk"


@dataclass
class Bench:
    """One story of a tool call. The server's answers are those of the AuthZEN API, on the wire."""

    says: str = "allow"
    """allow, deny, hold, hang, raise (no answer on the way) or break (the check itself raises)."""
    hold: str = "none"
    """How the request to a person stands: none, pending, approved, used."""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What the model was handed as the tool's answer."""
    signature: str | None = None
    """What the framework's tool takes, as the newest question said."""
    released: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        self.says, self.hold = "allow", "none"
        self.forget()
        self.released.set()
        self.released = threading.Event()

    def forget(self) -> None:
        for kept in (self.asked, self.ran, self.told):
            kept.clear()

    def read(self, customer_id: str) -> str:
        """The tool's own code."""
        self.ran.append(customer_id)
        return f"customer {customer_id} is Kim"

    def hears(self, answer: Any) -> None:
        self.told.append(answer if isinstance(answer, str) else json.dumps(answer, default=str))

    def send(self, request: WireRequest) -> WireAnswer:
        if self.says == "hang":
            self.released.wait(60)
            raise OSError("nobody waits for it any more")
        return self._answer(request)

    async def send_async(self, request: WireRequest) -> WireAnswer:
        if self.says == "hang":
            await asyncio.sleep(60)
        return self._answer(request)

    def _answer(self, request: WireRequest) -> WireAnswer:
        assert request.token == _KEY
        if self.says == "raise":
            raise OSError("no route to host")
        path = request.url.removeprefix(f"{_URL}/access/v1/")
        question = json.loads(request.content or b"{}")
        if path == "evaluation":
            self.asked.append((question["resource"]["id"], question["action"]["properties"]))
            self.signature = question.get("context", {}).get("dev.accredit/signature")
            return self._reply(self._evaluated(question))
        assert path == "requests", path
        assert question["denial"] == {"binding_token": "t"}
        self.hold = "pending" if self.hold in {"none", "used"} else self.hold
        return self._reply({"task": {"id": HOLD, "status": self.hold}})

    def _evaluated(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        context: dict[str, Any] = {"evaluation_id": "dec_0001"}
        if self.says == "allow":
            return {"decision": True, "context": context}
        said = {"reason": "tool_not_granted", "reason_user": {"en": "the agent was not granted this tool"}}
        if self.says == "deny":
            return {"decision": False, "context": context | said}
        named = question.get("context", {}).get("approval", {}).get("id")
        if named == HOLD and self.hold == "approved":
            self.hold = "used"
            return {"decision": True, "context": context}
        said = {"reason": "approval_required", "reason_user": {"en": "the call waits for a person's approval"}}
        return {"decision": False, "context": context | said | {"access_request": {"binding_token": "t"}}}

    @staticmethod
    def _reply(body: Mapping[str, Any]) -> WireAnswer:
        return WireAnswer(200, json.dumps(body).encode())


def guarded(bench: Bench) -> GuardedTools:
    """What asks it, as the tools of a server `crm`."""
    return _Breaking(bench)


class _Breaking(GuardedTools):
    """Raises where it promises not to: an adapter must not depend on that."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(
            Guard(AgentKey(_AGENT, _KEY), _URL, send=bench.send),
            AsyncGuard(AsyncAgentKey(_AGENT, _KEY), _URL, send=bench.send_async),
            CatalogueNames("crm"),
            timeout_s=TIMEOUT_S,
        )
        self._bench = bench

    def check(self, *asked: Any) -> ToolDecision:
        self._break()
        return super().check(*asked)

    async def check_async(self, *asked: Any) -> ToolDecision:
        self._break()
        return await super().check_async(*asked)

    def _break(self) -> None:
        if self._bench.says == "break":
            raise RuntimeError("as told")


bench: Final = Bench()
"""One for the process, as what is installed into a framework is."""
tools: Final = guarded(bench)
