"""The client against the real enrolment and token endpoint, in process and over a loopback socket."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from accredit.identity import rows
from accredit.identity.endpoint import TokenEndpoint, TokenReply
from accredit.identity.model import CredentialState
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, CredentialId, SeededIds
from accredit.sdk.identity import AgentIdentity, AsyncAgentIdentity, send, send_async
from accredit.sdk.keyring import InstanceKey, Keyring
from accredit.sdk.wire import ReportedPosture, WireAnswer, WireRequest, enrol_request, read_enrolment, read_token
from tests.identity.world import ADMIN, CRM, SUPPORT, URL, World, run


class Server:
    """What the API does with a request: routes, decodes, answers errors; nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[WireRequest] = []

    async def answer(self, request: WireRequest) -> WireAnswer:
        self.requests.append(request)
        if request.url == f"{URL}/enrol":
            try:
                body = await self.world.enrolment.enrol_request(request.content, source="127.0.0.1")
            except AccreditError as error:
                return WireAnswer(error.status, orjson.dumps({"detail": error.message, "code": error.code.value}))
            return WireAnswer(201, orjson.dumps(body))
        assert request.url == f"{URL}/oauth/token"
        assert request.content_type == "application/x-www-form-urlencoded"
        reply = await self.world.endpoint.token_request(dict(parse_qsl(request.content.decode())), "127.0.0.1")
        return WireAnswer(reply.status, orjson.dumps(reply.body()))

    async def join_token(self) -> str:
        return (await self.world.enrolment.issue_join_token(SUPPORT, actor=ADMIN)).secret

    async def enrolled(self) -> AsyncAgentIdentity:
        return await AsyncAgentIdentity.enrol(
            URL, await self.join_token(), clock=self.world.clock, ids=SeededIds(1), send=self.answer
        )


async def _server() -> Server:
    return Server(await World().started())


@pytest.mark.requirement("sdk:identity:enrol")
def test_an_agent_enrols_and_its_token_is_accepted() -> None:
    async def scenario() -> None:
        server = await _server()
        identity = await server.enrolled()
        assert identity.agent == SUPPORT
        token = await identity.access_token(CRM)
        assert server.world.verifier.verify(token, path="/mcp/crm").credential == identity.credential

    run(scenario())


@pytest.mark.requirement("sdk:identity:enrol")
def test_a_blocking_program_gets_the_same() -> None:
    with asyncio.Runner() as runner:
        server = runner.run(_server())

        def sending(request: WireRequest) -> WireAnswer:
            return runner.run(server.answer(request))

        identity = AgentIdentity.enrol(
            URL, runner.run(server.join_token()), clock=server.world.clock, ids=SeededIds(1), send=sending
        )
        token = identity.access_token(CRM)
        assert identity.access_token(CRM) == token
        server.world.verifier.verify(token, path="/mcp/crm")
        behalf = identity.exchange(
            CRM, subject_token=server.world.subject_token(), task_token=server.world.task_token()
        )
        assert server.world.verifier.verify(behalf, path="/mcp/crm").task is not None


@pytest.mark.requirement("sdk:identity:posture")
def test_what_the_instance_runs_is_said_with_every_token_asked_for_and_anew_when_it_changes() -> None:
    async def scenario() -> None:
        server, said = await _server(), []
        world = server.world
        world.endpoint = TokenEndpoint(
            world.state,
            world.keys,
            world.verifier,
            world.directory,
            world.tasks,
            world.audit,
            clock=world.clock,
            ids=world.ids,
            attempts=world.gate,
            public_url=URL,
            on_posture=lambda agent, credential, posture: said.append((agent, credential, dict(posture))),
        )
        identity = await AsyncAgentIdentity.enrol(
            URL,
            await server.join_token(),
            clock=world.clock,
            ids=SeededIds(1),
            posture=ReportedPosture(models=(("anthropic", "claude-sonnet-5"),)),
            send=server.answer,
        )
        await identity.access_token(CRM)
        await identity.exchange(CRM, subject_token=world.subject_token())
        prompt = "sha256:" + "b" * 64
        identity.report(ReportedPosture(prompt=prompt))
        await identity.access_token(CRM)
        who = (SUPPORT, identity.credential)
        models = {"models": [["anthropic", "claude-sonnet-5"]]}
        assert said == [(*who, models), (*who, models), (*who, {"prompt": prompt})]

    run(scenario())


@pytest.mark.requirement("sdk:identity:errors")
def test_a_production_instance_learns_that_it_waits_and_what_its_owner_has_to_confirm() -> None:
    async def scenario() -> None:
        server = await _server()
        identity = await server.enrolled()
        credential = server.world.state.credential(identity.credential)
        assert credential is not None
        assert identity.thumbprint == credential.thumbprint
        pending = rows.credential_doc(replace(credential, state=CredentialState.PENDING))
        await server.world.put(rows.CREDENTIAL, credential.id, pending)
        with pytest.raises(AccreditError) as caught:
            await identity.access_token(CRM)
        assert caught.value.code is Code.CREDENTIAL_PENDING

    run(scenario())


