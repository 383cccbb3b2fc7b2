"""Programs that make agents with a framework: Python by its tree, scripts and C# by bounded patterns. Pure.

A framework counts where it is imported and something of it that makes an agent is used; to import it is not enough. So
a program that only mentions one, or has a class of its own called `Agent`, is none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.lifecycle.discovery.model import Trace, TraceKind
from accredit.lifecycle.discovery.reading import python_tree
from accredit.lifecycle.discovery.shown import MANY, Secrets, tidy

__all__ = ["PYTHON_MODULES", "PYTHON_WORDS", "SCRIPT_WORDS", "python_traces", "script_traces"]


@dataclass(frozen=True, slots=True)
class _Framework:
    """How a framework is recognised in Python."""

    name: str
    modules: tuple[str, ...]
    makers: frozenset[str]
    """What of it makes an agent: classes and functions, called, subclassed or used as a decorator."""
    only_with: frozenset[str] = frozenset()
    """Keywords of which one must be given, where the module's name could be anybody's."""


def _framework(name: str, modules: str, makers: str, only_with: str = "") -> _Framework:
    return _Framework(name, tuple(modules.split()), frozenset(makers.split()), frozenset(only_with.split()))


_PYTHON: Final = (
    _framework("openai-agents", "agents", "Agent RealtimeAgent SandboxAgent", "instructions tools handoffs model"),
    _framework("claude-agent-sdk", "claude_agent_sdk claude_code_sdk", "ClaudeSDKClient query ClaudeAgentOptions"),
    _framework("langgraph", "langgraph", "StateGraph MessageGraph create_react_agent create_supervisor create_swarm "
               "entrypoint ToolNode"),
    _framework("langgraph", "langgraph_supervisor langgraph_swarm deepagents",
               "create_supervisor create_swarm create_deep_agent"),
    _framework("langchain", "langchain langchain_classic langchain_core langchain_community langchain_experimental",
               "create_agent AgentExecutor initialize_agent create_react_agent create_tool_calling_agent "
               "create_openai_functions_agent create_openai_tools_agent create_structured_chat_agent create_json_agent "
               "create_sql_agent create_xml_agent create_csv_agent create_pandas_dataframe_agent"),
    _framework("crewai", "crewai", "Agent Crew Flow CrewBase LiteAgent"),
    _framework("autogen", "autogen_agentchat autogen_core autogen_ext autogen ag2 pyautogen",
               "AssistantAgent ConversableAgent UserProxyAgent GroupChatManager RoutedAgent CodeExecutorAgent "
               "RoundRobinGroupChat SelectorGroupChat Swarm MagenticOneGroupChat SocietyOfMindAgent "
               "MultimodalWebSurfer"),
    _framework("agent-framework", "agent_framework", "ChatAgent Agent WorkflowBuilder create_agent as_agent "
               "GroupChatBuilder MagenticBuilder SequentialBuilder"),
    _framework("semantic-kernel", "semantic_kernel", "ChatCompletionAgent OpenAIAssistantAgent AzureAIAgent "
               "AzureAssistantAgent OpenAIResponsesAgent AgentGroupChat BedrockAgent CopilotStudioAgent"),
    _framework("pydantic-ai", "pydantic_ai", "Agent"),
    _framework("llamaindex", "llama_index llama_agents", "FunctionAgent ReActAgent AgentWorkflow CodeActAgent "
               "FunctionCallingAgent OpenAIAgent AgentRunner StructuredPlannerAgent"),
    _framework("smolagents", "smolagents", "CodeAgent ToolCallingAgent MultiStepAgent"),
    _framework("google-adk", "google.adk", "Agent LlmAgent SequentialAgent ParallelAgent LoopAgent BaseAgent Runner "
               "InMemoryRunner to_a2a"),
    _framework("strands", "strands", "Agent Swarm GraphBuilder"),
    _framework("strands", "bedrock_agentcore", "BedrockAgentCoreApp"),
    _framework("agno", "agno phi", "Agent Team Workflow"),
    _framework("haystack", "haystack", "Agent"),
    _framework("dspy", "dspy", "ReAct CodeAct"),
    _framework("letta", "letta_client letta", "Letta create_client"),
    _framework("beeai", "beeai_framework", "ReActAgent ToolCallingAgent RequirementAgent"),
    _framework("a2a", "a2a", "A2AStarletteApplication A2AFastAPIApplication AgentCard AgentExecutor"),
)  # fmt: skip
_BY_MODULE: Final[Mapping[str, tuple[_Framework, ...]]] = {
    module: tuple(one for one in _PYTHON if module in one.modules) for each in _PYTHON for module in each.modules
}
_METHODS: Final[Mapping[tuple[str, str], str]] = {
    ("assistants", "create"): "openai-assistants",
    ("agents", "create_agent"): "azure-ai-agents",
    ("agents", "create_version"): "azure-ai-agents",
}
"""Services that keep the agent themselves, by the last two names of the call that makes one."""
_MAKERS: Final = re.compile(
    r"\b(?:"
    + "|".join(sorted({name for one in _PYTHON for name in one.makers} | {last for _, last in _METHODS}))
    + r")\b"
)
"""What the text of a file that makes an agent has in it: most others need no tree."""
_CLIENTS: Final = {"openai-assistants": {"openai"}, "azure-ai-agents": {"azure"}}
PYTHON_MODULES: Final = frozenset({name.split(".")[0] for name in _BY_MODULE} | {"openai", "azure"})
"""The top names of what is recognised."""
PYTHON_WORDS: Final = re.compile(
    rb"(?m)^[ \t]{0,200}(?:from|import)[ \t]{1,20}(?:" + "|".join(sorted(PYTHON_MODULES)).encode() + rb")\b"
)
"""What a Python file has in it if it is worth a look."""


def python_traces(path: str, text: str, secrets: Secrets, local: frozenset[str] = frozenset()) -> Iterator[Trace]:
    """The agents a Python file makes: one trace for each framework and name. `local` modules are the author's own.

    Raises:
        InvalidInputError: it cannot be read.
    """
    if _MAKERS.search(text) is None:
        return
    nodes = list(ast.walk(python_tree(text)))
    names, roots = _imported(nodes, local)
    if not roots & PYTHON_MODULES:
        return
    found: dict[tuple[str, str], Trace] = {}
    for node in nodes:
        for framework, call in _made(node, names, roots):
            given = {one.arg: one.value for one in call.keywords if one.arg} if call is not None else {}
            if framework.only_with and not framework.only_with & set(given):
                continue
            name = _constant(given.get("name")) or _constant(given.get("role"))
            key = (framework.name, name)
            if key in found or len(found) >= MANY:
                continue
            model = _constant(given.get("model"))
            provider, _, _ = model.replace("/", ":").partition(":") if ":" in model or "/" in model else ("", "", "")
            found[key] = Trace(
                framework.name, TraceKind.CODE, path, name, getattr(node, "lineno", 0),
                providers=(provider,) if provider else (), models=(model,) if model else (),
            )  # fmt: skip
    named = {framework for framework, name in found if name}
    own = _assigned_secrets(nodes, secrets) if found else ()
    yield from (replace(one, secrets=own) for (framework, name), one in found.items() if name or framework not in named)


def _imported(nodes: list[ast.AST], local: frozenset[str]) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """Local name -> (module, name in it; empty for the module itself), and the top names of what is imported."""
    names: dict[str, tuple[str, str]] = {}
    roots: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            for one in node.names:
                if one.name.split(".")[0] in local:
                    continue
                roots.add(one.name.split(".")[0])
                names[one.asname or one.name.split(".")[0]] = (one.name if one.asname else one.name.split(".")[0], "")
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module
            and not node.level
            and node.module.split(".")[0] not in local
        ):
            roots.add(node.module.split(".")[0])
            for one in node.names:
                names[one.asname or one.name] = (node.module, one.name)
    return names, roots


def _made(
    node: ast.AST, names: Mapping[str, tuple[str, str]], roots: set[str]
) -> Iterator[tuple[_Framework, ast.Call | None]]:
    if isinstance(node, ast.Call):
        yield from ((one, node) for one in _frameworks(node.func, names))
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Attribute | ast.Name):
            owner = node.func.value.attr if isinstance(node.func.value, ast.Attribute) else node.func.value.id
            service = _METHODS.get((owner, node.func.attr))
            if service is not None and roots & _CLIENTS[service]:
                yield _Framework(service, (), frozenset()), node
    elif isinstance(node, ast.ClassDef):
        yield from ((one, None) for base in node.bases for one in _frameworks(base, names))
        yield from ((one, None) for each in node.decorator_list for one in _frameworks(each, names))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from ((one, None) for each in node.decorator_list for one in _frameworks(each, names))


def _frameworks(node: ast.expr, names: Mapping[str, tuple[str, str]]) -> Iterator[_Framework]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return
    module, name = names[node.id]
    path = [*module.split("."), *([name] if name else []), *reversed(parts)]
    for length in (2, 1):
        for framework in _BY_MODULE.get(".".join(path[:length]), ()):
            if framework.makers & set(path[length:]):
                yield framework


def _constant(node: ast.expr | None) -> str:
    return tidy(node.value) if isinstance(node, ast.Constant) else ""


def _assigned_secrets(nodes: list[ast.AST], secrets: Secrets) -> tuple[Any, ...]:
    pairs: list[tuple[str, Any]] = []
    for node in nodes:
        if isinstance(node, ast.keyword) and node.arg and isinstance(node.value, ast.Constant):
            pairs.append((node.arg, node.value.value))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            targets = [one for one in node.targets if isinstance(one, ast.Name | ast.Subscript)]
            pairs += [(_target(one), node.value.value) for one in targets]
        if len(pairs) > 2_000:
            break
    return secrets.of((name, value) for name, value in pairs if isinstance(value, str) and len(value) >= 16)


def _target(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    key = node.slice if isinstance(node, ast.Subscript) else None
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""


# -- JavaScript, TypeScript, C#


_SCRIPTS: Final[tuple[tuple[str, str, str], ...]] = (
    ("openai-agents", r"@openai/agents(?:-[a-z]{1,20})?", r"new\s+(?:Agent|RealtimeAgent)\b"),
    ("claude-agent-sdk", r"@anthropic-ai/claude-(?:agent-sdk|code)", r"\bquery\s*\("),
    ("langgraph", r"@langchain/langgraph[a-z/-]{0,40}", r"new\s+StateGraph\b|createReactAgent\s*\("),
    ("langchain", r"langchain(?:/[a-z_/]{1,40})?", r"createAgent\s*\(|AgentExecutor|initializeAgentExecutor"),
    ("llamaindex", r"(?:@llamaindex/[a-z-]{1,40}|llamaindex)", r"\bagent\s*\(|ReActAgent|multiAgent\s*\("),
    ("google-adk", r"@google/adk", r"new\s+(?:LlmAgent|SequentialAgent|ParallelAgent|LoopAgent)\b"),
    ("strands", r"@strands-agents/sdk", r"new\s+Agent\b"),
    ("mastra", r"@mastra/core(?:/[a-z]{1,20})?", r"new\s+(?:Agent|Mastra)\b"),
    ("vercel-ai", r"ai", r"new\s+(?:ToolLoopAgent|Experimental_Agent|Agent)\b"),
    ("mcp-client", r"@modelcontextprotocol/(?:sdk/client/[a-z.]{1,30}|client)", r"new\s+Client\b"),
    ("openai-assistants", r"openai", r"\bassistants\s*\.\s*create\s*\("),
)
_SCRIPT_PATTERNS: Final = tuple(
    (
        name,
        re.compile(rf"""(?:\bfrom|\bimport|\brequire\s*\(|\bimport\s*\()\s*["']{module}["']"""),
        re.compile(made),
    )
    for name, module, made in _SCRIPTS
)
_SHARP: Final = (
    ("semantic-kernel", re.compile(r"\busing\s+Microsoft\.SemanticKernel\.Agents\b"),
     re.compile(r"\b(?:ChatCompletionAgent|OpenAIAssistantAgent|AzureAIAgent|AgentGroupChat)\b")),
    ("agent-framework", re.compile(r"\busing\s+Microsoft\.Agents\.AI\b"),
     re.compile(r"\b(?:ChatClientAgent|CreateAIAgent|AsAIAgent|AIAgent)\b")),
    ("autogen", re.compile(r"\busing\s+AutoGen(?:\.[A-Z][A-Za-z]{1,30})?\b"),
     re.compile(r"\b(?:AssistantAgent|ConversableAgent|OpenAIChatAgent)\b")),
)  # fmt: skip
_NAME: Final = re.compile(r"""\bname\s*[:=]\s*["']([^"'\n]{1,200})["']""", re.IGNORECASE)
SCRIPT_WORDS: Final = re.compile(
    rb"openai|anthropic-ai|langchain|llamaindex|google/adk|strands-agents|mastra|[\"']ai[\"']|modelcontextprotocol"
    rb"|SemanticKernel|Microsoft\.Agents|AutoGen"
)


def script_traces(path: str, text: str, secrets: Secrets) -> Iterator[Trace]:
    """The agents a script in JavaScript, TypeScript or C# makes: one trace for each framework."""
    patterns = _SHARP if path.endswith(".cs") else _SCRIPT_PATTERNS
    for framework, imports, makes in patterns:
        imported = imports.search(text)
        made = makes.search(text) if imported is not None else None
        if made is None:
            continue
        named = _NAME.search(text, made.end(), made.end() + 400)
        values = ((one[1], one[2]) for one in _ASSIGNED.finditer(text))
        yield Trace(
            framework,
            TraceKind.CODE,
            path,
            tidy(named[1]) if named else "",
            text.count("\n", 0, made.start()) + 1,
            secrets=secrets.of(values),
        )


_ASSIGNED: Final = re.compile(r"""\b([A-Za-z_]{2,60})\s{0,4}[:=]\s{0,4}["']([^"'\n]{16,400})["']""")
