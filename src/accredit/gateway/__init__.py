"""Protocols in and out. Here: MCP at `/mcp/{server}` and, for all servers together, `/mcp`.

Clients are of both protocol eras, tool servers of the newest.

What always holds: every request proves its Host, Origin and caller before its body is read; a `tools/call` is decided
on its body, never on a header; what is forwarded is encoded anew from the value that was decided; an admitted call is
settled exactly once, however it ends; the brokered credential never travels towards the agent, nor the agent's token
towards the tool server; a method that is not named here is refused, never forwarded.

Plug in at `ports.py`: who decides (`EnforcementPoint`).
"""