@pytest.mark.requirement("sdk:identity:cached")
def test_a_token_is_kept_until_thirty_seconds_before_its_end() -> None:
    async def scenario() -> None:
        server = await _server()
        identity = await server.enrolled()
        token = await identity.access_token(CRM)
        asked = len(server.requests)
        server.world.clock.advance(269)
        assert await identity.access_token(CRM) == token
        assert len(server.requests) == asked
        server.world.clock.advance(1)
        assert await identity.access_token(CRM) != token
        server.world.clock.advance(100)
        server.world.clock.step_wall(-100)
        renewed = await identity.access_token(CRM)
        server.world.clock.advance(170)
        server.world.clock.step_wall(-170)
        assert await identity.access_token(CRM) != renewed, "the boot clock counts too"
        identity.forget_tokens()
        asked = len(server.requests)
        await identity.access_token(CRM)
        assert len(server.requests) == asked + 1

    run(scenario())


@pytest.mark.requirement("sdk:identity:cached")
def test_tokens_of_different_users_tasks_and_resources_are_never_mixed_up() -> None:
    async def scenario() -> None:
        server = await _server()
        identity = await server.enrolled()
        kim, alex = server.world.subject_token(), server.world.subject_token(sub="alex")
        task = server.world.task_token()
        tokens = [
            await identity.access_token(CRM),
            await identity.access_token(URL),
            await identity.exchange(CRM, subject_token=kim),
            await identity.exchange(CRM, subject_token=alex),
            await identity.exchange(CRM, subject_token=kim, task_token=task),
        ]
        assert len(set(tokens)) == 5
        users = [server.world.verifier.verify(token, path="/mcp/crm").user for token in tokens]
        assert [user.subject if user else None for user in users] == [None, None, "kim", "alex", "kim"]
        assert await identity.exchange(CRM, subject_token=kim, task_token=task) == tokens[4]

    run(scenario())


@pytest.mark.requirement("sdk:identity:errors")
def test_a_refusal_reaches_the_program_with_the_servers_code() -> None:
    async def scenario() -> None:
        server = await _server()
        token = await server.join_token()
        identity = await AsyncAgentIdentity.enrol(URL, token, clock=server.world.clock, send=server.answer)
        with pytest.raises(ForbiddenError) as reused:
            await AsyncAgentIdentity.enrol(URL, token, clock=server.world.clock, send=server.answer)
        assert reused.value.code is Code.JOIN_TOKEN_REUSED
        with pytest.raises(UnauthenticatedError) as locked:
            await identity.access_token(CRM)
        assert locked.value.code is Code.UNAUTHENTICATED
        other = await server.enrolled()
        with pytest.raises(InvalidInputError) as elsewhere:
            await other.access_token("https://other.example")
        assert elsewhere.value.code is Code.TOKEN_AUDIENCE

    run(scenario())


@pytest.mark.requirement("sdk:wire:answers")
@pytest.mark.parametrize(
    "answer",
    [
        WireAnswer(200, b"<html>"),
        WireAnswer(200, b"[]"),
        WireAnswer(200, b"{}"),
        WireAnswer(200, b'{"access_token": 7, "expires_in": 300}'),
        WireAnswer(200, b'{"access_token": "a", "expires_in": "300"}'),
        WireAnswer(200, b'{"access_token": "a", "expires_in": true}'),
        WireAnswer(200, b'{"access_token": "a", "access_token": "b", "expires_in": 300}'),
        WireAnswer(200, b'"' + b"x" * 70_000 + b'"'),
        WireAnswer(302, b'{"access_token": "a", "expires_in": 300}'),
        WireAnswer(500, b"{}"),
        WireAnswer(500, b"oops"),
    ],
)
def test_an_answer_that_is_not_one_is_an_error_of_our_own(answer: WireAnswer) -> None:
    with pytest.raises(UnavailableError):
        read_token(answer)
    with pytest.raises(UnavailableError):
        read_enrolment(answer, InstanceKey.generate())


@pytest.mark.requirement("sdk:wire:answers")
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthenticated", UnauthenticatedError),
        (403, "join_token_reused", ForbiddenError),
        (409, "key_shared", ConflictError),
        (400, "a code of a later release", InvalidInputError),
        (429, "attempts_limited", UnavailableError),
    ],
)
def test_an_error_keeps_its_kind_and_its_code_if_it_is_known(status: int, code: str, kind: type[AccreditError]) -> None:
    with pytest.raises(kind) as caught:
        read_token(WireAnswer(status, orjson.dumps({"error": "x", "error_description": "why", "code": code})))
    assert caught.value.message == "why"
    assert caught.value.code.value == code or caught.value.code is Code.INTERNAL


