"""May this agent make this call? Asked before its own program runs a tool, for tools that cross no gateway.

`Guard` blocks, `AsyncGuard` does not; what they ask, and in which order, is one (`_asking`). Whatever goes wrong is a
no: no answer, a late one, one that cannot be read, an identity that gets no token. The answer is on record at the
server before it is given (AuthZEN 1.0, `/access/v1/evaluation`), with the arguments, and reserves nothing.

Where a person has to approve, `check` can wait for that (access request profile, draft 1): the request is made, looked
at every few seconds until it was answered or the time is up, and used up by the one check that says yes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import AgentId
from accredit.kernel.strictjson import parse_strict
from accredit.sdk.identity import AsyncSend, Send, send, send_async
from accredit.sdk.wire import WireAnswer, WireRequest, checked_url

__all__ = ["AsyncGuard", "AsyncTokens", "Guard", "Tokens", "ToolDecision", "ToolRefusedError"]

_ROUTE: Final = "/access/v1"
_SIGNATURE: Final = "dev.accredit/signature"
_UNAVAILABLE: Final = "unavailable"
_EVERY_S: Final = 5.0
_MAX_ANSWER: Final = 1_048_576
_MAX_PROBLEM: Final = 65_536
_MAX_SAID: Final = 500


@dataclass(frozen=True, slots=True)
class ToolDecision:
    """Whether a call may be made. True only if it was decided so, for exactly these arguments."""

    allowed: bool
    code: str
    """`allowed`, the server's reason, `approval_required`, `approval_denied`, `approval_expired`, `not_approvable`: a
    person denied exactly this call already, or too much waits; or `unavailable`: nobody could be asked."""
    message: str = ""
    """For the agent to read."""
    decision_id: str | None = None
    """Under which the server has it on record."""
    approval: str | None = None
    """The request that a person has to answer, or has answered."""

    def __bool__(self) -> bool:
        return self.allowed

    def refusal(self) -> str:
        """What a framework hands to its model in place of a result: one JSON object, short, without internals."""
        said = {
            "error": "refused",
            "code": self.code,
            "message": self.message[:_MAX_SAID],
            "hint": self._hint(),
            "hold": self.approval,
            "decision_id": self.decision_id,
        }
        return orjson.dumps({name: value for name, value in said.items() if value}).decode()

    def _hint(self) -> str:
        match self.code:
            case "approval_required" if self.approval is not None:
                return (
                    f"a person was asked (hold {self.approval}); once they approved, make exactly this call again: "
                    "it goes through once"
                )
            case "approval_required":
                return "a person has to approve this call"
            case "approval_denied" | "approval_expired" | "not_approvable":
                return "do not make this call again unless you are told to"
            case "unavailable" | "timeout":
                return "nobody could decide; the tool was not run, try again later"
            case _:
                return "do not make the same call again; whoever operates this agent can see why"


class Tokens(Protocol):
    """Whoever asks: `AgentIdentity` or `AgentKey`."""

    @property
    def agent(self) -> AgentId: ...

    def access_token(self, resource: str) -> str: ...

    def exchange(self, resource: str, *, subject_token: str, task_token: str | None = None) -> str: ...


class AsyncTokens(Protocol):
    """Whoever asks and awaits: `AsyncAgentIdentity` or `AsyncAgentKey`."""

    @property
    def agent(self) -> AgentId: ...

    async def access_token(self, resource: str) -> str: ...

    async def exchange(self, resource: str, *, subject_token: str, task_token: str | None = None) -> str: ...


class ToolRefusedError(Exception):
    """A guarded function was not run."""

    def __init__(self, decision: ToolDecision) -> None:
        super().__init__(decision.refusal())
        self.decision = decision


_Steps = Generator[WireRequest | float, WireAnswer | None, ToolDecision]
"""Requests to be sent and seconds to be waited, until there is an answer."""


def _asking(
    base_url: str, agent: str, token: str, tool: str, arguments: Mapping[str, Any], declared: Mapping[str, Any],
    signature: str | None, wait_s: float, now: Callable[[], float],
) -> _Steps:  # fmt: skip
    began = now()
    question: dict[str, Any] = {
        "subject": {"type": "Agent", "id": agent},
        "action": {"name": "tools/call", "properties": dict(arguments)},
        "resource": {"type": "Tool", "id": tool},
    }
    if declared or signature is not None:
        question["context"] = {**declared, **({_SIGNATURE: signature} if signature is not None else {})}
    decided = _read((yield _post(base_url, "evaluation", question, token)))
    denial = decided.pop("access_request", None)
    if decided["code"] != "approval_required" or not isinstance(denial, dict) or wait_s <= 0:
        return ToolDecision(**decided)
    made = yield _post(base_url, "requests", {**question, "denial": denial}, token)
    if made is not None and made.status == 400:  # a person said no to exactly this, or too much waits already
        return ToolDecision(**decided | {"code": "not_approvable", "message": _detail(made)})
    task = _task(_object(made))
    while task["status"] == "pending":
        if now() - began + _EVERY_S > wait_s:
            return ToolDecision(**decided | {"approval": task["id"]})
        yield _EVERY_S
        task = _task(_object((yield WireRequest(f"{base_url}{_ROUTE}/requests/{task['id']}", "", b"", token))))
    if task["status"] == "approved":
        approval = {"approval": {"id": task["id"]}}
        again = {**question, "context": {**question.get("context", {}), **approval}}
        decided = _read((yield _post(base_url, "evaluation", again, token)))
        decided.pop("access_request", None)
    else:
        decided |= {"code": f"approval_{task['status']}", "message": f"nobody approved it: {task['status']}"}
    return ToolDecision(**decided | {"approval": task["id"]})


def _post(base_url: str, name: str, body: Mapping[str, Any], token: str) -> WireRequest:
    return WireRequest(f"{base_url}{_ROUTE}/{name}", "application/json", orjson.dumps(body), token)


def _object(answer: WireAnswer | None) -> dict[str, Any]:
    if answer is None or not 200 <= answer.status < 300 or len(answer.content) > _MAX_ANSWER:
        raise ValueError(f"HTTP {answer.status if answer is not None else 'nothing'}")
    found = orjson.loads(answer.content)
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


def _detail(answer: WireAnswer) -> str:
    found = parse_strict(answer.content, max_bytes=_MAX_PROBLEM)
    said = found.get("detail") if isinstance(found, dict) else None
    return said if isinstance(said, str) else ""


def _read(answer: WireAnswer | None) -> dict[str, Any]:
    found = _object(answer)
    context = found.get("context", {})
    allowed = found["decision"]
    if not isinstance(allowed, bool) or not isinstance(context, dict):
        raise TypeError("no decision")
    said = context.get("reason_user")
    return {
        "allowed": allowed,
        "code": "allowed" if allowed else str(context.get("reason", "denied")),
        "message": str(said.get("en", "")) if isinstance(said, dict) else "",
        "decision_id": context.get("evaluation_id"),
        "access_request": context.get("access_request"),
    }


def _task(found: Mapping[str, Any]) -> dict[str, str]:
    task = found["task"]
    return {"id": str(task["id"]), "status": str(task["status"])}


def _no(error: BaseException) -> ToolDecision:
    code = error.code.value if isinstance(error, AccreditError) else _UNAVAILABLE
    return ToolDecision(allowed=False, code=code, message="the call could not be decided, so it is refused")


class Guard:
    """Asks for programs that block."""

    def __init__(self, identity: Tokens, base_url: str, *, send: Send = send) -> None:
        """`base_url` is the installation's.

        Raises:
            InvalidInputError: the address would carry tokens in clear.
        """
        self._identity = identity
        self._base_url = checked_url(base_url)
        self._send = send

    def check(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        declared: Mapping[str, Any] | None = None,
        signature: str | None = None,
        subject_token: str | None = None,
        task_token: str | None = None,
        wait_s: float = 0,
    ) -> ToolDecision:
        """Whether the agent may call `server/tool` with these arguments now. Never raises.

        For a user and a task, if their tokens are given. `signature` tells what the function takes that would run
        (`accredit.kernel.signatures`): one that is not the registered tool's is a finding, or refused. `wait_s`: how
        long to wait for a person, if one has to approve. Above 0, the person is asked; what was approved meanwhile is
        found by the same check made again.
        """
        try:
            route = f"{self._base_url}{_ROUTE}"
            if subject_token is None:
                token = self._identity.access_token(route)
            else:
                token = self._identity.exchange(route, subject_token=subject_token, task_token=task_token)
            steps = _asking(
                self._base_url, self._identity.agent, token, tool, arguments, declared or {}, signature, wait_s,
                time.monotonic,
            )  # fmt: skip
            answer: WireAnswer | None = None
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as done:
                    decision: ToolDecision = done.value
                    return decision
                answer = None
                if isinstance(step, WireRequest):
                    answer = self._send(step)
                else:
                    time.sleep(step)
        except Exception as error:  # noqa: BLE001 - whatever it is: a call that was not allowed is refused
            return _no(error)

    def run(self, tool: str, function: Callable[..., Any], /, **arguments: Any) -> Any:
        """Call a function with these arguments, if the agent may.

        Raises:
            ToolRefusedError: it may not, or nobody could be asked; and whatever the function raises.
        """
        decision = self.check(tool, arguments)
        if not decision:
            raise ToolRefusedError(decision)
        return function(**arguments)


class AsyncGuard:
    """Asks for programs that await."""

    def __init__(self, identity: AsyncTokens, base_url: str, *, send: AsyncSend = send_async) -> None:
        """As `Guard`."""
        self._identity = identity
        self._base_url = checked_url(base_url)
        self._send = send

    async def check(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        declared: Mapping[str, Any] | None = None,
        signature: str | None = None,
        subject_token: str | None = None,
        task_token: str | None = None,
        wait_s: float = 0,
    ) -> ToolDecision:
        """As `Guard.check`. Never raises, but when it is cancelled."""
        try:
            route = f"{self._base_url}{_ROUTE}"
            if subject_token is None:
                token = await self._identity.access_token(route)
            else:
                token = await self._identity.exchange(route, subject_token=subject_token, task_token=task_token)
            steps = _asking(
                self._base_url, self._identity.agent, token, tool, arguments, declared or {}, signature, wait_s,
                time.monotonic,
            )  # fmt: skip
            answer: WireAnswer | None = None
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as done:
                    decision: ToolDecision = done.value
                    return decision
                answer = None
                if isinstance(step, WireRequest):
                    answer = await self._send(step)
                else:
                    await asyncio.sleep(step)
        except Exception as error:  # noqa: BLE001 - whatever it is: a call that was not allowed is refused
            return _no(error)

    async def run(self, tool: str, function: Callable[..., Any], /, **arguments: Any) -> Any:
        """As `Guard.run`, for a function that is awaited."""
        decision = await self.check(tool, arguments)
        if not decision:
            raise ToolRefusedError(decision)
        return await function(**arguments)
