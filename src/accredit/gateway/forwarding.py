"""One admitted call out and back, whatever protocol it came in by: forwarded, relayed, settled.

What differs between protocols is handed in: how the request is made, how its answer is relayed, and what a call that
came to nothing is put down as.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from accredit.enforcement.model import Admitted, CallResult, Refused
from accredit.gateway.flight import Flight, FlightStopped
from accredit.gateway.ports import EnforcementPoint
from accredit.gateway.refusals import end_of, failure
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError

__all__ = ["Ending", "Sending", "came_to_nothing", "forward", "tell_last_words"]

_log = logging.getLogger("accredit.gateway")

_LAST_WORDS_S = 1.0


class Sending(Protocol):
    """One request to a server, of whatever protocol."""

    @property
    def received(self) -> int:
        """Bytes of the answer so far."""
        ...

    @property
    def sent(self) -> bool:
        """Whether the request may have left this process."""
        ...


_Sending = TypeVar("_Sending", bound=Sending)

Ending = Callable[[CallResult | None], None]
"""Takes how a call ended, as soon as that is known: what happens to the client afterwards does not change it.

None: it goes on at the tool server. Whoever says so settles it.
"""


def came_to_nothing(code: Code, exchange: Sending | None) -> CallResult:
    """How a call without an answer is put down."""
    return CallResult(
        end_of(code),
        code=code,
        size=exchange.received if exchange is not None else 0,
        sent=exchange is not None and exchange.sent,
    )


async def forward(
    enforcement: EnforcementPoint,
    admitted: Admitted,
    flight: Flight,
    begin: Callable[[], _Sending],
    relay: Callable[[_Sending, Ending], Awaitable[None]],
    lost: Callable[[Code, _Sending | None], CallResult] = came_to_nothing,
) -> Refused | None:
    """Send an admitted call and relay its answer; says what to tell a client whose call came to nothing.

    INVARIANT: settles exactly once, whatever happens, unless the call goes on. `relay` closes the exchange, and says
    how the call ended before it gives the client the end of the answer.
    """
    ended: CallResult | None = None
    words: Refused | None = None
    exchange: _Sending | None = None
    goes_on = False

    def end(result: CallResult | None) -> None:
        nonlocal ended, goes_on
        ended, goes_on = result, result is None

    try:
        exchange = begin()
        admitted.cancel = flight.stop
        with flight.lasting(admitted.call_timeout_s):
            await relay(exchange, end)
    except FlightStopped as stopped:
        if ended is None:
            ended, words, goes_on = lost(stopped.code, exchange), failure(stopped.code), False
    except AccreditError as error:
        level = logging.ERROR if error.code is Code.INTERNAL else logging.INFO
        _log.log(level, "call %s: %s %s", admitted.decision_id, error.code, error.cause)
        ended, words = lost(error.code, exchange), failure(error.code, error=error)
    except asyncio.CancelledError:
        goes_on = False
        raise
    except Exception:  # noqa: BLE001 - a boundary: an admitted call must end in a settled outcome
        _log.exception("forwarding call %s failed", admitted.decision_id)
        if ended is None:
            ended, words = lost(Code.INTERNAL, exchange), failure(Code.INTERNAL)
    finally:
        admitted.cancel = None
        if not goes_on:
            enforcement.settle(admitted, ended or lost(Code.CANCELLED, exchange))
    return words


async def tell_last_words(words: Refused, tell: Callable[[Refused], Awaitable[None]]) -> None:
    """Tell the client why its call came to nothing, if it still listens; a stalled one is not waited for."""
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            await tell(words)
    except TimeoutError:
        _log.info("a client did not take the end of its call: %s", words.code)
