"""What one access validation lets an agent do that another does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, ToolId
from accredit.policy.enforced import AccessOutcome
from accredit.policy.sources import Layer
from accredit.policy.validation import AccessReport, AccessRow, CeilingHit, DelegatedTool
from accredit.policy.widening import widened

READ, WRITE, OTHER = ToolId("crm/read"), ToolId("crm/write"), AgentId("agt_2")
ROW = AccessRow(READ, None, AccessOutcome.CONDITIONAL, ("p",), ("user role",), None, "read", Digest("d"), None)
HANDED = DelegatedTool(OTHER, READ, AccessOutcome.ALLOWED, (), ("same as",), None, (), (OTHER,))
CEILING = CeilingHit("org/hold", Layer.ORG, "security", (), (READ, WRITE))
REPORT = AccessReport(
    AgentId("agt_1"),
    Digest("release"),
    (ROW, replace(ROW, tool=WRITE), replace(ROW, data_class="personal", outcome=AccessOutcome.MASKED)),
    (),
    (CEILING,),
    delegates=(HANDED,),
)


@pytest.mark.requirement("change:widened")
@pytest.mark.parametrize(
    "after",
    [
        {},
        {"rows": (ROW,), "delegates": (), "ceilings": (replace(CEILING, tools=(READ,)),)},
        {"rows": (), "ceilings": ()},
        {"rows": (replace(ROW, outcome=AccessOutcome.FORBIDDEN), *REPORT.rows[1:])},
        {"rows": (replace(ROW, conditions=("user role", "hours")), *REPORT.rows[1:])},
        {"release": Digest("another")},
    ],
    ids=["same", "fewer", "nothing", "forbidden", "more-conditions", "another-release"],
)
def test_the_same_or_less_is_not_wider(after: dict[str, Any]) -> None:
    assert widened(REPORT, replace(REPORT, **after)) == ()


@pytest.mark.requirement("change:widened")
@pytest.mark.parametrize(
    "after",
    [
        {"rows": (*REPORT.rows, replace(ROW, tool=ToolId("crm/delete")))},
        {"rows": (replace(ROW, outcome=AccessOutcome.ALLOWED), *REPORT.rows[1:])},
        {"rows": (replace(ROW, conditions=()), *REPORT.rows[1:])},
        {"rows": (replace(ROW, effect="write"), *REPORT.rows[1:])},
        {"rows": (replace(ROW, definition=Digest("e")), *REPORT.rows[1:])},
        {"rows": (*REPORT.rows[:2], replace(REPORT.rows[2], outcome=AccessOutcome.CONDITIONAL))},
        {"models": (replace(ROW, tool=ToolId("maker/large")),)},
        {"ceilings": ()},
        {"ceilings": (replace(CEILING, role="team-lead"),)},
        {"ceilings": (replace(CEILING, tools=(READ,)),)},
        {"delegates": (replace(HANDED, conditions=()),)},
        {"delegates": (replace(HANDED, reached=None),)},
        {"delegates": (replace(HANDED, reached=(OTHER, AgentId("agt_3"))),)},
        {"delegates": (HANDED, replace(HANDED, tool=WRITE))},
    ],
)
def test_whatever_is_allowed_beyond_is_wider(after: dict[str, Any]) -> None:
    assert widened(REPORT, replace(REPORT, **after)) != ()
