"""An HTTP API as teams write them, and an installation that governs it: every request that arrives is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from pydantic import BaseModel, Field

from accredit.serving import bound, served
from tests.enforcement.place import Place, agent, document, place

__all__ = ["KEY", "Arrived", "Shop", "shop"]

KEY = "shop-brokered-0123456789"
FACTS: Mapping[str, Mapping[str, Any]] = {
    "get_customer": {
        "effect": "read",
        "data": ["internal", "personal"],
        "price": "0 USD",
        "fields": {"iban": "personal"},
    },
    "list_orders": {"effect": "read", "data": ["internal"], "price": "0 USD"},
    "refund": {"effect": "irreversible", "data": ["internal"], "price": "0.05 USD"},
    "forget": {"effect": "write", "data": ["internal"], "price": "0 USD"},
    "echo": {"effect": "read", "data": ["internal"], "price": "0 USD"},
    "moved": {"effect": "read", "data": ["internal"], "price": "0 USD"},
    "locked": {"effect": "read", "data": ["internal"], "price": "0 USD"},
    "note": {"effect": "read", "data": ["internal"], "price": "0 USD"},
    "slow": {"effect": "read", "data": ["internal"], "price": "0 USD"},
}  # fmt: skip
GRANTED: Sequence[str] = [name for name in FACTS if name != "forget"]


@dataclass(frozen=True)
class Arrived:
    """One request as it came in."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class _Refund(BaseModel):
    order: str
    cents: int = Field(ge=1)
    reason: str | None = None


def _api(arrived: list[Arrived]) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def keep(request: Request, call_next: Any) -> Response:
        if request.url.path != "/openapi.json":
            query = request.scope["query_string"].decode()
            target = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
            arrived.append(Arrived(request.method, target, dict(request.headers), await request.body()))
        answer: Response = await call_next(request)
        return answer

    @app.get("/customers/{customer_id}", operation_id="get_customer", summary="One customer.")
    async def get_customer(customer_id: str, response: Response) -> dict[str, Any]:
        response.headers["etag"] = '"7"'
        response.headers["set-cookie"] = "session=1"
        return {"customer_id": customer_id, "iban": "DE00 1234", "name": "Kim"}

    @app.get("/orders", operation_id="list_orders")
    async def list_orders(
        state: Annotated[list[str], Query()] = ["open"],  # noqa: B006 - what a team writes
        limit: Annotated[int, Query(le=50)] = 10,
        *,
        paid: bool | None = None,
    ) -> list[dict[str, Any]]:
        return [{"state": state, "limit": limit, "paid": paid}]

    @app.post("/orders/{order}/refund", operation_id="refund", status_code=201)
    async def refund(order: str, form: _Refund, idempotency_key: Annotated[str | None, Header()] = None) -> Any:
        return {"order": order, "cents": form.cents, "key": idempotency_key}

    @app.delete("/customers/{customer_id}", operation_id="forget", status_code=204)
    async def forget(customer_id: str) -> None:
        del customer_id

    @app.get("/echo", operation_id="echo")
    async def echo(request: Request) -> dict[str, str]:
        return dict(request.headers)

    @app.get("/moved", operation_id="moved")
    async def moved() -> Response:
        return RedirectResponse("http://127.0.0.1:9/elsewhere")

    @app.get("/locked", operation_id="locked")
    async def locked() -> Response:
        return PlainTextResponse("who are you?", status_code=401)

    @app.get("/slow", operation_id="slow")
    async def slow() -> None:
        await asyncio.sleep(3)

    @app.get("/note", operation_id="note")
    async def note() -> Response:
        return PlainTextResponse(f"the key is {KEY}")

    return app


@dataclass
class Shop:
    """The place, the API and what arrived there."""

    at: Place
    url: str
    api: FastAPI
    arrived: list[Arrived] = field(default_factory=list)

    async def reached(self, count: int) -> None:
        """Wait until so many requests have come in."""
        async with asyncio.timeout(20):
            while len(self.arrived) < count:
                await asyncio.sleep(0.01)

    async def token(self, name: str = "clerk", path: str = "/http/shop") -> str:
        return await self.at.site.identities[name].access_token(f"{self.at.url}{path}")

    async def send(self, method: str, path: str, token: str, body: bytes = b"", **headers: str) -> httpx2.Response:
        """One request below `/http/`, its path exactly as given."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body:
            given.setdefault("content-type", "application/json")
        url = httpx2.URL(self.at.url).copy_with(raw_path=f"/http/{path}".encode())
        return await self.at.site.agents_http.request(
            method, url, content=body, headers={**given, "authorization": f"Bearer {token}"}
        )


def server(url: str, tools: Mapping[str, Any] = FACTS, **spec: Any) -> dict[str, Any]:
    """Its manifest."""
    given = {"url": url, "openapi": "/openapi.json", "credential": "shop-key", "tools": tools} | spec
    return document("ToolServer", {"name": "shop", "environment": "development"}, given)


def clerk(*tools: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """An agent that uses it."""
    granted = [{"server": "shop"} | dict(each) for each in tools or ({"allow": GRANTED},)]
    return agent("clerk", granted, **{"data": ["internal", "personal"]} | spec)


@asynccontextmanager
async def shop(data: Path, *agents: Mapping[str, Any]) -> AsyncIterator[Shop]:
    """A place whose tool server `shop` is that API, and its agents, enrolled."""
    arrived: list[Arrived] = []
    api = _api(arrived)
    async with served(api, bound("127.0.0.1", 0)) as url, place(data) as at:
        credential = {"origin": url, "header": "X-Shop-Key", "value": KEY}
        await at.operator.put("upstream-credentials/shop-key", credential)
        await at.apply(server(url), *(agents or (clerk(),)))
        for each in agents or (clerk(),):
            await at.enrol(each["metadata"]["name"])
        yield Shop(at, url, api, arrived)
