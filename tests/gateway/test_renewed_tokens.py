"""A lent token that a tool server refuses: when another may be tried, and what never happens twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from accredit.gateway.upstream import HttpAnswer, Upstream
from accredit.identity.upstreams import UpstreamLease
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from tests.gateway.stage import RawServer, Seen, http_json

_OLD, _NEW = "Bearer old-canary-0123456789", "Bearer new-canary-0123456789"
_INVALID = 'www-authenticate: Bearer realm="crm", error="invalid_token", error_description="expired"\r\n'


class _Asking:
    """One request with a lent token, to a server that takes only some."""

    def __init__(self, *, takes: str = _NEW, challenge: str = _INVALID, status: str = "401 Unauthorized") -> None:
        self.takes, self.challenge, self.status = takes, challenge, status
        self.seen: list[str] = []
        self.rechecked = 0
        self.renewals = 0
        self.stop_at = 0
        self.other: Callable[[], UpstreamLease | None] = lambda: self.lease(_NEW)

    def lease(self, value: str) -> UpstreamLease:
        async def renewed() -> UpstreamLease | None:
            self.renewals += 1
            return self.other()

        return UpstreamLease({"Authorization": value}, renewed)

    def recheck(self) -> None:
        self.rechecked += 1
        if self.rechecked == self.stop_at:
            raise UnavailableError(Code.AGENT_NOT_ACTIVE, "revoked meanwhile")

    async def script(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        self.seen.append(seen.headers["authorization"])
        said = {"echo": f"{_OLD} {_NEW}"}
        if seen.headers["authorization"] == self.takes:
            writer.write(http_json(said))
        else:
            writer.write(http_json(said, status=self.status, extra=self.challenge))

    async def ask(self) -> HttpAnswer:
        upstream, lease = Upstream(), self.lease(_OLD)
        try:
            async with RawServer(self.script).run() as server:
                given: dict[str, Any] = {"Accept": "*/*", **lease}
                async with upstream.exchange(
                    server.url, given, b"{}", credential=lease, recheck=self.recheck
                ) as exchange:
                    return await exchange.whole()
        finally:
            await upstream.aclose()


@pytest.mark.requirement("gateway:upstream:renewed")
def test_a_request_whose_token_was_refused_is_sent_once_more_with_another() -> None:
    asking = _Asking()
    answer = asyncio.run(asking.ask())
    assert asking.seen == [_OLD, _NEW]
    assert asking.rechecked == 2
    assert answer.status == 200
    assert b"canary" not in answer.body  # neither of the two


@pytest.mark.requirement("gateway:upstream:renewed")
@pytest.mark.parametrize(
    ("challenge", "status"),
    [
        ("", "401 Unauthorized"),
        ('www-authenticate: Bearer realm="crm"\r\n', "401 Unauthorized"),
        ('www-authenticate: Bearer error="insufficient_scope"\r\n', "401 Unauthorized"),
        ('www-authenticate: Basic realm="invalid_token"\r\n', "401 Unauthorized"),
        (f"www-authenticate: Bearer {'x' * 3000} error=invalid_token\r\n", "401 Unauthorized"),
        (_INVALID, "403 Forbidden"),
        (_INVALID, "500 No"),
    ],
)
def test_any_other_refusal_is_the_end_of_the_call(challenge: str, status: str) -> None:
    asking = _Asking(challenge=challenge, status=status)
    if status.startswith("401"):
        with pytest.raises(UnavailableError):
            asyncio.run(asking.ask())
    else:
        assert asyncio.run(asking.ask()).status == int(status[:3])
    assert (asking.seen, asking.renewals) == ([_OLD], 0)


@pytest.mark.requirement("gateway:upstream:renewed")
def test_there_is_no_third_time_and_none_without_another_token() -> None:
    never = _Asking(takes="none")
    with pytest.raises(UnavailableError) as caught:
        asyncio.run(never.ask())
    assert never.seen == [_OLD, _NEW]
    assert "canary" not in f"{caught.value.message}{caught.value.cause}"
    without = _Asking()
    without.other = lambda: None
    with pytest.raises(UnavailableError):
        asyncio.run(without.ask())
    assert without.seen == [_OLD]


@pytest.mark.requirement("gateway:upstream:renewed")
def test_what_was_revoked_meanwhile_is_not_sent_again() -> None:
    asking = _Asking()
    asking.stop_at = 2
    with pytest.raises(AccreditError) as caught:
        asyncio.run(asking.ask())
    assert caught.value.code is Code.AGENT_NOT_ACTIVE
    assert asking.seen == [_OLD]
