"""Names of the OpenTelemetry semantic conventions for generative AI and MCP, in one place.

They are in development and moved to a repository of their own in 2026, so no library's constants are imported: those
that exist are marked as moved. What is emitted uses the present names; what is read also takes those in `FORMER`.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ACTION",
    "AGENT_ID",
    "AGENT_NAME",
    "DECISION_ID",
    "ERROR_TYPE",
    "EXECUTE_TOOL",
    "FORMER",
    "GUARDRAIL_NAME",
    "INPUT_TOKENS",
    "INVOKE_AGENT",
    "MCP_METHOD",
    "MCP_VERSION",
    "MODEL_OPERATIONS",
    "OPERATION",
    "OUTPUT_TOKENS",
    "POLICY_RULE",
    "PROVIDER",
    "REQUEST_MODEL",
    "RESPONSE_MODEL",
    "RUN_GUARDRAIL",
    "SERVER_ADDRESS",
    "SERVICE_NAME",
    "TOOLS_CALL",
    "TOOL_NAME",
    "VERDICT",
    "VERDICT_REASON",
]

AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
DECISION_ID: Final = "accredit.decision.id"
"""Ours: the id this gateway gave with the answer to a call."""
ERROR_TYPE: Final = "error.type"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
MCP_METHOD: Final = "mcp.method.name"
OPERATION: Final = "gen_ai.operation.name"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
SERVER_ADDRESS: Final = "server.address"
SERVICE_NAME: Final = "service.name"
TOOL_NAME: Final = "gen_ai.tool.name"

FORMER: Final = {"gen_ai.system": PROVIDER}
"""What senders of before 2026 call it."""

MCP_VERSION: Final = "mcp.protocol.version"
GUARDRAIL_NAME: Final = "gen_ai.security.guardrail.name"
VERDICT: Final = "gen_ai.security.verdict.type"
VERDICT_REASON: Final = "gen_ai.security.verdict.reason"
ACTION: Final = "gen_ai.security.action.type"
POLICY_RULE: Final = "gen_ai.security.policy.rule.id"
"""These five are of a proposal (semantic-conventions-genai, pull request 427) and may still change."""
RUN_GUARDRAIL: Final = "run_guardrail"

EXECUTE_TOOL: Final = "execute_tool"
INVOKE_AGENT: Final = frozenset({"create_agent", "invoke_agent"})
MODEL_OPERATIONS: Final = frozenset({"chat", "embeddings", "generate_content", "text_completion"})
TOOLS_CALL: Final = "tools/call"
