"""Made-up agents: sessions drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random  # noqa: TID251 - seeded, to draw sessions

from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.model import CallOutcome, Feature, ProfiledCall, ProfiledValue, SessionProfile

AGENT = AgentId("agt_1")
_TOOLS = ("crm/read", "crm/search", "crm/note", "mail/send", "bank/look")


def session(number: int, draw: Random, **changed: float) -> SessionProfile:
    """One of an agent that has habits and varies within them."""
    many = 1 + min(12, int(draw.expovariate(0.4)))
    calls = tuple(
        ProfiledCall(
            tool := _TOOLS[min(4, int(draw.expovariate(0.9)))],
            CallOutcome.ERROR if draw.random() < 0.05 else CallOutcome.OK,
            (
                ProfiledValue("id", f"n{draw.randrange(3, 7)}"),
                ProfiledValue("to", f"mail:{draw.choice(('aa', 'bb', 'cc'))}"),
                *([ProfiledValue("note", f"s{draw.randrange(2, 9)}")] if tool == "crm/note" else []),
            ),
        )
        for _ in range(many)
    )
    size = many * draw.lognormvariate(6, 0.3)
    features = {
        Feature.CALLS.value: float(many),
        Feature.TOOLS.value: float(len({call.tool for call in calls})),
        Feature.ERRORS.value: sum(call.outcome is CallOutcome.ERROR for call in calls) / many,
        Feature.TOKENS.value: size * draw.lognormvariate(0, 0.1),
        Feature.RESULT_BYTES.value: size * 3,
        Feature.SECONDS.value: many * draw.lognormvariate(0.5, 0.4),
        Feature.HOUR.value: draw.uniform(8, 18),
        **changed,
    }
    return SessionProfile(AGENT, f"ses_{number}", None, number, number, number, number, calls, features)


def life(seed: int, *, changed: Callable[[int], dict[str, float]] = lambda _: {}) -> Iterator[SessionProfile]:
    """Sessions without end."""
    draw = Random(seed)
    number = 0
    while True:
        yield session(number, draw, **changed(number))
        number += 1
