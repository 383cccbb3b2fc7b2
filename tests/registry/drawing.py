"""Facts of tiers, drawn."""

from __future__ import annotations

from hypothesis import strategies as st

from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import Effect, Tier, WriteScope
from accredit.registry.tiering import GrantedTool, RiskFacts

__all__ = ["FACTS", "TIERS", "TOOLS"]

TIERS = [Tier.LOW, Tier.MEDIUM, Tier.HIGH]
TOOLS = st.builds(
    GrantedTool,
    tool=st.sampled_from([ToolId("s/a"), ToolId("s/b"), ToolId("s/c")]),
    effect=st.sampled_from([*Effect, None]),
    scope=st.sampled_from([None, *WriteScope]),
    data=st.frozensets(
        st.sampled_from(["public", "internal", "confidential", "personal", "secret", "odd"]), max_size=2
    ),
    masked=st.frozensets(st.sampled_from(["internal", "confidential", "personal", "secret"]), max_size=2),
    held=st.booleans(),
    closed=st.booleans(),
)
FACTS = st.builds(
    RiskFacts,
    declared=st.frozensets(st.sampled_from(["public", "internal", "confidential", "personal", "phi"]), max_size=2),
    tools=st.lists(TOOLS, max_size=3, unique_by=lambda tool: tool.tool).map(tuple),
    autonomy=st.sampled_from(
        ["suggests", "each-act-approved", "acts-with-approval", "acts-unattended", "self-starting", "odd"]
    ),
    inputs=st.frozensets(st.sampled_from(["staff", "employees", "partners", "web", "public", "odd"]), max_size=2),
    audience=st.sampled_from(["staff", "employees", "partners", "web", "public"]),
    reach=st.sampled_from(["user", "team", "department", "company", "cross-tenant", "odd"]),
    annex3=st.sampled_from([False, False, True]),
    decides=st.sampled_from([False, False, True]),
    delegates=st.lists(
        st.tuples(st.sampled_from([AgentId("agt_1"), AgentId("agt_2")]), st.sampled_from(TIERS)),
        max_size=2,
        unique_by=lambda pair: pair[0],
    ).map(tuple),
    incident=st.sampled_from([False, False, True]),
)
