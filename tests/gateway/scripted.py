"""A scripted MCP server: one behaviour in a pure function, served over HTTP of either era and as a program.

Run as a script, it speaks over its standard input and output. It needs nothing but the standard library, so it runs as
any user. Its tools are named after what they do wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LATEST, LEGACY = "2026-07-28", "2025-11-25"
TOOLS = [
    {"name": name, "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}
    for name in ("echo", "fail", "error", "progress", "hang", "huge", "invalid", "look")
]


def result_of(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a tool answers, if it answers."""
    if name == "fail":
        return {"content": [{"type": "text", "text": "no"}], "isError": True}
    return {"content": [{"type": "text", "text": str(arguments.get("text", "ok"))}], "isError": False}


class Behaviour:
    """What the server says to each message, as texts to be sent in order; it remembers what it was told."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.messages: list[dict[str, Any]] = []

    def answers(self, message: dict[str, Any]) -> list[str]:
        """The texts that answer a message; none if it is not answered."""
        self.messages.append(message)
        rpc_id, method, params = message.get("id"), message.get("method"), message.get("params", {})

        def response(**body: Any) -> str:
            return json.dumps({"jsonrpc": "2.0", "id": rpc_id, **body})

        if rpc_id is None or method is None:
            return []
        modern = self.revision == LATEST
        complete = {"resultType": "complete"} if modern else {}
        if method == "initialize" and not modern:
            about = {"name": "scripted", "version": "1"}
            body = {"protocolVersion": self.revision, "capabilities": {"tools": {}}, "serverInfo": about}
            return [response(result=body)]
        if method == "server/discover" and modern:
            return [response(result={"supportedVersions": [LATEST], "capabilities": {}, **complete})]
        if method == "tools/list":
            return [response(result={"tools": TOOLS, **complete})]
        if method != "tools/call":
            return [response(error={"code": -32601, "message": "unknown method"})]
        name, arguments = params["name"], params.get("arguments", {})
        if name == "error":
            return [response(error={"code": -32000, "message": "broken"})]
        if name == "hang":
            return []
        if name == "huge":
            return [response(result={"content": [{"type": "text", "text": "x" * int(arguments["text"])}]})]
        if name == "invalid":
            return ["{not json"]
        said = []
        if name == "progress":
            token = params["_meta"]["progressToken"]
            for step in (1, 2):
                notice = {"progressToken": token, "progress": step, "total": 2}
                said.append(json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": notice}))
        return [*said, response(result={**result_of(name, arguments), **complete})]


# -- as a program, with faults that only one can have


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _seen() -> dict[str, Any]:
    """What a program can find out about where it runs."""
    hidden = os.environ.get("LOOK_AT", "")
    found: dict[str, str | None] = {}
    for path in hidden.split(":"):
        try:
            found[path] = Path(path).read_text() if Path(path).is_file() else str(sorted(Path(path).iterdir()))
        except OSError as error:
            found[path] = error.strerror
    return {
        "cwd": os.getcwd(),  # noqa: PTH109
        "descriptors": sorted(int(each) for each in os.listdir("/proc/self/fd")),  # noqa: PTH208
        "environment": dict(os.environ),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "looked_at": found,
        "parents_environment": _read(f"/proc/{os.getppid()}/environ"),
        "uid": os.getuid(),
    }


def _read(path: str) -> str:
    try:
        return open(path).read()  # noqa: PTH123
    except OSError as error:
        return str(error.strerror)


def _odd(fault: str, message: dict[str, Any]) -> bool:
    """Carry out what a faulty program does instead of answering a call; False: it answers."""
    rpc_id, name = message.get("id"), message.get("params", {}).get("name")
    if message.get("method") != "tools/call":
        return False
    if name == "look":
        text = json.dumps(_seen())
        _say(json.dumps({"jsonrpc": "2.0", "id": rpc_id, "result": {"content": [{"type": "text", "text": text}]}}))
        return True
    match fault:
        case "dies":
            sys.stderr.write("\x1b[31mI am dying\n")
            sys.stderr.flush()
            os._exit(3)
        case "other-id":
            _say(json.dumps({"jsonrpc": "2.0", "id": 999_999, "result": result_of("echo", {"text": "stray"})}))
            _say(json.dumps({"jsonrpc": "2.0", "id": str(rpc_id), "result": result_of("echo", {"text": "stray"})}))
            _say(json.dumps({"jsonrpc": "2.0", "id": True, "result": result_of("echo", {"text": "stray"})}))
            _say(json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "stray"}}))
        case "twice":
            for text in ("first", "second"):
                _say(json.dumps({"jsonrpc": "2.0", "id": rpc_id, "result": result_of("echo", {"text": text})}))
            return True
        case "junk":
            sys.stdout.buffer.write(b"\xff\xfe junk\n{not json\n[]\n\n")
            sys.stdout.buffer.flush()
        case "long-line":
            piece = "x" * 2**20
            for _ in range(64):
                sys.stdout.write(piece)
            sys.stdout.flush()
            return True
        case "slow-line":
            for letter in json.dumps({"jsonrpc": "2.0", "id": rpc_id, "result": {}}):
                sys.stdout.write(letter)
                sys.stdout.flush()
                time.sleep(0.05)
            return True
        case "floods":
            while True:
                _say('{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}')
        case "floods-progress":
            token = message["params"]["_meta"]["progressToken"]
            notice = {"progressToken": token, "progress": 1, "message": "x" * 1000}
            while True:
                _say(json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": notice}))
        case "forks":
            script = "import os, time; os.setsid(); time.sleep(600)"
            child = subprocess.Popen([sys.executable, "-c", script])
            inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            text = f"{os.getpid()} {child.pid} {inner.pid}"
            _say(json.dumps({"jsonrpc": "2.0", "id": rpc_id, "result": result_of("echo", {"text": text})}))
            return True
        case "asks":
            for own, method in (("a", "ping"), ("b", "sampling/createMessage"), ("c", "elicitation/create")):
                _say(json.dumps({"jsonrpc": "2.0", "id": own, "method": method, "params": {}}))
                reply = json.loads(sys.stdin.readline())
                _say(json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": reply}))
                sys.stderr.write(json.dumps(reply) + "\n")
                sys.stderr.flush()
        case "elicits" if name == "echo":
            form = {"type": "object", "properties": {"name": {"type": "string"}}}
            asked = {"message": "Who?", "requestedSchema": form}
            _say(json.dumps({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": asked}))
            said: dict[str, Any] = {}
            while said.get("id") != "q":
                said = json.loads(sys.stdin.readline())
            text = json.dumps(said.get("result", said.get("error")))
            _say(json.dumps({"jsonrpc": "2.0", "id": rpc_id, "result": result_of("echo", {"text": text})}))
            return True
    return False


def main() -> None:
    """Speak over the standard streams: `scripted.py REVISION [FAULT]`."""
    revision, fault = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    if fault == "banner":
        _say("Welcome to the server!")
    if fault == "deaf":
        while True:
            time.sleep(60)
    if fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    behaviour = Behaviour(revision)
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            sys.stderr.write(f"cancelled {message['params']['requestId']}\n")
            sys.stderr.flush()
        if fault and _odd(fault, message):
            continue
        if not fault and message.get("params", {}).get("name") == "look" and _odd("", message):
            continue
        for text in behaviour.answers(message):
            _say(text)
    while fault == "stubborn":
        time.sleep(60)


if __name__ == "__main__":
    main()
