"""One instance of an agent: enrol with the join token given, then call a tool through accredit."""

from __future__ import annotations

import asyncio
import sys

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from accredit.sdk.identity import AsyncAgentIdentity

ACCREDIT = "http://127.0.0.1:8700"
CRM = f"{ACCREDIT}/mcp/crm"


async def main(join_token: str) -> None:
    identity = await AsyncAgentIdentity.enrol(ACCREDIT, join_token)  # makes a key; only its public half is sent
    token = await identity.access_token(CRM)
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http:
        async with Client(streamable_http_client(CRM, http_client=http)) as client:
            print([tool.name for tool in (await client.list_tools()).tools])
            print((await client.call_tool("count_tickets", {})).structured_content)
            print((await client.call_tool("add_note", {"customer_id": "c-17", "text": "hi"})).structured_content)


asyncio.run(main(sys.argv[1]))