@pytest.mark.requirement("sdk:wire:https")
@pytest.mark.parametrize("url", ["http://accredit.example", "ftp://x", "accredit.example", "", "https://", "http://[x"])
def test_a_join_token_is_never_sent_in_clear(url: str) -> None:
    with pytest.raises(InvalidInputError):
        enrol_request(url, "accj_secret", InstanceKey.generate())
    enrol_request("http://127.0.0.1:8700/", "accj_secret", InstanceKey.generate())


@pytest.mark.requirement("sdk:keyring:private")
def test_only_the_public_half_of_the_key_leaves_the_process() -> None:
    async def scenario() -> None:
        server = await _server()
        key = InstanceKey.generate()
        identity = await AsyncAgentIdentity.enrol(
            URL, await server.join_token(), key=key, clock=server.world.clock, send=server.answer
        )
        await identity.access_token(CRM)
        private = str(key.key.as_dict(private=True)["d"])
        sent = b"".join(request.content for request in server.requests)
        assert private.encode() not in sent
        assert private not in repr(key) + repr(server.requests) + repr(vars(identity))
        assert server.world.state.credentials_of(SUPPORT)[0].thumbprint == key.thumbprint()

    run(scenario())


@pytest.mark.requirement("sdk:keyring:file")
def test_a_saved_identity_works_again_in_another_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await _server()
        identity = await server.enrolled()
        path = tmp_path / "identity.json"
        identity.save(path)
        assert path.stat().st_mode & 0o777 == 0o600
        identity.save(path)
        again = AsyncAgentIdentity(Keyring.load(path), clock=server.world.clock, ids=SeededIds(2), send=server.answer)
        server.world.verifier.verify(await again.access_token(CRM), path="/mcp/crm")
        assert [entry.name for entry in tmp_path.iterdir()] == ["identity.json"]

    run(scenario())


def _keyring() -> Keyring:
    return Keyring(InstanceKey.generate(), CredentialId("crd_a"), AgentId("agt_a"), f"{URL}/oauth/token")


@pytest.mark.requirement("sdk:keyring:file")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_file_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity.json"
    _keyring().save(path)
    path.chmod(mode)
    with pytest.raises(InvalidInputError) as caught:
        Keyring.load(path)
    assert "0600" in caught.value.hint


def _cut(doc: bytes) -> bytes:
    return doc[:40]


def _public_only(doc: bytes) -> bytes:
    value = orjson.loads(doc)
    del value["private_jwk"]["d"]
    return orjson.dumps(value)


def _twisted(doc: bytes) -> bytes:
    value: Any = orjson.loads(doc)
    value["private_jwk"]["d"] = "A" * 43
    return orjson.dumps(value)


@pytest.mark.requirement("sdk:keyring:file")
@pytest.mark.parametrize("damage", [_cut, _public_only, _twisted, lambda doc: b"[]", lambda doc: doc + b" " * 9000])
def test_a_damaged_key_file_is_an_error_that_shows_nothing_of_it(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "identity.json"
    keyring = _keyring()
    keyring.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidInputError) as caught:
        Keyring.load(path)
    private = str(keyring.key.key.as_dict(private=True)["d"])
    assert private not in caught.value.message + caught.value.hint + caught.value.cause


@pytest.mark.requirement("sdk:keyring:file")
def test_a_key_file_that_is_missing_or_cannot_be_written_is_an_error_of_our_own(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        Keyring.load(tmp_path / "none.json")
    with pytest.raises(UnavailableError):
        _keyring().save(tmp_path / "none" / "identity.json")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - the names alone


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/moved":
            self.send_response(307)
            self.send_header("Location", "/")
            answer = b""
        else:
            self.send_response(200)
            answer = self.headers["Content-Type"].encode() + b"|" + body
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the parent class gave it
        """Say nothing."""


@contextmanager
def _echo() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.mark.requirement("sdk:wire:transport")
def test_both_transports_send_what_was_built_and_follow_no_redirect() -> None:
    with _echo() as base:
        request = WireRequest(f"{base}/", "text/plain", b"hello")
        moved = WireRequest(f"{base}/moved", "text/plain", b"secret")
        assert send(request) == run(send_async(request)) == WireAnswer(200, b"text/plain|hello")
        assert send(moved).status == run(send_async(moved)).status == 307
    with pytest.raises(UnavailableError):
        send(request)
    with pytest.raises(UnavailableError):
        run(send_async(request))


@pytest.mark.requirement("sdk:identity:enrol")
def test_the_answer_of_the_token_endpoint_is_what_the_client_reads() -> None:
    reply = TokenReply("a.b.c", 300, exchanged=True)
    assert read_token(WireAnswer(reply.status, orjson.dumps(reply.body()))).expires_in == 300
