"""The one table of what is recognised in files: where it lies, how it is read, and what is taken from it. Pure.

A path names the end of a file's path; `*` in it stands for any name. What is `certain` is such a configuration by its
path alone, so one that cannot be read is told of; all else has to show by its content what it is. The first row that
finds anything in a file is the last one asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from accredit.lifecycle.discovery import clients, exported
from accredit.lifecycle.discovery.clients import Looked, servers_under
from accredit.lifecycle.discovery.code import PYTHON_WORDS, SCRIPT_WORDS, python_traces, script_traces
from accredit.lifecycle.discovery.model import Trace, TraceKind
from accredit.lifecycle.discovery.reading import (
    as_text,
    cells,
    dotenv,
    front_matter,
    json_value,
    toml_value,
    yaml_values,
)
from accredit.lifecycle.discovery.shown import Secrets

__all__ = ["FORMATS", "FileFormat", "Reader", "candidates", "traces_in"]

_KIB: Final = 2**10


class Reader(StrEnum):
    """How the content of a file is understood."""

    JSON = "json"
    YAML = "yaml"
    FIRST_YAML = "first-yaml"
    """Of a file with one document: that."""
    TOML = "toml"
    VARIABLES = "variables"
    HEAD = "head"
    """YAML before a text."""
    PYTHON = "python"
    NOTEBOOK = "notebook"
    SCRIPT = "script"


_MOST: Final = {
    Reader.JSON: 1024 * _KIB, Reader.YAML: 512 * _KIB, Reader.FIRST_YAML: 512 * _KIB, Reader.TOML: 256 * _KIB,
    Reader.VARIABLES: 256 * _KIB, Reader.HEAD: 256 * _KIB, Reader.PYTHON: 512 * _KIB, Reader.NOTEBOOK: 1024 * _KIB,
    Reader.SCRIPT: 512 * _KIB,
}  # fmt: skip
"""Bytes of a file that are read in that way at all."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """One row of the table."""

    name: str
    paths: tuple[str, ...]
    reader: Reader
    finds: Callable[[Looked], Iterator[Trace]] | None = None
    """Of programs nothing: there the reader finds."""
    certain: bool = False
    words: re.Pattern[bytes] | None = None
    """What the content has in it if it is worth reading."""
    kind: TraceKind = TraceKind.CLIENT
    """Of the trace that tells of one that cannot be read."""

    @property
    def language(self) -> str:
        """What it is written in: what cannot be read in it once cannot be read by another row either."""
        return "yaml" if self.reader is Reader.FIRST_YAML else self.reader.value

    @property
    def most_bytes(self) -> int:
        """How large such a file may be to be read."""
        return _MOST[self.reader]


def _client(
    name: str, *paths: str, finds: Callable[[Looked], Iterator[Trace]], reader: Reader = Reader.JSON
) -> FileFormat:
    return FileFormat(name, paths, reader, finds, certain=True)


def _any(name: str, *paths: str, finds: Callable[[Looked], Iterator[Trace]], reader: Reader, words: str) -> FileFormat:
    return FileFormat(name, paths, reader, finds, words=re.compile(words.encode()))


_MCP: Final = servers_under("mcpServers")
_YAML: Final = ("*.yaml", "*.yml")

FORMATS: Final[tuple[FileFormat, ...]] = (
    _client("claude-desktop", "claude_desktop_config.json", finds=_MCP),
    _client("claude-code", ".mcp.json", finds=_MCP),
    _client("claude-code", ".claude.json", finds=servers_under("mcpServers", "projects.*.mcpServers")),
    _client("claude-code", ".claude/settings.json", ".claude/settings.local.json", "managed-settings.json",
            finds=clients.claude_settings),
    FileFormat("claude-code", (".claude/agents/*.md",), Reader.HEAD, clients.claude_agent),
    _client("cursor", ".cursor/mcp.json", finds=_MCP),
    _client("vscode", ".vscode/mcp.json", "Code/User/mcp.json", "Code - Insiders/User/mcp.json",
            finds=servers_under("servers", "mcpServers")),
    _any("vscode", ".vscode/settings.json", "Code/User/settings.json", "*.code-workspace",
            ".devcontainer/devcontainer.json",
         "devcontainer.json", reader=Reader.JSON, words='"(?:mcp|mcp\\.servers|mcpServers)"',
         finds=servers_under("mcp.servers", "mcp\\.servers", "settings.mcp.servers",
                             "customizations.vscode.mcp.servers")),
    _client("windsurf", ".codeium/windsurf/mcp_config.json", ".windsurf/mcp_config.json", ".codeium/mcp_config.json",
            finds=_MCP),
    _client("cline", "cline_mcp_settings.json", finds=_MCP),
    _client("roo-code", ".roo/mcp.json", ".kilocode/mcp.json", "rooveterinaryinc.roo-cline/settings/mcp_settings.json",
            "kilocode.kilo-code/settings/mcp_settings.json", finds=_MCP),
    _client("continue", ".continue/config.json", finds=clients.continue_config),
    _client("continue", ".continue/config.yaml", ".continue/mcpServers/*.yaml", ".continue/agents/*.yaml",
            ".continue/assistants/*.yaml", finds=clients.continue_config, reader=Reader.FIRST_YAML),
    _any("zed", ".zed/settings.json", "zed/settings.json", reader=Reader.JSON, words='"context_servers"',
         finds=servers_under("context_servers")),
    _client("gemini-cli", ".gemini/settings.json", "gemini-extension.json", finds=_MCP),
    _client("codex-cli", ".codex/config.toml", reader=Reader.TOML, finds=servers_under("mcp_servers")),
    _client("goose", "goose/config.yaml", ".goose/config.yaml", "Block/goose/config/config.yaml",
            reader=Reader.FIRST_YAML,
            finds=clients.goose),
    _client("librechat", "librechat.yaml", "librechat.yml", reader=Reader.FIRST_YAML, finds=clients.librechat),
    _client("junie", ".junie/mcp/mcp.json", ".junie/mcp.json", ".ai/mcp/mcp.json", finds=_MCP),
    _client("amazon-q", ".amazonq/mcp.json", ".aws/amazonq/mcp.json", ".amazonq/default.json",
            ".aws/amazonq/default.json",
            finds=_MCP),
    _client("amazon-q", ".amazonq/cli-agents/*.json", ".aws/amazonq/cli-agents/*.json", ".amazonq/agents/*.json",
            ".aws/amazonq/agents/*.json", finds=clients.named_agent),
    _client("kiro", ".kiro/settings/mcp.json", finds=_MCP),
    _client("kiro", ".kiro/agents/*.json", finds=clients.named_agent),
    _client("copilot-cli", ".copilot/mcp-config.json", ".github/copilot/mcp.json", finds=_MCP),
    _client("lm-studio", ".lmstudio/mcp.json", finds=_MCP),
    _client("opencode", "opencode.json", "opencode.jsonc", finds=servers_under("mcp")),
    _client("warp", ".warp/mcp.json", finds=_MCP),
    _client("a2a-card", ".well-known/agent.json", ".well-known/agent-card.json", finds=exported.agent_card),
    _any("langgraph", "langgraph.json", reader=Reader.JSON, words='"graphs"', finds=exported.langgraph),
    _any("accredit", "*.json", reader=Reader.JSON, words="accredit/v1", finds=exported.manifest),
    _any("accredit", *_YAML, reader=Reader.YAML, words="accredit/v1", finds=exported.manifest),
    _any("mcp-client", "*.json", "*.jsonc", reader=Reader.JSON, words='"mcpServers"', finds=_MCP),
    _any("mcp-client", "mcp.json", reader=Reader.JSON, words='"servers"', finds=servers_under("servers")),
    _any("mcp-client", *_YAML, reader=Reader.FIRST_YAML, words="(?m)^mcpServers:", finds=_MCP),
    _any("a2a-card", "*agent*card*.json", "agent.json", reader=Reader.JSON, words='"(?:skills|capabilities)"',
         finds=exported.agent_card),
    _any("n8n", "*.json", reader=Reader.JSON, words="@n8n/n8n-nodes-langchain", finds=exported.n8n),
    _any("flowise", "*.json", reader=Reader.JSON, words='"category":\\s{0,4}"[A-Z][A-Za-z ]{0,20}"',
            finds=exported.flowise),
    _any("langflow", "*.json", reader=Reader.JSON, words='"type":\\s{0,4}"[A-Za-z]{0,40}Agent"',
            finds=exported.langflow),
    _any("openai-assistants", "*.json", reader=Reader.JSON, words='"asst_', finds=exported.assistant),
    _any("autogen", "*.json", reader=Reader.JSON, words='"autogen_', finds=exported.autogen_component),
    _any("declared-agent", "*.json", reader=Reader.JSON, words="declarative-agent", finds=exported.declared_agent),
    _any("declared-agent", *_YAML, reader=Reader.YAML,
         words="(?m)^(?:agent_class:|type:\\s{0,4}[a-z_]{1,40}_(?:agent|assistant))|AgentConfig",
         finds=exported.declared_agent),
    _any("crewai", *_YAML, reader=Reader.FIRST_YAML, words="(?m)^ {1,8}backstory:", finds=exported.crewai),
    _any("dify", *_YAML, reader=Reader.YAML, words="(?m)^kind: ['\"]?app\\b", finds=exported.dify),
    _any("github-actions", ".github/workflows/*.yml", ".github/workflows/*.yaml", reader=Reader.YAML,
         words="claude-code|gemini-cli|codex-action|ai-inference|cursor-agent|goose-action",
         finds=exported.github_actions),
    _any("docker-compose", "compose*.yml", "compose*.yaml", "docker-compose*.yml", "docker-compose*.yaml",
         reader=Reader.YAML, words="API_KEY|API_TOKEN|HF_TOKEN|AUTH_TOKEN|BEARER_TOKEN|APIKEY|ACCREDIT_AGENT",
         finds=exported.compose),
    _any("kubernetes", *_YAML, reader=Reader.YAML,
         words="API_KEY|API_TOKEN|HF_TOKEN|AUTH_TOKEN|BEARER_TOKEN|APIKEY|ACCREDIT_AGENT", finds=exported.kubernetes),
    _any("dotenv", ".env", ".env.*", "*.env", ".envrc", ".dev.vars", reader=Reader.VARIABLES,
         words="(?i)api_?key|token|ACCREDIT_AGENT", finds=exported.variables),
    FileFormat("python", ("*.py",), Reader.PYTHON, words=PYTHON_WORDS, kind=TraceKind.CODE),
    FileFormat("notebook", ("*.ipynb",), Reader.NOTEBOOK,
               words=re.compile(PYTHON_WORDS.pattern.replace(rb"(?m)^[ \t]{0,200}", rb"[\"\\n ]")),
               kind=TraceKind.CODE),
    FileFormat("script", ("*.ts", "*.tsx", "*.mts", "*.cts", "*.js", "*.jsx", "*.mjs", "*.cjs", "*.cs"), Reader.SCRIPT,
               words=SCRIPT_WORDS, kind=TraceKind.CODE),
)  # fmt: skip


_Rows = dict[str, list[tuple[int, str, FileFormat]]]


def _index() -> tuple[_Rows, _Rows]:
    """Rows by the whole name of a file, and those that leave some of it open by how it ends."""
    exact: _Rows = {}
    loose: _Rows = {}
    for number, one in enumerate(FORMATS):
        for path in one.paths:
            last = path.rsplit("/", 1)[-1].lower()
            if "*" not in last:
                exact.setdefault(last, []).append((number, path.lower(), one))
            else:
                loose.setdefault(last.rsplit(".", 1)[-1], []).append((number, path.lower(), one))
    return exact, loose


_EXACT, _LOOSE = _index()


def candidates(path: str) -> tuple[FileFormat, ...]:
    """What a file at that path could be, in the order of the table."""
    lower = path.lower()
    name = lower.rsplit("/", 1)[-1]
    rows = [*_EXACT.get(name, ()), *_LOOSE.get(name.rsplit(".", 1)[-1], ()), *_LOOSE.get("*", ())]
    found = {number: one for number, pattern, one in rows if _ends(lower, pattern)}
    return tuple(found[number] for number in sorted(found))


def _ends(path: str, pattern: str) -> bool:
    wanted, had = pattern.split("/"), path.split("/")
    return len(had) >= len(wanted) and all(
        fnmatchcase(one, other) for one, other in zip(had[-len(wanted) :], wanted, strict=True)
    )


def traces_in(
    one: FileFormat, path: str, data: bytes, secrets: Secrets, local: frozenset[str] = frozenset()
) -> list[Trace]:
    """What a row finds in a file; `path` is already fit to be shown, `local` are Python modules of the file's own.

    Raises:
        InvalidInputError: the file cannot be read in that way.
    """
    text = as_text(data)
    if one.reader is Reader.PYTHON:
        return list(python_traces(path, text, secrets, local))
    if one.reader is Reader.NOTEBOOK:
        return list(python_traces(path, cells(text), secrets, local))
    if one.reader is Reader.SCRIPT:
        return list(script_traces(path, text, secrets))
    assert one.finds is not None  # noqa: S101 - of every row that is no program
    return list(one.finds(Looked(one.name, path, _READS[one.reader](text), secrets)))


_READS: Final[dict[Reader, Callable[[str], Any]]] = {
    Reader.JSON: json_value,
    Reader.YAML: yaml_values,
    Reader.FIRST_YAML: lambda text: next(iter(yaml_values(text)), None),
    Reader.TOML: toml_value,
    Reader.VARIABLES: dotenv,
    Reader.HEAD: front_matter,
}
