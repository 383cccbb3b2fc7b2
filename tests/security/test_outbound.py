"""Nothing an agent, a token or a tool server says makes this process fetch an address; nothing of an agent's goes on.

A trap listens and counts connections. Its address stands wherever somebody who is not trusted can put one: client ids
that are documents, issuers and keys named by tokens, references and icons of schemas, redirects, links in results.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.enforcement.place import KIM, TICKET, WORKER, Place, agent, document, place, site, tool
from tests.gateway.stage import LEGACY, RawServer, Script, Seen, http_json, legacy, modern, tool_result
from tests.identity.world import jwt


class _Trap:
    """Says nothing; who connects has been lured."""

    def __init__(self) -> None:
        self.lured = 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[_Trap]:
        async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.lured += 1
            writer.close()

        server = await asyncio.start_server(count, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x.json"
        async with server:
            yield self
            host, _, port = self.url.removeprefix("http://").removesuffix("/x.json").partition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            async with asyncio.timeout(10):
                while not self.lured:
                    await asyncio.sleep(0.001)
        assert self.lured == 1, "somebody fetched what they were told to"


def _answers(result: Mapping[str, Any]) -> Script:
    async def answer(writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))

    return answer


def _redirects(to: str) -> Script:
    async def answer(writer: asyncio.StreamWriter, _: Seen) -> None:
        writer.write(http_json({}, status="307 Temporary Redirect", extra=f"location: {to}\r\n"))

    return answer


def _tokens_that_name(url: str) -> list[str]:
    """Tokens that ask to be verified by what is at that address."""
    key = ECKey.generate_key("P-256")
    claims = {"iss": url, "sub": "agt_1", "aud": url, "exp": 4_000_000_000, "iat": 1, "jti": "1", "client_id": url}
    heads: list[dict[str, Any]] = [{}, {"jku": url}, {"x5u": url}, {"kid": url}, {"jku": url, "typ": "at+jwt"}]
    return [jwt(key, claims, **head) for head in heads]


@pytest.mark.requirement("security:outbound:tokens")
def test_no_client_id_issuer_or_key_that_a_token_names_is_fetched(tmp_path: Path) -> None:
    async def live() -> None:
        async with _Trap().run() as trap, place(tmp_path / "data", WORKER) as at:
            http, url = at.site.agents_http, trap.url
            assertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            for token in _tokens_that_name(url):
                body, headers = modern()
                assert (await at.post(token, body, headers)).status_code == 401
                form = {"grant_type": "client_credentials", "client_id": url, "resource": f"{at.url}/mcp/crm",
                        "client_assertion_type": assertion, "client_assertion": token}  # fmt: skip
                answer = await http.post(f"{at.url}/oauth/token", data=form)
                assert answer.status_code in {400, 401}, answer.text
                form = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "client_id": url,
                        "resource": f"{at.url}/mcp/crm", "subject_token": token,
                        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                        "client_assertion_type": assertion, "client_assertion": token}  # fmt: skip
                answer = await http.post(f"{at.url}/oauth/token", data=form)
                assert answer.status_code in {400, 401}, answer.text
                answer = await http.post(
                    f"{at.url}/enrol", json={"join_token": token, "jwk": {"kty": "EC", "x5u": url}}
                )
                assert 400 <= answer.status_code < 500, answer.text

    asyncio.run(live())


@pytest.mark.requirement("security:outbound:servers")
def test_nothing_a_tool_server_says_is_fetched_neither_when_it_is_registered_nor_when_it_answers(
    tmp_path: Path,
) -> None:
    async def live() -> None:
        async with _Trap().run() as trap, place(tmp_path / "data", WORKER) as at:
            url, box = trap.url, at.site.box
            for schema in (
                {"type": "object", "properties": {"a": {"$ref": url}}},
                {"type": "object", "$schema": url},
                {"type": "object", "$id": url, "properties": {"a": {"$ref": "other.json"}}},
            ):
                await _not_registered(at, {**tool("lures"), "inputSchema": schema})
            await _moved_when_registered(at, url)
            # a server says these at run time
            token = await at.token("worker")
            link = {"type": "resource_link", "uri": url, "name": "x", "icons": [{"src": url}]}
            text = {"type": "resource", "resource": {"uri": url, "text": "x", "mimeType": "text/html"}}
            box.answer = _answers({**tool_result(), "content": [link, text], "_meta": {"ui/resourceUri": url}})
            assert (await at.call(token)).allowed
            box.answer = _redirects(url)
            (await at.call(token)).refused("upstream_redirect")
            asked = {"method": "elicitation/create", "params": {"mode": "url", "url": url, "message": "m"}}
            box.answer = _answers({"resultType": "input_required", "requestState": "s", "inputRequests": {"a": asked}})
            (await at.call(token)).refused("upstream_invalid")

    asyncio.run(live())


async def _not_registered(at: Place, definition: Mapping[str, Any]) -> None:
    at.site.box.tools.append(definition)
    facts = {"lures": {"effect": "read", "data": ["internal"], "price": "0 USD"}}
    spec = {"url": at.site.raw.url, "credential": "crm-key", "tools": facts}
    wanted = document("ToolServer", {"name": "luring", "environment": "development"}, spec)
    assert (await at.refused_apply(wanted))["code"] == "schema_refused"
    at.site.box.tools.pop()


async def _moved_when_registered(at: Place, url: str) -> None:
    async with RawServer(_redirects(url)).run() as moved:
        facts = {"lures": {"effect": "read", "data": ["internal"], "price": "0 USD"}}
        credential = {"origin": moved.url.removesuffix("/mcp"), "header": "Authorization", "value": "Bearer 0123456789"}
        await at.operator.put("upstream-credentials/moved-key", credential)
        spec = {"url": moved.url, "credential": "moved-key", "tools": facts}
        wanted = document("ToolServer", {"name": "moved", "environment": "development"}, spec)
        assert (await at.refused_apply(wanted))["code"] == "upstream_redirect"
        assert moved.seen, "it was asked, and sent elsewhere"
        spec = {"url": url, "credential": "crm-key", "tools": facts}
        elsewhere = document("ToolServer", {"name": "elsewhere", "environment": "development"}, spec)
        assert (await at.refused_apply(elsewhere))["code"] == "upstream_credential", "the credential goes to its origin"


@pytest.mark.requirement("security:passthrough:never")
def test_no_byte_of_an_agents_credentials_session_or_headers_reaches_a_tool_server(tmp_path: Path) -> None:
    helper = agent(
        "helper",
        [{"allow": ["match"], "when": {"userRole": "support", "sameAs": {"input.customer_id": "task.customer_id"}}}],
    )
    arrived: list[bytes] = []

    async def live() -> None:
        async with site(tmp_path / "data") as there, there.started() as at:
            real = there.raw.script

            async def kept(writer: asyncio.StreamWriter, seen: Seen) -> None:
                arrived.append(seen.head + seen.body)
                await real(writer, seen)

            there.raw.script = kept
            await there.register(at, WORKER, helper)
            secrets: set[str] = set()
            key = str((await at.operator.post("agents/worker/keys", {"days": 1}))["key"])
            plain, all_of_them = await at.token("worker"), await at.token("worker", server=None)
            served = await at.token("helper", user=KIM, roles=["support"], ticket=TICKET)
            for token, server, name in ((plain, "crm", "read"), (key, "crm", "read"), (all_of_them, None, "crm__read")):
                smuggled = {"authorization": f"Bearer {token}", "token": token}
                assert (await at.call(token, name, server=server, meta=smuggled)).allowed
                session = await at.session(token, server=server)
                body, headers = legacy("tools/call", {"name": name, "arguments": {}}, session=session)
                more = {"cookie": f"session={token}", "x-api-key": token, "x-forwarded-authorization": token,
                        "baggage": f"dev.accredit/run={token[:60]}", "mcp-protocol-version": LEGACY}  # fmt: skip
                answer = await at.post(token, body, headers | more, server=server)
                assert answer.status_code == 200, answer.text
                secrets |= {token, session}
            assert (await at.call(served, "match", {"customer_id": "c-1"})).allowed
            held = await at.call(plain, "refund", {"cents": 5})
            assert held.why["code"] == "held"
            secrets |= {served, str(at.site.operator_token)}
            calls = [one for one in arrived if b'"tools/call"' in one]
            assert len(calls) == 7
            for one in arrived:
                for secret in secrets:
                    for part in _parts_of(secret):
                        assert part not in one, "an agent's credential went on to a tool server"
                assert KIM.encode() not in one
                assert b"cookie" not in one.lower()
                assert b"mcp-session-id" not in one.lower()

    asyncio.run(live())


def _parts_of(secret: str) -> list[bytes]:
    """The secret as it is, each part of a token, and both encodings somebody may think of."""
    whole = secret.encode()
    parts = [part.encode() for part in secret.split(".")[1:] if len(part) > 24]
    return [whole, *parts, base64.b64encode(whole), json.dumps(secret).encode()]
