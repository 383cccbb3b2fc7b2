"""Agents as tools draw them, frameworks configure them and platforms deploy them, read out of their files. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from accredit.lifecycle.discovery.clients import Looked, pairs_of
from accredit.lifecycle.discovery.model import Trace, TraceKind
from accredit.lifecycle.discovery.shown import MANY, provider_of_variable, tidy, url

__all__ = [
    "agent_card",
    "assistant",
    "autogen_component",
    "compose",
    "crewai",
    "declared_agent",
    "dify",
    "flowise",
    "github_actions",
    "kubernetes",
    "langflow",
    "langgraph",
    "manifest",
    "n8n",
    "variables",
]

_ACTIONS: Final = (
    "anthropics/claude-code-action", "anthropics/claude-code-base-action", "google-github-actions/run-gemini-cli",
    "openai/codex-action", "actions/ai-inference", "cursor/cursor-agent-action", "block/goose-action",
)  # fmt: skip
_KEPT_BY_KUBERNETES: Final = frozenset({"ConfigMap", "Secret"})
_AGENT_NODES: Final = frozenset({"Agents", "Agent Flows", "Multi Agents", "Sequential Agents"})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value[:2_000] if isinstance(value, list) else []


def langgraph(looked: Looked) -> Iterator[Trace]:
    """What LangGraph serves: a graph by each name."""
    value = _mapping(looked.value)
    if "dependencies" in value or "node_version" in value or "env" in value:
        for name in list(_mapping(value.get("graphs")))[:MANY]:
            yield looked.trace(TraceKind.CODE, name)


def crewai(looked: Looked) -> Iterator[Trace]:
    """A crew: agents by name, each with a role and a goal."""
    for name, one in list(_mapping(looked.value).items())[:MANY]:
        if isinstance(one, Mapping) and {"role", "goal", "backstory"} <= set(one):
            model = tidy(one.get("llm"))
            yield looked.trace(TraceKind.CODE, name, models=(model,) if model else ())


def autogen_component(looked: Looked) -> Iterator[Trace]:
    """A component of AutoGen: an agent, or a team with the agents in it."""
    value = _mapping(looked.value)
    config = _mapping(value.get("config"))
    for one in [value, *_list(config.get("participants"))[:MANY]]:
        provider, kind = _mapping(one).get("provider"), _mapping(one).get("component_type")
        if isinstance(provider, str) and provider.startswith("autogen") and kind in {"agent", "team"}:
            yield looked.trace(TraceKind.CODE, _mapping(one.get("config")).get("name") or one.get("label"))


def declared_agent(looked: Looked) -> Iterator[Trace]:
    """An agent that a framework reads from a file: Google ADK, Semantic Kernel, Microsoft's declarative agents."""
    for value in _list(looked.value) if isinstance(looked.value, list) else [looked.value]:
        one = _mapping(value)
        adk = str(one.get("agent_class", "")).endswith("Agent") or "adk" in str(one.get("$schema", "")).lower()
        kernel = str(one.get("type", "")).endswith(("_agent", "_assistant")) and "instructions" in one
        copilot = "declarative-agent" in str(one.get("$schema", "")) and "instructions" in one
        if (adk and "instruction" in one) or kernel or copilot:
            model = tidy(one.get("model")) or tidy(_mapping(one.get("model")).get("id"))
            yield looked.trace(TraceKind.CODE, one.get("name"), models=(model,) if model else ())


def assistant(looked: Looked) -> Iterator[Trace]:
    """Assistants as the provider lists them."""
    value = _mapping(looked.value)
    for one in [value, *_list(value.get("data"))[:MANY]]:
        told = _mapping(one)
        if told.get("object") == "assistant" and str(told.get("id", "")).startswith("asst_"):
            yield looked.trace(
                TraceKind.WORKFLOW,
                told.get("name") or told["id"],
                providers=("openai",),
                models=(tidy(told.get("model")),),
            )


def n8n(looked: Looked) -> Iterator[Trace]:
    """A workflow of n8n in which a model acts: one without such a node is no agent."""
    for value in _list(looked.value)[:MANY] if isinstance(looked.value, list) else [looked.value]:
        told = _mapping(value)
        if not isinstance(told.get("connections"), Mapping):
            continue
        kinds = [str(_mapping(one).get("type", "")) for one in _list(told.get("nodes"))]
        if any(one.startswith(("@n8n/n8n-nodes-langchain.agent", "@n8n/n8n-nodes-langchain.openAi")) for one in kinds):
            yield looked.trace(TraceKind.WORKFLOW, told.get("name"))


def dify(looked: Looked) -> Iterator[Trace]:
    """An application of Dify."""
    for value in _list(looked.value):
        app = _mapping(_mapping(value).get("app"))
        if _mapping(value).get("kind") == "app" and app.get("mode"):
            model = tidy(_mapping(_mapping(_mapping(value).get("model_config")).get("model")).get("name"))
            yield looked.trace(TraceKind.WORKFLOW, app.get("name"), models=(model,) if model else ())


def flowise(looked: Looked) -> Iterator[Trace]:
    """A flow of Flowise with an agent in it."""
    value = _mapping(looked.value)
    if not isinstance(value.get("edges"), list):
        return
    nodes = [_mapping(_mapping(one).get("data")) for one in _list(value.get("nodes"))]
    agents = [one for one in nodes if one.get("category") in _AGENT_NODES]
    if agents:
        yield looked.trace(TraceKind.WORKFLOW, value.get("name") or agents[0].get("label"))


