"""Promises of the limits room."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("limits:rate:law", "issue 2 §4", "no span of t holds more than burst + rate·t calls that stand"),
    Requirement("limits:rate:give-back", "DESIGN §3.13", "a call given back returns its place in the rate, once"),
    Requirement(
        "limits:rate:throttled",
        "DESIGN §1",
        "calls slowed by a restriction never come faster than it says, nor let others come faster",
    ),
    Requirement("limits:rate:retry", "DESIGN §8", "a refused call is told exactly when one is admitted again"),
    Requirement(
        "limits:attempts:keys", "DESIGN §3.13", "attempts are counted per credential and per source, all or none"
    ),
    Requirement(
        "limits:attempts:apart", "threat flood", "a flood that proves nobody does not lock out agents at its address"
    ),
    Requirement("limits:attempts:bounded", "DESIGN §11", "any number of sources is remembered in bounded memory"),
    Requirement("limits:budget:cap", "DESIGN §3.13", "spent + open never exceeds the cap under any interleaving"),
    Requirement(
        "limits:budget:hundred", "gateways §7.3", "100 concurrent calls against a cap worth 10 never spend more than 10"
    ),
    Requirement("limits:budget:window", "DESIGN §3.13", "usage settles in the UTC day that it was reserved in"),
    Requirement("limits:budget:overrun", "DESIGN §3.13", "usage beyond the reservation is booked in full"),
    Requirement(
        "limits:budget:share", "DESIGN §3.13", "one agent holds at most 20 % of a shared budget in open reservations"
    ),
    Requirement(
        "limits:price:missing", "DESIGN §3.10", "a tool without a registered price is refused; 0 only if written"
    ),
    Requirement("limits:price:currency", "DESIGN §3.10", "a price in another currency than the budget's is refused"),
    Requirement("limits:reserve:order", "DESIGN §3.13", "rate, then concurrency, then budget are checked"),
    Requirement("limits:reserve:atomic", "DESIGN §3.13", "a refusal at any stage leaves every counter as it was"),
    Requirement("limits:reserve:once", "DESIGN §3.13", "a reservation is settled or released exactly once"),
    Requirement(
        "limits:fold:stricter", "DESIGN §3.13", "counters folded from the log are never laxer than acknowledged"
    ),
    Requirement("limits:fold:open", "DESIGN §3.13", "decisions without an outcome count in full after a restart"),
    Requirement("limits:store:unavailable", "DESIGN §3.10", "a store that does not answer refuses the call"),
    Requirement("limits:store:bounded", "DESIGN §11", "idle agents are forgotten, what they spent today is not"),
    Requirement("limits:show", "DESIGN §8", "`limits show` tells what is used and what is left"),
)
