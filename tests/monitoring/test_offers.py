"""What a tool server lists beside what is registered of it: told once, within bounds, and never by guessing."""

from __future__ import annotations

from typing import Any

import pytest

from accredit.kernel.codes import Code
from accredit.kernel.ids import ServerName, tool_id
from accredit.monitoring.model import AlertKind, RemediationKind
from accredit.monitoring.offers import MOST_KNOWN
from accredit.registry.items import ItemKind, prompt_key, resource_key
from accredit.registry.model import RestrictionKind, Tier
from tests.monitoring.watch import READ, Watch
from tests.registry.fleet import READ_CUSTOMER, definition

_CRM = ServerName("crm")
_TOOLS = frozenset[ItemKind | None]({None})
_ALL = _TOOLS | set(ItemKind)


def _offer(watch: Watch, *more: str, kinds: frozenset[ItemKind | None] = _ALL, **changes: Any) -> list[str]:
    """A look at the fleet's server, which lists these too; what was told, ever."""
    offered = {**watch.fleet.offered.tools, **{name: definition(name) for name in more}, **changes}
    watch.monitor.note_offer(_CRM, {name: one for name, one in offered.items() if one is not None}, kinds)
    watch.round()
    return [matter for kind, matter in watch.alerts() if kind is AlertKind.NEW_OFFER]


@pytest.mark.parametrize("name", ["drop", resource_key("x://new"), resource_key("x://{new}"), prompt_key("new")])
@pytest.mark.requirement("monitoring:offer:added")
def test_what_was_not_there_at_the_first_look_is_told_once(name: str) -> None:
    watch = Watch()
    assert _offer(watch, "there") == []  # `unlisted` and `there` were there, and nobody wants them
    assert _offer(watch, "there", name) == [tool_id("crm", name)]
    alert = watch.only(AlertKind.NEW_OFFER)
    assert (alert.agent, alert.remediation, alert.evidence["server"]) == (None, RemediationKind.NONE, "crm")
    watch.resolve(alert)
    watch.restart()
    assert len(_offer(watch, name)) == 1
    assert len(_offer(watch)) == 1
    assert len(_offer(watch, name)) == 1  # it went, and came back: known


@pytest.mark.requirement("monitoring:offer:added")
def test_another_name_for_what_is_registered_says_whose() -> None:
    watch = Watch()
    _offer(watch)
    assert _offer(watch, read_customer=None, fetch={**READ_CUSTOMER, "name": "fetch"}) == ["crm/fetch"]
    assert watch.only(AlertKind.NEW_OFFER).evidence["renamed_from"] == READ


@pytest.mark.requirement("monitoring:offer:added")
def test_a_copy_beside_what_is_registered_is_no_new_name_for_it() -> None:
    watch = Watch()
    _offer(watch)
    assert _offer(watch, fetch={**READ_CUSTOMER, "name": "fetch"}) == ["crm/fetch"]
    assert "renamed_from" not in watch.only(AlertKind.NEW_OFFER).evidence


@pytest.mark.requirement("monitoring:offer:added")
def test_a_list_that_could_not_be_read_before_makes_nothing_new() -> None:
    watch = Watch()
    _offer(watch, kinds=_TOOLS)
    assert _offer(watch, prompt_key("old")) == []
    assert _offer(watch, prompt_key("old"), kinds=_TOOLS | {ItemKind.PROMPT}) == []
    assert _offer(watch, prompt_key("old"), prompt_key("new")) == [tool_id("crm", prompt_key("new"))]


@pytest.mark.requirement("monitoring:offer:bounded")
def test_any_number_of_new_names_is_a_bounded_number_of_findings() -> None:
    watch = Watch()
    _offer(watch)
    found = _offer(watch, *(f"new_{number}" for number in range(100)))
    assert len(found) == 21
    assert "crm" in found  # the others together
    grown = _offer(watch, *(f"more_{number}" for number in range(MOST_KNOWN + 1)))
    assert len(grown) == 41
    assert _offer(watch, "one_more") == grown  # too much of a kind to tell
    assert len(_offer(watch, prompt_key("one"))) == 42


@pytest.mark.parametrize("tier", [Tier.LOW, Tier.MEDIUM, Tier.HIGH, None])
@pytest.mark.requirement("monitoring:offer:added", "monitoring:posture:definition")
def test_what_changed_is_answered_by_tier_and_what_is_new_by_nothing_in_any(tier: Tier | None) -> None:
    watch = Watch(tier=tier)
    watch.activate()
    _offer(watch)
    assert _offer(watch, "drop", read_customer=None, fetch={**READ_CUSTOMER, "name": "fetch"}) == [
        "crm/drop",
        "crm/fetch",
    ]
    assert watch.round() == ()
    # a call of what is renamed or changed meets this, and no agent gets it
    watch.record(watch.denied(READ, Code.DEFINITION_CHANGED))
    (answer,) = watch.round()
    if tier is Tier.LOW:
        assert (answer.kind, answer.restriction, answer.tool) == (RemediationKind.RESTRICT, RestrictionKind.HOLD, READ)
    else:
        assert answer.kind is RemediationKind.QUARANTINE
