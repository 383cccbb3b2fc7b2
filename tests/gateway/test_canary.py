"""The canary: whatever a tool server, an API or a provider does with a brokered secret, no agent ever gets it to see.

One installation, four kinds of credential, three protocols, and behind all of them a server that sends back what it was
sent, spelled and placed as hypothesis likes. What the agent got is read by a naive reader that undoes every spelling.
"""

from __future__ import annotations

import asyncio
import html
import logging
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from accredit.audit.ports import Actor
from accredit.serving import bound, served
from tests.enforcement.place import Place, agent, document, place
from tests.gateway.models import RATES
from tests.gateway.stage import modern
from tests.identity.authorization import AuthorizationServer, Client
from tests.living import living

_PASSWORD = 'pass"w/ord&canary+1'
_CLIENT_SECRET = "client-secret-canary-0123"
_KINDS = ("basic", "oauth-client", "token-exchange", "oauth-user")
_USER = "dana@example.com"
_GRANTS = frozenset(
    {"client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange", "authorization_code", "refresh_token"}
)
_DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "leaky", "version": "1"},
    "paths": {"/echo": {"get": {"operationId": "echo", "responses": {"200": {"description": "ok"}}}}},
}


# -- how a secret can be spelled, and a reader that undoes all of it


def _numbered(spell: Callable[[int], str], every: int = 1) -> Callable[[bytes], bytes]:
    def spelled(text: bytes) -> bytes:
        return b"".join(spell(one).encode() if at % every == 0 else bytes([one]) for at, one in enumerate(text))

    return spelled


_SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda text: text,
    "as JSON": lambda text: orjson.dumps(text.decode())[1:-1],
    "as JSON with its slashes escaped": lambda text: orjson.dumps(text.decode())[1:-1].replace(b"/", b"\\/"),
    "by number in JSON": _numbered("\\u{:04x}".format),
    "by number in JSON now and then": _numbered("\\u{:04X}".format, 3),
    "by number in JSON in JSON": _numbered("\\\\u{:04x}".format, 2),
    "in a program": _numbered("\\x{:02x}".format),
    "in a URL": lambda text: quote(text, safe="").encode(),
    "in a URL, every letter": _numbered("%{:02x}".format),
    "in a URL, twice": lambda text: quote(quote(text, safe=""), safe="").encode(),
    "in HTML": lambda text: html.escape(text.decode()).encode(),
    "in HTML, every letter": _numbered("&#{};".format),
    "in HTML, every second letter": _numbered("&#x{:x};".format, 2),
    "in base64": b64encode,
    "in base64, after one byte": lambda text: b64encode(b"a" + text + b"zz"),
    "in base64, after two": lambda text: b64encode(b"ab" + text + b"z"),
    "in base64 for URLs": lambda text: urlsafe_b64encode(b"abc " + text),
    "in hexadecimal": lambda text: text.hex().encode(),
    "in capital hexadecimal": lambda text: text.hex().upper().encode(),
}
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){8,}")
_ESCAPE = re.compile(rb"\\+(?:u00|x)([0-9a-fA-F]{2})")


def _readings(text: bytes) -> Iterator[bytes]:
    """Everything that somebody who knows how servers spell could read in it."""
    seen, found = set(), [text]
    for _ in range(3):
        found = [
            again
            for one in found
            for again in (
                one,
                unquote_to_bytes(one),
                html.unescape(one.decode("latin-1")).encode("latin-1", "replace"),
                _ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), one),
                re.sub(rb'\\+([\\/"])', rb"\1", one),
            )
            if again not in seen and not seen.add(again)  # type: ignore[func-returns-value]
        ] or found
    for one in seen:
        yield one
        for run in _RUN.findall(one):
            plain = run.translate(bytes.maketrans(b"-_", b"+/"))
            for start in range(4):
                part = plain[start:]
                part = part[: len(part) - (len(part) % 4 == 1)]
                yield b64decode(part + b"=" * (-len(part) % 4))
        for run in _HEX.findall(one):
            yield bytes.fromhex(run.decode())