def langflow(looked: Looked) -> Iterator[Trace]:
    """A flow of Langflow with an agent in it."""
    value = _mapping(looked.value)
    nodes = [_mapping(_mapping(one).get("data")) for one in _list(_mapping(value.get("data")).get("nodes"))]
    if any(str(one.get("type", "")).endswith("Agent") for one in nodes):
        yield looked.trace(TraceKind.WORKFLOW, value.get("name"))


def agent_card(looked: Looked) -> Iterator[Trace]:
    """A card of A2A: a name, where the agent is reached, and what it can do."""
    value = _mapping(looked.value)
    reached = [value.get("url"), *(_mapping(one).get("url") for one in _list(value.get("supportedInterfaces"))[:MANY])]
    urls = tuple(dict.fromkeys(found for one in reached if (found := url(one))))
    if isinstance(value.get("name"), str) and urls and ("skills" in value or "capabilities" in value):
        yield looked.trace(TraceKind.CARD, value["name"], urls=urls)


def variables(looked: Looked) -> Iterator[Trace]:
    """A file of variables: each key to a provider of models in it. A name without a value is none."""
    for name, value, line in looked.value:
        provider = provider_of_variable(name)
        if name == "ACCREDIT_AGENT" and value:
            yield looked.trace(TraceKind.DEPLOYMENT, name, line=line, agent=tidy(value))
        if provider and not looked.secrets.stands_in(value) and len(value) >= 8:
            yield looked.trace(
                TraceKind.KEY, name, line=line, providers=(provider,), secrets=looked.secrets.of([(name, value)])
            )


def _deployed(looked: Looked, name: Any, told: list[tuple[str, Any]], image: Any) -> Trace | None:
    """What is given a key to a provider of models, or says which agent of ours it is."""
    providers = tuple(dict.fromkeys(found for key, _ in told if (found := provider_of_variable(key))))
    agent = next((tidy(one) for key, one in told if key == "ACCREDIT_AGENT"), "")
    if not providers and not agent:
        return None
    urls = tuple(found for key, one in told if key.endswith(("_BASE_URL", "_MCP_URL")) and (found := url(one)))
    return looked.trace(
        TraceKind.DEPLOYMENT, name, providers=providers, agent=agent, urls=urls, command=tidy(image, 120),
        secrets=looked.secrets.of(told),
    )  # fmt: skip


def compose(looked: Looked) -> Iterator[Trace]:
    """Services of Docker Compose that are given a key to a provider of models."""
    for value in _list(looked.value):
        for name, one in list(_mapping(_mapping(value).get("services")).items())[:500]:
            service = _mapping(one)
            trace = _deployed(looked, name, pairs_of(service.get("environment")), service.get("image"))
            if trace is not None:
                yield trace


def kubernetes(looked: Looked) -> Iterator[Trace]:
    """What runs on Kubernetes with a key to a provider of models, and where such a key is kept."""
    for value in _list(looked.value):
        told = _mapping(value)
        if not told.get("apiVersion") or not isinstance(told.get("kind"), str):
            continue
        name = _mapping(told.get("metadata")).get("name")
        if told["kind"] in _KEPT_BY_KUBERNETES:
            kept = [*pairs_of(told.get("data")), *pairs_of(told.get("stringData"))]
            trace = _deployed(looked, name, kept, "")
            if trace is not None:
                yield trace
            continue
        spec = _pod(_mapping(told.get("spec")))
        for one in [*_list(spec.get("containers")), *_list(spec.get("initContainers"))][:MANY]:
            container = _mapping(one)
            trace = _deployed(looked, name, pairs_of(container.get("env")), container.get("image"))
            if trace is not None:
                yield trace


def _pod(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a pod is made from: its own specification, that of a template, or that of a job's template."""
    for key in ("jobTemplate", "template", "template"):
        if "containers" not in spec and key in spec:
            spec = _mapping(_mapping(spec[key]).get("spec"))
    return spec


def github_actions(looked: Looked) -> Iterator[Trace]:
    """Workflows of GitHub in which an agent is a step."""
    for value in _list(looked.value):
        for job in list(_mapping(_mapping(value).get("jobs")).values())[:200]:
            for one in _list(_mapping(job).get("steps"))[:500]:
                uses = str(_mapping(one).get("uses", "")).split("@", 1)[0]
                if uses in _ACTIONS:
                    told = [*pairs_of(_mapping(one).get("with")), *pairs_of(_mapping(one).get("env"))]
                    yield looked.trace(
                        TraceKind.DEPLOYMENT, _mapping(value).get("name"), command=uses, secrets=looked.secrets.of(told)
                    )


def manifest(looked: Looked) -> Iterator[Trace]:
    """A manifest of ours: the agent it declares."""
    for value in looked.value if isinstance(looked.value, list) else [looked.value]:
        told = _mapping(value)
        if str(told.get("apiVersion", "")) == "accredit/v1" and told.get("kind") == "Agent":
            about = _mapping(told.get("metadata"))
            name = f"{about.get('environment', '')}/{about.get('name', '')}"
            yield looked.trace(TraceKind.MANIFEST, about.get("name"), agent=tidy(name))
