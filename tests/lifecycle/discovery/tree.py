# ruff: noqa: E501, ISC004 - a file of the tree is one row, however long its text
"""A folder as developers leave them: every format once, each with what has to be found in it, and decoys.

Keys are put together here, so that no file of this repository looks as if it held one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

__all__ = ["DECOYS", "FOUND", "OPENAI", "OURS", "PLAIN", "planted"]

OPENAI: Final = "sk-" + "Zq8Xw2Lm5Rt7Yp1Nc4Vb" + "T3BlbkFJ" + "Kd9Gh3Js6Fa0Qe2Wr5Tz"
ANTHROPIC: Final = "sk-ant-" + "api03-" + "h7Kp2Qx9Wm4Rt6Yz1Nc8Vb3Ld5Gf0Js" * 3 + "AA"
OURS: Final = "akey_" + "Qm4Rt6Yz1Nc8Vb3Ld5Gf0JsHk7Kp2Qx9Wm4Rt6Yz1N"
PLAIN: Final = "hunter2-correct-horse-9"
SECRETS: Final = (OPENAI, ANTHROPIC, OURS, PLAIN)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)


def _servers(**more: Any) -> str:
    tracker = {"command": "npx", "args": ["-y", "@acme/tracker-mcp"], "env": {"TRACKER_TOKEN": PLAIN}}
    return _json({"mcpServers": {"tracker": {**tracker, **more}}})


FOUND: Final[dict[str, tuple[str, str, list[str]]]] = {
    # path: (format, content, names found)
    "home/Claude/claude_desktop_config.json": ("claude-desktop", _servers(), ["tracker"]),
    "a/.mcp.json": (
        "claude-code",
        _json({"mcpServers": {"crm": {"type": "http", "url": "https://u:" + PLAIN + "@crm.example.com/mcp?key=" + PLAIN}}}),
        ["crm"],
    ),
    "home/.claude.json": ("claude-code", _json({"projects": {"/src": {"mcpServers": {"db": {"command": "dbmcp"}}}}}), ["db"]),
    "b/.claude/settings.json": ("claude-code", _json({"permissions": {"allow": ["Bash(npm test)"]}}), ["settings"]),
    "b/.claude/agents/reviewer.md": (
        "claude-code", "---\nname: reviewer\ndescription: Reviews code\ntools: Read\n---\nYou review.", ["reviewer"],
    ),
    "c/.cursor/mcp.json": ("cursor", _servers(), ["tracker"]),
    "d/.vscode/mcp.json": (
        "vscode",
        '{\n  // the servers\n  "servers": {"docs": {"type": "http", "url": "https://docs.example.com/mcp",},},\n}',
        ["docs"],
    ),
    "d2/.vscode/settings.json": (
        "vscode", '{"editor.tabSize": 2, /* here */ "mcp": {"servers": {"files": {"command": "uvx", "args": ["files-mcp"]}}}}', ["files"],
    ),
    "home/.codeium/windsurf/mcp_config.json": ("windsurf", _json({"mcpServers": {"w": {"serverUrl": "https://w.example.com/sse"}}}), ["w"]),
    "home/Code/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json": ("cline", _servers(disabled=False), ["tracker"]),
    "e/.roo/mcp.json": ("roo-code", _servers(), ["tracker"]),
    "f/.continue/config.yaml": (
        "continue",
        "name: mine\nmodels:\n  - name: big\n    provider: openai\n    model: gpt-5\n    apiKey: " + OPENAI
        + "\nmcpServers:\n  - name: search\n    command: uvx\n    args: [search-mcp]\n",
        ["big", "search"],
    ),
    "home/.config/zed/settings.json": (
        "zed", '// Zed\n{"context_servers": {"pg": {"command": {"path": "pg-mcp", "args": [], "env": {"PG_PASSWORD": "' + PLAIN + '"}}}}}', ["pg"],
    ),
    "g/.gemini/settings.json": ("gemini-cli", _json({"mcpServers": {"g": {"httpUrl": "https://g.example.com/mcp"}}}), ["g"]),
    "home/.codex/config.toml": (
        "codex-cli", 'model = "gpt-5"\n[mcp_servers.tickets]\ncommand = "npx"\nargs = ["-y", "tickets-mcp"]\n[mcp_servers.tickets.env]\nAPI_KEY = "' + PLAIN + '"\n', ["tickets"],
    ),
    "home/.config/goose/config.yaml": (
        "goose", "GOOSE_PROVIDER: anthropic\nextensions:\n  developer:\n    type: builtin\n    enabled: true\n  gh:\n    type: stdio\n    cmd: gh-mcp\n    args: []\n", ["developer", "gh"],
    ),
    "h/librechat.yaml": ("librechat", "version: 1.2\nmcpServers:\n  puppet:\n    type: stdio\n    command: npx\n    args: ['-y', 'puppet-mcp']\n", ["puppet"]),
    "i/.junie/mcp/mcp.json": ("junie", _servers(), ["tracker"]),
    "j/.amazonq/mcp.json": ("amazon-q", _servers(), ["tracker"]),
    "home/.aws/amazonq/cli-agents/ops.json": ("amazon-q", _json({"name": "ops", "prompt": "You operate.", "tools": ["*"]}), ["ops"]),
    "k/.kiro/settings/mcp.json": ("kiro", _servers(), ["tracker"]),
    "l/opencode.json": ("opencode", _json({"mcp": {"o": {"type": "local", "command": ["bun", "x", "o-mcp"]}}}), ["o"]),
    "m/tools/anything.json": ("mcp-client", _servers(), ["tracker"]),
    "n/langgraph.json": ("langgraph", _json({"dependencies": ["."], "graphs": {"researcher": "./g.py:graph"}, "env": ".env"}), ["researcher"]),
    "n/graph.py": ("langgraph", "from langgraph.prebuilt import create_react_agent as make\ngraph = make(model, tools, name='researcher')\n", ["researcher"]),
    "o/chain.py": ("langchain", "import langchain.agents as la\nex = la.AgentExecutor(agent=a, tools=[])\n", [""]),
    "p/src/crew/config/agents.yaml": ("crewai", "writer:\n  role: Writer\n  goal: Write\n  backstory: >\n    You write.\n", ["writer"]),
    "p/src/crew/crew.py": ("crewai", "from crewai import Agent, Crew\nwriter = Agent(role='Writer', goal='g', backstory='b', llm='openai/gpt-5')\n", ["Writer"]),
    "q/team.py": ("autogen", "from autogen_agentchat.agents import AssistantAgent\na = AssistantAgent('clerk', model_client=c)\n", [""]),
    "q/team.json": ("autogen", _json({"provider": "autogen_agentchat.agents.AssistantAgent", "component_type": "agent", "config": {"name": "clerk"}}), ["clerk"]),
    "r/af.py": ("agent-framework", "from agent_framework import ChatAgent\nagent = ChatAgent(name='mf', chat_client=c)\n", ["mf"]),
    "s/pai.py": ("pydantic-ai", "from pydantic_ai import Agent\nagent = Agent('openai:gpt-5', name='pai', instructions='x')\n", ["pai"]),
    "t/li.py": ("llamaindex", "from llama_index.core.agent.workflow import FunctionAgent\nagent = FunctionAgent(tools=[], llm=m)\n", [""]),
    "u/smol.py": ("smolagents", "import smolagents\nsmolagents.CodeAgent(tools=[], model=m).run('x')\n", [""]),
    "v/adk.py": ("google-adk", "from google.adk.agents import Agent\nroot_agent = Agent(name='adk', model='gemini-3', instruction='x')\n", ["adk"]),
    "v/root_agent.yaml": ("declared-agent", "agent_class: LlmAgent\nname: adk_yaml\nmodel: gemini-3\ninstruction: Help.\n", ["adk_yaml"]),
    "w/st.py": ("strands", "from strands import Agent\nAgent(name='st', tools=[])('hello')\n", ["st"]),
    "x/sk.py": ("semantic-kernel", "from semantic_kernel.agents import ChatCompletionAgent\na = ChatCompletionAgent(service=s, name='sk')\n", ["sk"]),
    "x/Program.cs": ("semantic-kernel", 'using Microsoft.SemanticKernel.Agents;\nvar a = new ChatCompletionAgent { Name = "sharp" };\n', ["sharp"]),
    "y/oa.py": ("openai-agents", "from agents import Agent, Runner\na = Agent(name='oa', instructions='x')\n", ["oa"]),
    "y/oa.ts": ("openai-agents", "import { Agent } from '@openai/agents';\nconst a = new Agent({ name: 'oats', instructions: 'x' });\n", ["oats"]),
    "y/assist.py": ("openai-assistants", "from openai import OpenAI\nc = OpenAI(api_key='" + OPENAI + "')\nc.beta.assistants.create(name='helper', model='gpt-5')\n", ["helper"]),
    "y/nb.ipynb": ("pydantic-ai", _json({"cells": [{"cell_type": "code", "source": ["!pip install x\n", "from pydantic_ai import Agent\n", "Agent('m', name='nb')"]}]}), ["nb"]),
    "z/lg.mjs": ("langgraph", "import { createReactAgent } from '@langchain/langgraph/prebuilt';\nconst g = createReactAgent({ llm, tools });\n", [""]),
    "z/mastra.ts": ("mastra", 'import { Agent } from "@mastra/core/agent";\nexport const a = new Agent({ name: "mast", model });\n', ["mast"]),
    "aa/flow.json": ("n8n", _json({"name": "Mailer", "nodes": [{"type": "@n8n/n8n-nodes-langchain.agent", "name": "AI"}], "connections": {}}), ["Mailer"]),
    "aa/app.yml": ("dify", "app:\n  mode: agent-chat\n  name: desk\nkind: app\nversion: 0.3.0\n", ["desk"]),
    "aa/chatflow.json": ("flowise", _json({"nodes": [{"data": {"category": "Agents", "label": "Tool Agent"}}], "edges": []}), ["Tool Agent"]),
    "aa/langflow.json": ("langflow", _json({"name": "lf", "data": {"nodes": [{"data": {"type": "ToolCallingAgent"}}]}}), ["lf"]),
    "ab/.well-known/agent-card.json": ("a2a-card", _json({"name": "carded", "url": "https://a2a.example.com/", "skills": [], "capabilities": {}}), ["carded"]),
    "ac/docker-compose.yml": (
        "docker-compose", "x-env: &env\n  OPENAI_API_KEY: " + OPENAI + "\nservices:\n  bot:\n    image: acme/bot\n    environment:\n      <<: *env\n  db:\n    image: postgres\n", ["bot"],
    ),
    "ac/k8s.yaml": (
        "kubernetes",
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers:\n"
        "            - name: c\n              image: acme/nightly\n              env:\n                - name: ANTHROPIC_API_KEY\n                  valueFrom: {secretKeyRef: {name: k, key: v}}\n",
        ["nightly"],
    ),
    "ac/.env": ("dotenv", "DEBUG=1\nexport ANTHROPIC_API_KEY=" + ANTHROPIC + "\nOPENAI_API_KEY=\n", ["ANTHROPIC_API_KEY"]),
    "ac/.github/workflows/ai.yml": (
        "github-actions", "name: ai\non: [push]\njobs:\n  r:\n    steps:\n      - uses: anthropics/claude-code-action@v1\n        with:\n          anthropic_api_key: ${{ secrets.A }}\n", ["ai"],
    ),
    "ad/agent.yaml": ("accredit", "apiVersion: accredit/v1\nkind: Agent\nmetadata: {name: known, environment: production, team: t}\nspec: {}\n", ["known"]),
    "ae/.mcp.json": ("claude-code", _json({"mcpServers": {"gate": {"url": "https://gate.example.com/mcp/crm", "headers": {"Authorization": "Bearer " + OURS}}}}), ["gate"]),
}  # fmt: skip

DECOYS: Final = {
    "README.md": "We tried crewai: `from crewai import Agent` and .cursor/mcp.json, OPENAI_API_KEY=sk-...\n",
    "dec/own.py": "class Agent:\n    pass\n\nagent = Agent()\nuser_agent = 'Agent(name=1)'\n",
    "dec/comment.py": "# from crewai import Agent\n'''\nfrom langgraph.graph import StateGraph\n'''\n",
    "dec/imports.py": "import langchain\nfrom langgraph import version\nprint(langchain.__version__, version)\n",
    "dec/estate.py": "from agents import Agent\nbroker = Agent('Smith', region='north')\n",
    "dec/local/agents/__init__.py": "class Agent:\n    def __init__(self, name, tools): ...\n",
    "dec/local/run.py": "from agents import Agent\nAgent(name='Smith', tools=['pen'])\n",
    "dec/.env.example": "OPENAI_API_KEY=your-key-here\nANTHROPIC_API_KEY=<key>\nGEMINI_API_KEY=${GEMINI}\nMISTRAL_API_KEY=changeme\n",
    "dec/docker-compose.yml": "services:\n  web:\n    image: nginx\n    environment:\n      SESSION_TOKEN_NAME: sid\n      MAPS_API_KEY: none\n",
    "dec/minecraft/mcp.json": _json({"version": "9.31", "mappings": {"func_1": "tick"}}),
    "dec/deploy.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: w, env: [{name: MAPS_API_KEY, value: x}]}]}}}\n",
    "dec/pipeline.json": _json({"name": "etl", "nodes": [{"type": "n8n-nodes-base.httpRequest"}], "connections": {}}),
    "dec/langgraph.json": _json({"graphs": [{"title": "Sales"}]}),
    "dec/agent.json": _json({"name": "Smith", "skills": ["negotiation"], "office": "north"}),
    "dec/agents.yaml": "smith:\n  role: broker\n  region: north\n",
    "dec/settings.json": _json({"servers": {"web": {"port": 80}}}),
    "dec/.vscode/settings.json": _json({"editor.tabSize": 2, "mcpServersNote": True}),
    "dec/http.ts": "import axios from 'axios';\nconst agent = new Agent({ name: 'keepalive' });\n",
    "dec/https.mjs": "import { Agent } from 'node:https';\nexport default new Agent({ keepAlive: true });\n",
    "dec/openai.py": "from openai import OpenAI\nprint(OpenAI().embeddings.create(model='e', input='x'))\n",
    "dec/app.yml": "kind: application\napp:\n  name: shop\n",
    "dec/package.json": _json({"dependencies": {"@openai/agents": "1", "langchain": "1"}}),
    "dec/requirements.txt": "crewai==1\nlanggraph\n",
    "dec/browser.cs": "using System.Net;\nvar agent = new AIAgent();\n",
    "node_modules/x/index.js": "import { Agent } from '@openai/agents'; new Agent({name:'theirs'})",
    "dec/.venv/lib/crew.py": "from crewai import Agent\nAgent(role='x')\n",
}  # fmt: skip


def planted(root: Path) -> Path:
    """All of it, in a folder."""
    for path, content in {**{path: text for path, (_, text, _) in FOUND.items()}, **DECOYS}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root
