"""What a grant names, in the values that whoever judges it asks for: of tools, and of language models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from accredit.kernel.ids import ToolId, tool_id
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import AgentVersion, Tool

__all__ = ["model_documents", "tool_document"]

_HOSTED: Final = "refused"
"""What becomes of a request that has the provider run tools itself: no grant covers that (`hosted_tool`)."""


def tool_document(name: ToolId, tool: Tool | None) -> dict[str, Any]:
    """A granted tool, as it is registered."""
    if tool is None:
        return {"registered": False, "tool": name}
    return {
        "allow_undeclared": tool.allow_undeclared,
        "data": sorted(tool.data),
        "definition": tool.definition_digest,
        "description": tool.definition.get("description"),
        "effect": tool.effect.value,
        "fields": [list(pair) for pair in tool.fields],
        "price": None if tool.price is None else str(tool.price),
        "registered": True,
        "scope": tool.scope.value if tool.scope else None,
        "tool": tool.id,
    }


def model_documents(version: AgentVersion, catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """The language models of a version, by id. One that is not registered has no price, and is not reached here."""
    forms = {tool_id(form["provider"], form["model"]): form for form in version.manifest["spec"]["models"]}
    for name, form in sorted(forms.items()):
        tool = catalogue.tool(name)
        server = catalogue.server(tool.server) if tool is not None else None
        yield {
            "agreement": form["agreement"],
            "api": server.api if server is not None else None,
            "data": sorted(tool.data) if tool is not None else [],
            "hosted_tools": _HOSTED,
            "model": form["model"],
            "price": _price(tool),
            "provider": form["provider"],
            "registered": tool is not None,
            "tool": name,
        }


def _price(tool: Tool | None) -> Mapping[str, Any] | None:
    """Of a million tokens; None: it is not known, and no call goes through."""
    if tool is None or tool.rates is None:
        return None
    rates = tool.rates
    return {
        "cache_read": str(rates.cache_read),
        "cache_write": str(rates.cache_write),
        "input": str(rates.input),
        "max_output": rates.max_output,
        "output": str(rates.output),
    }
