"""The form of the obligations that an approval is given under: from the fields of a page to values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from accredit.approvals.model import Obligation
from accredit.identity.model import Operator
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import ToolId
from accredit.kernel.money import Money
from accredit.registry.model import RestrictionKind, Role

__all__ = ["UNDER", "obligations_of"]

UNDER: Final = ("under_rate", "under_cost", "under_share", "under_days", "under_hold", "under_read_only")
"""The fields."""


def obligations_of(form: Mapping[str, str], who: Operator, role: Role) -> tuple[Obligation, ...]:
    """What was filled in.

    Raises:
        InvalidInputError: a field holds no number or no amount.
    """
    typed = {name: form.get(name, "").strip() for name in UNDER}
    found: list[Obligation] = []
    if typed["under_rate"]:
        rate = _number(typed["under_rate"])
        found.append(Obligation(RestrictionKind.THROTTLE, who.person, role, calls_per_minute=rate))
    if typed["under_cost"]:
        cost = Money.parse(typed["under_cost"])
        found.append(Obligation(RestrictionKind.DAILY_COST, who.person, role, cost_per_day=cost))
    if typed["under_share"]:
        days = _number(typed["under_days"]) if typed["under_days"] else None
        share = _number(typed["under_share"])
        found.append(Obligation(RestrictionKind.CANARY, who.person, role, share_percent=share, days=days))
    elif typed["under_days"]:
        raise InvalidInputError(Code.BODY_MALFORMED, "days are of a share of sessions: say which")
    if typed["under_hold"]:
        tool = ToolId(typed["under_hold"][:200])
        found.append(Obligation(RestrictionKind.HOLD, who.person, role, tool, role=Role.SECURITY))
    if typed["under_read_only"]:
        found.append(Obligation(RestrictionKind.READ_ONLY, who.person, role))
    return tuple(found)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise InvalidInputError(Code.BODY_MALFORMED, f"`{text[:20]}` is not a number that can be meant here")
    return int(text)
