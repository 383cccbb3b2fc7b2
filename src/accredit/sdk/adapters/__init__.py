"""Agent frameworks under accredit: after a module's `install`, no tool of that framework runs unchecked.

`govern("langchain")` installs one by hand; `importing` does so when a program imports the framework. An adapter says
how the framework names a tool and its arguments, and how it hands a refusal to its model; what is decided stands in
`GuardedTools`. It wraps the last method before a tool's own code, so that nothing the framework or its other hooks do
comes between the check and the run, and an exception of the check is one of the tool's.

A framework whose methods are not where the tested version has them is refused at the start (`AttributeError`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.sdk.guarded import GuardedTools

__all__ = ["FRAMEWORKS", "govern"]

FRAMEWORKS: Final[Mapping[str, tuple[str, str]]] = {
    "agent_framework": ("agent_framework", "agent-framework-core"),
    "claude_agent_sdk": ("claude_agent_sdk", "claude-agent-sdk"),
    "crewai": ("crewai", "crewai"),
    "google_adk": ("google.adk", "google-adk"),
    "langchain": ("langchain_core", "langchain-core"),
    "llama_index": ("llama_index.core", "llama-index-core"),
    "openai_agents": ("agents", "openai-agents"),
    "pydantic_ai": ("pydantic_ai", "pydantic-ai-slim"),
    "smolagents": ("smolagents", "smolagents"),
    "strands": ("strands", "strands-agents"),
}
"""By adapter, the package a program imports and the distribution it comes from. LangGraph's tools are LangChain's."""

_installed: dict[str, GuardedTools] = {}


def govern(framework: str, tools: GuardedTools | None = None) -> None:
    """Let every tool call of a framework in this process be checked from now on; without `tools`, by the environment.

    Raises:
        InvalidInputError: it is no framework there is an adapter for, it is governed by others already, or the
            environment names no credential.
        ImportError: the framework is not installed.
        AttributeError: it is not one of the versions that the adapter knows.
    """
    if framework not in FRAMEWORKS:
        raise InvalidInputError(
            Code.SETTING_INVALID,
            f"there is no adapter for `{framework[:80]}`",
            hint=f"there is {', '.join(FRAMEWORKS)}",
        )
    if framework in _installed:
        if tools in {None, _installed[framework]}:
            return
        raise InvalidInputError(Code.SETTING_INVALID, f"`{framework}` is governed already")
    tools = tools or GuardedTools.from_environment(os.environ)
    import_module(f"{__name__}.{framework}").install(tools)
    _installed[framework] = tools
