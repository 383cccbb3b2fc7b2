"""One instance of an agent: enrol with the join token given, then call a tool through accredit.

`python examples/agent.py JOIN_TOKEN [SERVER]`; SERVER is the tool server's name, `crm` if none is given.
"""

from __future__ import annotations

import asyncio
import sys

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError
from accredit.sdk.identity import AsyncAgentIdentity

ACCREDIT = "http://127.0.0.1:8700"


async def first_token(identity: AsyncAgentIdentity, tools: str) -> str:
    """A token; in production there is none until the agent's owner has confirmed the key."""
    print(f"the key's thumbprint is {identity.thumbprint}", flush=True)
    for _ in range(150):
        try:
            return await identity.access_token(tools)
        except AccreditError as error:
            if error.code is not Code.CREDENTIAL_PENDING:
                raise
        await asyncio.sleep(2)
    raise SystemExit("nobody confirmed the key")


async def main(join_token: str, server: str = "crm") -> None:
    identity = await AsyncAgentIdentity.enrol(ACCREDIT, join_token)  # makes a key; only its public half is sent
    tools = f"{ACCREDIT}/mcp/{server}"
    token = await first_token(identity, tools)
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http:
        async with Client(streamable_http_client(tools, http_client=http)) as client:
            print([tool.name for tool in (await client.list_tools()).tools])
            print((await client.call_tool("count_tickets", {})).structured_content)
            print((await client.call_tool("add_note", {"customer_id": "c-17", "text": "hi"})).structured_content)


asyncio.run(main(*sys.argv[1:]))
