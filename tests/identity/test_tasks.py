"""A task counts only while its issuer said lately that it is open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from accredit.identity.model import VerifiedTask
from accredit.identity.statusfetch import HttpStatusFetch
from accredit.kernel.clock import Deadline
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from tests.identity.world import TASKS, World, granted, refusal, run


async def _with_task(world: World) -> str:
    instance = await world.instance()
    return granted(await instance.ask_exchange(task_token=world.task_token()))


def _task(world: World, token: str) -> VerifiedTask | None:
    principal = world.verifier.verify(token, path="/mcp/crm")
    assert principal.user is not None, "only the task may go"
    return principal.task


@pytest.mark.requirement("identity:tasks:fresh")
def test_a_task_is_there_for_thirty_seconds_after_the_question_and_again_after_a_refresh() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await _with_task(world)
        world.clock.advance(29.9)
        assert _task(world, token) is not None
        world.clock.advance(0.1)
        assert _task(world, token) is None
        await world.tasks.refresh()
        assert _task(world, token) is not None

    run(scenario())


@pytest.mark.requirement("identity:tasks:fresh")
def test_an_answer_is_as_old_as_its_question() -> None:
    async def scenario() -> None:
        world = await World().started()

        async def slowly() -> None:
            world.clock.advance(20)

        world.statuses.before_answer = slowly
        token = await _with_task(world)
        assert _task(world, token) is not None
        world.clock.advance(10)
        assert _task(world, token) is None

    run(scenario())


@pytest.mark.requirement("identity:tasks:fresh")
def test_setting_the_wall_clock_back_makes_no_old_answer_fresh() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await _with_task(world)
        world.clock.advance(31)
        world.clock.step_wall(-31)
        assert _task(world, token) is None

    run(scenario())


@pytest.mark.requirement("identity:tasks:closed")
def test_a_closed_task_goes_with_the_next_refresh_and_comes_back_when_reopened() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await _with_task(world)
        for answer, there in ((b'{"open": false}', False), (b'{"open": true, "note": "x"}', True)):
            world.task_is(answer)
            world.clock.advance(16)
            await world.tasks.refresh()
            assert (_task(world, token) is not None) is there
            principal = world.verifier.verify(token, path="/mcp/crm")
            assert principal.task_out is (None if there else Code.TASK_CLOSED)

    run(scenario())


@pytest.mark.requirement("identity:tasks:closed")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b'{"open": false}', Code.TASK_CLOSED),
        (None, Code.TASK_STATUS_STALE),
        (b'{"open": "true"}', Code.TASK_STATUS_STALE),
        (b'{"open": 1}', Code.TASK_STATUS_STALE),
        (b"{}", Code.TASK_STATUS_STALE),
        (b"[true]", Code.TASK_STATUS_STALE),
        (b"true", Code.TASK_STATUS_STALE),
        (b'{"open": false, "open": true}', Code.TASK_STATUS_STALE),
        (b'{"open": true, "pad": "' + b"x" * 2000 + b'"}', Code.TASK_STATUS_STALE),
        (b"<html>", Code.TASK_STATUS_STALE),
    ],
)
def test_no_token_is_made_for_a_task_that_is_not_known_to_be_open(answer: bytes | None, code: Code) -> None:
    async def scenario() -> None:
        world = await World().started()
        instance = await world.instance()
        world.task_is(answer)
        assert refusal(await instance.ask_exchange(task_token=world.task_token())).code is code

    run(scenario())


@pytest.mark.requirement("identity:tasks:fresh")
def test_an_issuer_that_stops_answering_takes_its_tasks_away_after_thirty_seconds_and_no_sooner() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await _with_task(world)
        world.task_is(None)
        world.clock.advance(16)
        await world.tasks.refresh()
        assert _task(world, token) is not None
        world.clock.advance(14)
        await world.tasks.refresh()
        assert _task(world, token) is None

    run(scenario())


@pytest.mark.requirement("identity:tasks:background")
def test_after_a_restart_the_first_call_has_no_task_and_the_refresher_brings_it_back() -> None:
    async def scenario() -> None:
        world = await World().started()
        token = await _with_task(world)
        after = World(control=world.control, clock=world.clock)
        after.task_is(b'{"open": true}')
        assert _task(after, token) is None
        running = asyncio.ensure_future(after.tasks.run())
        async with asyncio.timeout(5):
            while _task(after, token) is None:
                await asyncio.sleep(0)
        running.cancel()

    run(scenario())


@pytest.mark.requirement("identity:tasks:background")
def test_only_tasks_of_live_tokens_are_asked_for_and_never_more_than_due() -> None:
    async def scenario() -> None:
        world = await World().started()
        await _with_task(world)
        world.statuses.asked.clear()
        await world.tasks.refresh()
        assert world.statuses.asked == []
        world.clock.advance(15)
        await world.tasks.refresh()
        assert len(world.statuses.asked) == 1
        world.clock.advance(700)
        await world.tasks.refresh()
        assert len(world.statuses.asked) == 1

    run(scenario())


@pytest.mark.requirement("identity:tasks:pinned")
@pytest.mark.parametrize("task", ["../../admin", "x?open=1#", "a/b", "@evil.example/", "ü \n"])
def test_no_task_id_changes_where_its_status_is_asked(task: str) -> None:
    async def scenario() -> None:
        world = await World().started()
        watch = world.tasks.watch(world.ticketing, task, until=Deadline.after(world.clock.now(), 60))
        rest = watch.url.removeprefix(f"{TASKS}/status/")
        assert rest != watch.url
        assert not set(rest) & set("/?#@\\ \n")

    run(scenario())


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match self.path:
            case "/open":
                status, body = 200, b'{"open": true}'
            case "/elsewhere":
                status, body = 302, b""
            case "/large":
                status, body = 200, b" " * 5000
            case _:
                status, body = 404, b""
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/open")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the base class gave it
        """Say nothing."""


@contextmanager
def _server() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.mark.requirement("identity:tasks:pinned")
def test_a_status_is_fetched_without_following_redirects_or_reading_more_than_a_kilobyte() -> None:
    async def scenario(base: str) -> None:
        fetch = HttpStatusFetch()
        assert await fetch(f"{base}/open") == b'{"open": true}'
        causes = []
        for path in ("/elsewhere", "/large", "/missing"):
            with pytest.raises(UnavailableError) as caught:
                await fetch(base + path)
            causes.append(caught.value.cause)
        assert causes == ["status 302", "an answer of more than 1 KiB", "status 404"]
        await fetch.aclose()

    with _server() as base:
        run(scenario(base))

    async def unreachable() -> None:
        fetch = HttpStatusFetch()
        with pytest.raises(UnavailableError):
            await fetch(base)
        await fetch.aclose()

    run(unreachable())