def reveals(secret: str, text: bytes) -> bool:
    return any(secret.encode() in reading for reading in _readings(text))


@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_the_reader_finds_every_spelling(spelling: str) -> None:
    """It would prove nothing otherwise."""
    for secret in (_PASSWORD, "access-canary-0001-Zq8/x+y~w.v=="):
        assert reveals(secret, b"<a> " + _SPELLINGS[spelling](secret.encode()) + b" </a>")


# -- who sends it back

_CHUNK = (
    b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-x",'
    b'"choices":[{"index":0,"delta":{"content":"%s"}}]}'
)
_CHAT = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"gpt-x","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"%s"}}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
_NOTICE = (
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%d,"progress":1,"message":"%%s"}}'
)
_TOLD = (
    b"set-cookie", b"www-authenticate", b"etag", b"retry-after", b"x-request-id", b"content-language",
    b"x-ratelimit-limit", b"request-id", b"last-modified",
)  # fmt: skip


@dataclass(repr=False)
class _Leaky:
    """A tool server, an API and a provider of models in one."""

    spell: Callable[[bytes], bytes] = field(default=lambda text: text)
    place: str = "body"
    status: int = 200
    cuts: list[int] = field(default_factory=list)
    arrived: list[bytes] = field(default_factory=list)
    """Head and body of everything that came in."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        head = b"\r\n".join(name + b": " + value for name, value in scope["headers"])
        self.arrived.append(scope["path"].encode() + b"\r\n" + head + b"\r\n\r\n" + body)
        await self._answer(scope, head, body, send)

    async def _answer(self, scope: Any, head: bytes, body: bytes, send: Any) -> None:
        path = scope["path"]
        sent = dict(scope["headers"]).get(b"authorization", b"")
        what = b" ".join(self.spell(each) for each in (sent, *self.secrets(sent)))
        if path == "/api/openapi.json":
            await self._send(send, 200, b"application/json", orjson.dumps(_DOCUMENT))
            return
        if path == "/mcp":
            asked = orjson.loads(body)
            listed = {"name": "echo", "inputSchema": {"type": "object", "properties": {}}}
            result: dict[str, Any] = {"resultType": "complete"}
            if asked["method"] == "tools/list":
                result |= {"tools": [listed], "ttlMs": 0, "cacheScope": "private"}
            elif asked["method"] != "tools/call":
                result |= {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            if asked["method"] != "tools/call":
                message = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
                await self._send(send, 200, b"application/json", orjson.dumps(message))
                return
            text = (
                b'{"jsonrpc":"2.0","id":%d,"result":{"resultType":"complete","isError":false,"content":[' % asked["id"]
            )
            text += b'{"type":"text","text":"%s"}]}}'
            error = b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32000,"message":"%%s"}}' % asked["id"]
            whole = error if self.place == "error" else text
            events = [
                b": %s\n\n",
                b"event: message\ndata: " + _NOTICE % asked["id"] + b"\n\n",
                b"data: " + whole + b"\n\n",
            ]
        elif path == "/v1/chat/completions":
            whole = _CHAT
            events = [
                b": %s\n\n",
                b"event: %s\nid: %s\ndata: " + _CHUNK + b"\n\n",
                b'event: error\ndata: {"error":"%s"}\n\n',
                b"data: [DONE] %s",
            ]
        else:
            whole, events = b'{"echo":"%s"}', []
        await self._placed(send, what, whole, events)

    @staticmethod
    def secrets(sent: bytes) -> list[bytes]:
        scheme, _, rest = sent.partition(b" ")
        if scheme == b"Basic":
            return [rest, b64decode(rest), b64decode(rest).partition(b":")[2]]
        return [rest]

    async def _placed(self, send: Any, what: bytes, whole: bytes, events: list[bytes]) -> None:
        as_json = what if self.in_json(what) else orjson.dumps(what.decode())[1:-1]
        filled = whole.replace(b"%s", as_json)
        match self.place:
            case "stream" if events:
                stream = b"".join(each.replace(b"%s", as_json.replace(b"\n", b"")) for each in events)
                await self._send(send, 200, b"text/event-stream", stream)
            case "page":
                await self._send(send, self.status, b"text/html", b"<pre>" + what + b"</pre>")
            case "redirect":
                await self._send(
                    send, 302, b"application/json", filled, (b"location", b"/elsewhere?" + quote(what).encode())
                )
            case "headers":
                told = what.replace(b"\n", b"").replace(b"\r", b"")
                await self._send(send, self.status, b"application/json", filled, *((name, told) for name in _TOLD))
            case "kind":
                await self._send(send, self.status, b"application/json; note=" + what.replace(b"\n", b""), filled)
            case _:
                await self._send(send, self.status, b"application/json", filled)

    @staticmethod
    def in_json(what: bytes) -> bool:
        try:
            orjson.loads(b'"' + what + b'"')
        except orjson.JSONDecodeError:
            return False
        return True

    async def _send(self, send: Any, status: int, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        given = [(b"content-type", kind), *headers]
        await send({"type": "http.response.start", "status": status, "headers": given})
        ends = sorted(cut % (len(body) + 1) for cut in self.cuts)
        for start, end in zip([0, *ends], [*ends, len(body)], strict=True):
            await send({"type": "http.response.body", "body": body[start:end], "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})


# -- the installation


@dataclass(repr=False)
class _Stage:
    at: Place
    leaky: _Leaky
    auth: AuthorizationServer
    tokens: dict[str, str]
    """Of the agents, on behalf of the user; by kind and route."""
    shown: list[bytes] = field(default_factory=list)

    async def call(self, kind: str, route: str) -> bytes:
        """One call: everything of the answer that the agent gets."""
        token, http = self.tokens[route], self.at.site.agents_http
        given = {"authorization": f"Bearer {token}"}
        if route == "mcp":
            body, headers = modern(params={"name": "echo", "arguments": {}}, meta={"progressToken": "p"})
            answer = await http.post(
                f"{self.at.url}/mcp/{kind}-mcp",
                content=body,
                headers={key: value for key, value in headers.items() if key not in {"host", "authorization"}}
                | given
                | {"mcp-name": "echo"},
            )
        elif route == "http":
            answer = await http.get(f"{self.at.url}/http/{kind}-api/echo", headers=given)
        else:
            asked = {"model": f"{kind}-x", "messages": [], "max_tokens": 5, "stream": self.leaky.place == "stream"}
            answer = await http.post(f"{self.at.url}/llm/openai/v1/chat/completions", json=asked, headers=given)
        heads = b"\r\n".join(name + b": " + value for name, value in answer.headers.raw)
        return heads + b"\r\n\r\n" + answer.content

    def secrets(self) -> list[str]:
        pair = b64encode(f"gateway:{_PASSWORD}".encode()).decode()
        return [_PASSWORD, pair, _CLIENT_SECRET, *self.auth.given, *self.auth._refresh, *self.auth._spent]


def _settings(auth: str, kind: str, users: str) -> dict[str, Any]:
    told = {"token_endpoint": f"{auth}/token", "client_id": kind, "scope": "crm.read"}
    match kind:
        case "oauth-client":
            return {**told, "authentication": "client_secret_basic"}
        case "token-exchange":
            return {
                **told,
                "authentication": "private_key_jwt",
                "users": users,
                "revocation_endpoint": f"{auth}/revoke",
            }
        case _:
            return {**told, "authentication": "client_secret_post", "users": users, "issuer": auth,
                    "authorization_endpoint": f"{auth}/authorize"}  # fmt: skip


@asynccontextmanager
async def _stage(data: Path) -> AsyncIterator[_Stage]:
    leaky = _Leaky()
    listener = bound("127.0.0.1", 0)
    issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with served(leaky, bound("127.0.0.1", 0)) as url, place(data) as at:
        auth = AuthorizationServer(issuer, lambda: at.site.clock.now().wall_s)
        async with served(auth.application(), listener):
            await _register(at, url, auth)
            names = {"mcp": "/mcp", "http": "/http", "llm": "/llm"}
            identity = at.site.identities["leaker"]
            subject = at.site.directory.token_for(_USER, roles=[], audience=at.url)
            tokens = {
                route: await identity.exchange(f"{at.url}{path}", subject_token=subject)
                for route, path in names.items()
            }
            stage = _Stage(at, leaky, auth, tokens)
            stage.tokens["subject"] = subject
            yield stage


async def _register(at: Place, url: str, auth: AuthorizationServer) -> None:
    documents, grants, models = [], [], []
    users = at.site.directory.url
    for kind in _KINDS:
        body: dict[str, Any] = {"origin": url, "kind": kind}
        if kind == "basic":
            body |= {"username": "gateway", "value": _PASSWORD}
        else:
            body |= {"oauth": _settings(auth.issuer, kind, users)}
            body |= {} if kind == "token-exchange" else {"value": _CLIENT_SECRET}
        stored = (await at.http.put(f"/api/v1/upstream-credentials/{kind}", json=body)).json()
        client = Client(kind, body.get("oauth", {}).get("authentication", ""), _CLIENT_SECRET, grants=_GRANTS)
        if kind == "token-exchange":
            client.key = ECKey.import_key(stored["oauth"]["public_key"])
        client.redirect_uri = stored["redirect_uri"] or ""
        auth.clients[kind] = client
        fact = {"effect": "read", "data": ["internal"], "price": "0 USD"}
        where = {"environment": "development"}
        documents += [
            document("ToolServer", {"name": f"{kind}-mcp", **where},
                     {"url": f"{url}/mcp", "credential": kind, "tools": {"echo": fact}}),
            document("ToolServer", {"name": f"{kind}-api", **where},
                     {"url": f"{url}/api", "openapi": "/openapi.json", "credential": kind, "tools": {"echo": fact}}),
            document("ModelProvider", {"name": f"{kind}-llm", **where},
                     {"api": "openai", "url": url, "credential": kind, "models": {f"{kind}-x": RATES}}),
        ]  # fmt: skip
        grants += [{"server": f"{kind}-{what}", "allow": ["echo"]} for what in ("mcp", "api")]
        models += [{"provider": f"{kind}-llm", "model": f"{kind}-x"}]
    limits = {"calls": {"perMinute": 60_000}, "concurrency": 8, "cost": {"perDay": "100000 USD"}}
    leaker = agent("leaker", grants, models=models, limits=limits)
    await at.apply(*documents, leaker)
    await at.enrol("leaker")
    # dana connects her account, in a session of her own
    person = at.running.plane.registry.catalogue.person(_USER)
    assert person is not None
    accounts = at.running.plane.broker.accounts
    there = accounts.begin("oauth-user", person=person.id, session="ses_1")
    back = auth.consent(dict(parse_qsl(urlsplit(there).query)), user=_USER)
    answer = dict(parse_qsl(urlsplit(back).query))
    await accounts.finish("oauth-user", answer, person=person.id, session="ses_1", actor=Actor(basis="system"))


@pytest.fixture(scope="module")
def logged() -> Iterator[list[str]]:
    """Everything that is logged meanwhile, by anybody."""
    said: list[str] = []

    class _Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    handler, root = _Kept(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield said
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture(scope="module")
def staged(
    tmp_path_factory: pytest.TempPathFactory, logged: list[str]
) -> Iterator[tuple[_Stage, asyncio.AbstractEventLoop]]:
    with living(_stage(tmp_path_factory.mktemp("canary") / "data")) as given:
        yield given


_ROUTES = ("mcp", "http", "llm")
_PLACES = ("body", "error", "stream", "page", "redirect", "headers", "kind")


def _do(loop: asyncio.AbstractEventLoop, coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)


@pytest.mark.requirement("gateway:upstream:canary")
@pytest.mark.parametrize("kind", _KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spelling=st.sampled_from(sorted(_SPELLINGS)),
    route=st.sampled_from(_ROUTES),
    where=st.sampled_from(_PLACES),
    status=st.sampled_from([200, 400, 401, 403, 404, 429, 500, 503]),
    cuts=st.lists(st.integers(0, 4000), max_size=5),
)
def test_no_byte_that_an_agent_gets_holds_a_brokered_secret(
    staged: tuple[_Stage, asyncio.AbstractEventLoop],
    kind: str,
    spelling: str,
    route: str,
    where: str,
    status: int,
    cuts: list[int],
) -> None:
    stage, loop = staged
    stage.leaky.spell, stage.leaky.place = _SPELLINGS[spelling], where
    stage.leaky.status, stage.leaky.cuts = status, cuts
    before = len(stage.leaky.arrived)
    got = _do(loop, stage.call(kind, route))
    assert any(b"authorization: " in each for each in stage.leaky.arrived[before:]), got
    for secret in stage.secrets():
        assert not reveals(secret, got)


@pytest.mark.requirement("gateway:upstream:canary")
def test_everything_arrives_where_it_should_and_nothing_of_the_agents_or_users(
    staged: tuple[_Stage, asyncio.AbstractEventLoop],
) -> None:
    stage, loop = staged
    stage.leaky.spell, stage.leaky.place, stage.leaky.status, stage.leaky.cuts = _SPELLINGS["as it is"], "body", 200, []
    for kind in _KINDS:
        for route in _ROUTES:
            got = _do(loop, stage.call(kind, route))
            assert b" 200 " in got or b"[redacted]" in got, (kind, route, got)
    everything = b"\n".join(stage.leaky.arrived) + repr(stage.auth.asked).encode()
    for token in stage.tokens.values():
        assert token.encode() not in everything
    assert stage.auth.subjects[0]["sub"] == _USER
    assert stage.auth.subjects[0]["act"]["sub"].startswith("agt_")


@pytest.mark.requirement("gateway:upstream:canary")
def test_no_page_answer_record_metric_log_or_file_of_ours_holds_one(
    staged: tuple[_Stage, asyncio.AbstractEventLoop], logged: list[str]
) -> None:
    stage, loop = staged
    stage.leaky.place, stage.leaky.status = "error", 200
    for kind in _KINDS:
        for route in _ROUTES:
            _do(loop, stage.call(kind, route))
    secrets = stage.secrets()
    assert len(secrets) > 6

    async def read() -> dict[str, bytes]:
        at = stage.at
        await at.settled()
        schema = (await at.http.get("/api/openapi.json")).json()
        agents = (await at.operator.get("agents"))["items"]
        size = at.running.plane.records.size()
        paths = [path for path, verbs in schema["paths"].items() if "get" in verbs and "{" not in path]
        parts = ("", "/timeline", "/usage", "/limits", "/plan", "/tier")
        paths += [f"/api/v1/agents/{one['id']}{part}" for one in agents for part in parts]
        paths += [f"/api/v1/audit/records?limit=200&before={size - at_}" for at_ in range(0, size, 200)]
        paths += ["/metrics", "/readyz", "/log/checkpoint"]
        return {path: (await at.http.get(path)).content for path in paths}

    answers = _do(loop, read())
    assert len(answers) > 30
    assert sum(b'"items"' in text for text in answers.values()) > 5
    for name, text in answers.items():
        for secret in secrets:
            assert not reveals(secret, text), name
    for file in stage.at.site.data.rglob("*"):
        if file.is_file():
            kept = file.read_bytes()
            assert not any(secret.encode() in kept for secret in secrets), file
    said = "\n".join(logged).encode()
    # what the servers of this test log is theirs
    assert said
    for secret in secrets:
        assert secret.encode() not in said
