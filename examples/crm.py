"""A small CRM as a real MCP server on 127.0.0.1:9001, for trying accredit out: `CRM_KEY=… python examples/crm.py`.

It serves whoever carries the key, and the key is the gateway's alone: agents reach it through accredit or not at all.
"""

from __future__ import annotations

import hmac
import os
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("crm", version="1.0", log_level="ERROR")


@server.tool(description="Reads one customer's record.")
def read_customer(customer_id: str) -> dict[str, str]:
    return {"id": customer_id, "name": "Ada Example", "plan": "gold"}


@server.tool(description="Lists a customer's orders, newest first.")
def search_orders(customer_id: str, limit: int = 20) -> list[dict[str, str | int]]:
    orders: list[dict[str, str | int]] = [{"order_id": "o-1", "customer_id": customer_id, "cents": 4900}]
    return orders[:limit]


@server.tool(description="Adds a note to a customer's record.")
def add_note(customer_id: str, text: str) -> str:
    return f"{len(text)} characters noted for {customer_id}"


@server.tool(description="Counts open tickets.")
def count_tickets() -> int:
    return 3


def main() -> None:
    app: Any = server.streamable_http_app(streamable_http_path="/mcp")
    expected = f"Bearer {os.environ['CRM_KEY']}".encode()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not hmac.compare_digest(
            dict(scope["headers"]).get(b"authorization", b""), expected
        ):
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    uvicorn.run(guarded, host="127.0.0.1", port=9001, log_level="warning")


if __name__ == "__main__":
    main()
