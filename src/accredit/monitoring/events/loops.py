"""Whether a session goes round in circles: exact counts, from what the decision's record says of its session. Pure.

The same call, tool and arguments, ten times among the session's last 32; or two to four different calls that come
round five times in the same order. What waits for a person, or was let through by one, is repeated on purpose.
"""

from __future__ import annotations

from typing import Final

from accredit.monitoring.events.facts import CallMade

__all__ = ["CIRCLES", "REPEATS", "goes_round"]

REPEATS: Final = 9
"""Equal calls before this one."""
CIRCLES: Final = 5


def goes_round(call: CallMade) -> bool:
    """Whether this call is one of a loop."""
    return not call.waits and (call.repeats >= REPEATS or call.turns >= CIRCLES)
