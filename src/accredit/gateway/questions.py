"""Questions to clients of the era of sessions: asked on the stream of their call, answered by a POST of its own.

Both ends are at one replica: whoever asks holds the client's stream. An answer that comes to another is refused there,
and the call ends when nobody answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from accredit.gateway.elicitation import PATIENCE_S, Asked, read_answers
from accredit.gateway.flight import Flight
from accredit.gateway.jsonrpc import RpcId, RpcResponse
from accredit.gateway.relay import encode_message
from accredit.gateway.sessions import ClientSession
from accredit.gateway.sse import KEEP_ALIVE, event_frame
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError
from accredit.kernel.ids import IdSource

__all__ = ["ClientQuestions"]

_ALIVE_S: Final = 15.0
_MOST_OPEN: Final = 1024


class ClientQuestions:
    """What clients were asked and have not answered yet."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._open: dict[tuple[bytes, RpcId], asyncio.Future[Mapping[str, Any]]] = {}

    async def ask(
        self, session: ClientSession, asked: Asked, part: Callable[[bytes], Awaitable[None]], flight: Flight
    ) -> dict[str, Any]:
        """Ask a client on the stream of its call, which `part` writes to; its answers by the names of what was asked.

        Raises:
            FlightStopped: it left, or did not answer within 5 minutes.
            InvalidInputError: its answers are not what the specification has.
            ConflictError: too many questions are open.
        """
        if len(self._open) + len(asked.requests) > _MOST_OPEN:
            raise ConflictError(Code.CONCURRENCY_LIMITED, "too many questions to clients are open")
        loop = asyncio.get_running_loop()
        waiting = {name: ((session.nonce, self._ids.new("elc")), loop.create_future()) for name in asked.requests}
        self._open |= dict(waiting.values())
        try:
            with flight.lasting(PATIENCE_S):
                for name, ((_, rpc_id), _) in waiting.items():
                    question = {"jsonrpc": "2.0", "id": rpc_id, **asked.requests[name]}
                    await part(event_frame(encode_message(question)))
                pending = [future for _, future in waiting.values()]
                while not all(future.done() for future in pending):
                    await asyncio.wait(pending, timeout=_ALIVE_S)
                    await part(KEEP_ALIVE)
        finally:
            for key, future in waiting.values():
                self._open.pop(key, None)
                future.cancel()
        return read_answers({name: future.result() for name, (_, future) in waiting.items()}, asked.requests)

    def take(self, session: ClientSession, response: RpcResponse) -> bool:
        """Take what a client posted; False if it was not asked that, or has answered."""
        future = self._open.pop((session.nonce, response.id), None)
        if future is None or future.done():
            return False
        # an error is how a client says that it will not ask its user
        future.set_result(response.result if response.result is not None else {"action": "cancel"})
        return True
