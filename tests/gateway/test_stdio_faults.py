"""Programs of tool servers that do what none may, and what a program can see of the place where it runs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from accredit.gateway.programs import Programs
from accredit.gateway.stdio import LineReader, ProgramFault, StdioServers
from accredit.gateway.toolservers import ToolRequest, always
from accredit.identity.scrubbing import without_credential
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.registry.model import ToolServer
from tests.gateway.scripted import LATEST, LEGACY
from tests.gateway.speaking import (
    SECRET_VALUE,
    VARIABLE,
    last,
    own_user,
    program,
    rules,
    stdio,
    text_of,
)


async def ask(protocol: StdioServers, server: ToolServer, name: str = "echo", **arguments: Any) -> Any:
    request = ToolRequest("tools/call", {"name": name, "arguments": arguments}, progress=True)
    return await last(protocol.exchange(server, request, credential=VARIABLE, recheck=always))


async def refused(protocol: StdioServers, server: ToolServer, code: Code, **arguments: Any) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        await ask(protocol, server, **arguments)
    assert caught.value.code is code, (caught.value.message, caught.value.cause)
    return caught.value


def alive(pid: int) -> bool:
    """Whether a process is there, and not just a name of one that ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def inhabitants(uid: int) -> set[int]:
    """Processes that run as a user, whatever they are called where they run."""
    found = set()
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended since
            if each.stat().st_uid == uid and alive(int(each.name)):
                found.add(int(each.name))
    return found


async def gone(*pids: int) -> None:
    async with asyncio.timeout(10):
        while any(alive(pid) for pid in pids):
            await asyncio.sleep(0.01)


def children() -> set[int]:
    """Processes that we started, ended ones included that nobody asked about."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended since
            if int(status.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(status.parent.name))
    return found


@pytest.mark.requirement("gateway:stdio:faults")
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("dies", Code.UPSTREAM_UNREACHABLE),
        ("long-line", Code.UPSTREAM_OVERSIZED),
        ("slow-line", Code.UPSTREAM_INVALID),
        ("floods", Code.UPSTREAM_INVALID),
        ("floods-progress", Code.UPSTREAM_OVERSIZED),
    ],
)
def test_a_program_that_does_what_none_may_fails_the_call_and_is_started_again(
    script: str,
    fault: str,
    code: Code,
) -> None:
    async def play() -> None:
        async with stdio(line_s=0.3) as protocol:
            for _ in range(2):
                await refused(protocol, program(script, LATEST, fault), code)
                await asyncio.sleep(0.2)

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:answers-of-others")
@pytest.mark.parametrize(("fault", "said"), [("other-id", "mine"), ("junk", "mine"), ("twice", "first")])
def test_what_bears_another_id_a_used_one_or_none_belongs_to_nobody(
    script: str,
    fault: str,
    said: str,
) -> None:
    async def play() -> None:
        async with stdio() as protocol:
            server = program(script, LATEST, fault)
            for _ in range(3):
                answers = await asyncio.gather(*(ask(protocol, server, text="mine") for _ in range(5)))
                assert {text_of(answer) for answer in answers} == {said}

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:answers-of-others")
def test_a_call_that_hangs_keeps_no_other_from_its_answer(script: str) -> None:
    async def play() -> None:
        async with stdio() as protocol:
            server = program(script, LEGACY)
            hanging = [asyncio.create_task(ask(protocol, server, "hang")) for _ in range(10)]
            assert text_of(await ask(protocol, server, text="next")) == "next"
            protocol.forget(server.name)
            failed = await asyncio.gather(*hanging, return_exceptions=True)
            assert {error.code for error in failed if isinstance(error, UnavailableError)} == {
                Code.UPSTREAM_UNREACHABLE
            }
            assert len(failed) == 10

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:faults")
def test_a_program_that_reads_nothing_is_ended_when_its_pipe_is_full(script: str) -> None:
    async def play() -> None:
        async with stdio(write_s=0.5) as protocol:
            server = program(script, LATEST, "deaf")
            asking = [asyncio.create_task(ask(protocol, server, text="x" * 200_000)) for _ in range(5)]
            ends = await asyncio.gather(*asking, return_exceptions=True)
            assert {error.code for error in ends if isinstance(error, UnavailableError)} == {Code.UPSTREAM_UNREACHABLE}
            assert len(ends) == 5

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:faults")
def test_words_before_the_handshake_belong_to_nobody(script: str) -> None:
    async def play() -> None:
        async with stdio() as protocol:
            for revision in (LATEST, LEGACY):
                assert text_of(await ask(protocol, program(script, revision, "banner"), text="a")) == "a"

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:asks")
def test_a_ping_is_answered_and_what_was_not_declared_is_refused(
    script: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "accredit.gateway")

    async def play() -> None:
        async with stdio() as protocol:
            assert text_of(await ask(protocol, program(script, LEGACY, "asks"), text="a")) == "a"

    asyncio.run(play())
    replies = [json.loads(line.partition("says: ")[2]) for line in caplog.text.splitlines() if '"jsonrpc"' in line]
    assert [reply["id"] for reply in replies] == ["a", "b", "c"]
    assert replies[0]["result"] == {}
    assert {reply["error"]["code"] for reply in replies[1:]} == {-32601}


@pytest.mark.requirement("gateway:stdio:supervised")
def test_a_program_that_ends_again_and_again_is_left_alone_for_longer_and_longer(script: str) -> None:
    async def play() -> None:
        async with stdio(first_wait_s=30.0) as protocol:
            server = program(script, LATEST, "dies")
            await refused(protocol, server, Code.UPSTREAM_UNREACHABLE)
            error = await refused(protocol, server, Code.UPSTREAM_UNREACHABLE)
            assert "not started again yet" in error.message
            assert "try again in" in error.hint

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:supervised")
def test_a_program_that_nobody_needs_is_ended_and_that_is_no_crash(script: str) -> None:
    async def play() -> None:
        before = children()
        async with stdio(idle_s=0.2, first_wait_s=60.0) as protocol:
            for _ in range(2):
                assert text_of(await ask(protocol, program(script, LEGACY), text="a")) == "a"
                async with asyncio.timeout(10):
                    while not children() <= before:
                        await asyncio.sleep(0.01)

    asyncio.run(play())


@given(st.lists(st.tuples(st.binary(max_size=12), st.booleans())), st.lists(st.integers(1, 5), min_size=1))
def test_however_a_stream_is_split_its_lines_are_the_same(lines: list[tuple[bytes, bool]], sizes: list[int]) -> None:
    texts = [line.replace(b"\n", b"").replace(b"\r", b"") for line, _ in lines]
    stream = b"".join(text + (b"\r\n" if windows else b"\n") for text, (_, windows) in zip(texts, lines, strict=True))
    reader, found, turn = LineReader(13), [], itertools.cycle(sizes)
    while stream:
        size = next(turn)
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == texts
    assert not reader.partial


@pytest.mark.parametrize("piece", [b"x" * 14, b"x" * 14 + b"\n", b"ok\n" + b"x" * 14])
def test_a_line_over_the_bound_is_refused_whole_or_not(piece: bytes) -> None:
    with pytest.raises(ProgramFault):
        LineReader(12).feed(piece)


@pytest.mark.requirement("gateway:stdio:ended")
@own_user
def test_all_that_a_program_started_ends_with_it_in_its_group_or_not(script: str) -> None:
    async def play() -> None:
        before = children()
        async with stdio() as protocol:
            server = program(script, LATEST, "forks")

            async def answered() -> str:
                # whoever asks in the moment in which it ends is told so; the next one finds another
                for _ in range(100):
                    try:
                        return text_of(await ask(protocol, server))
                    except UnavailableError as error:
                        if "program ended" not in error.message:
                            raise
                        await asyncio.sleep(0.02)
                raise AssertionError("it is not started anew")

            async def forked() -> set[int]:
                assert (await answered()).split() == ["2", "3", "4"], "it sees none but its own"
                uid = json.loads(text_of(await ask(protocol, server, "look")))["uid"]
                found = inhabitants(uid)
                assert len(found) == 4  # with the one that adopts
                return found | (children() - before)

            pids = await forked()
            (itself,) = [pid for pid in pids if b"\0forks\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            os.kill(itself, 9)  # what it started would outlive it
            await gone(*pids)
            pids = await forked()
            protocol.forget(server.name)
            await gone(*pids)
            pids = await forked()
            (outside,) = children() - before
            os.kill(outside, 9)  # as one short of memory might
            await gone(*pids)
            pids = await forked()
        assert not any(alive(pid) for pid in pids), "closing waits until all are gone"
        assert children() <= before, "nobody is left unasked about"

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:ended")
def test_a_program_that_takes_no_hint_is_killed(script: str) -> None:
    async def play() -> None:
        async with stdio() as protocol:
            server = program(script, LATEST, "stubborn")
            seen = json.loads(text_of(await ask(protocol, server, "look")))
            assert seen["uid"] == seen["gid"]
        # `stdio` waited, and fails if it takes too long

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:isolated")
@own_user
def test_a_program_sees_nothing_but_what_it_was_given(script: str, tmp_path: Path) -> None:
    hidden = tmp_path / "data"
    hidden.mkdir(mode=0o700)
    (hidden / "root.key").write_text("the root key")
    os.environ["ACCREDIT_TEST_SECRET"] = "must not be inherited"
    leaked = os.open(hidden / "root.key", os.O_RDONLY)
    os.set_inheritable(leaked, True)

    async def play() -> dict[str, Any]:
        async with stdio(Programs(rules(hidden=(str(hidden),)))) as protocol:
            looks = f"{hidden}:{hidden}/root.key:/proc/{os.getpid()}/environ:/proc/{os.getpid()}/fd"
            server = program(script, LATEST, env={"LOOK_AT": looks})
            assert server.launch is not None  # what is hidden stays so, whatever may be read
            launch = dataclasses.replace(server.launch, reads=(*server.launch.reads, str(tmp_path)))
            server = dataclasses.replace(server, launch=launch)
            seen: dict[str, Any] = json.loads(text_of(await ask(protocol, server, "look")).replace("[redacted]", "r"))
            return seen

    try:
        seen = asyncio.run(play())
    finally:
        del os.environ["ACCREDIT_TEST_SECRET"]
        os.close(leaked)
    environment = seen["environment"]
    assert set(environment) <= {"LOOK_AT", "TOKEN", "LC_CTYPE"}  # the last is Python's own doing
    assert 61_184 <= seen["uid"] <= 65_519
    assert (seen["gid"], seen["groups"]) == (seen["uid"], [])
    assert list(seen["looked_at"].values()) == ["Permission denied"] * 2 + ["No such file or directory"] * 2
    assert seen["parents_environment"] == "Permission denied"
    assert Path(seen["cwd"]).name == "work"
    assert set(seen["descriptors"]) <= {0, 1, 2, 3}  # 3 is the listing's own


@pytest.mark.requirement("gateway:stdio:isolated")
def test_a_program_that_could_read_the_data_directory_is_not_run(script: str) -> None:
    exposed = Path(script).parent / "exposed"  # nothing is put over what is no directory: it is found out
    exposed.write_text("readable by everybody")
    exposed.chmod(0o644)

    async def play() -> None:
        async with stdio(Programs(rules(hidden=(str(exposed),), unsafe_same_user=False))) as protocol:
            await refused(protocol, program(script, LATEST), Code.STDIO_EXPOSED)
            await asyncio.sleep(0.05)
            await refused(protocol, program(script, LEGACY), Code.STDIO_EXPOSED)

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:enabled")
def test_no_program_is_started_where_that_is_not_enabled(script: str) -> None:
    async def play() -> None:
        before = children()
        async with stdio(Programs(rules(allowed=False))) as protocol:
            await refused(protocol, program(script, LATEST), Code.STDIO_DISABLED)
            assert children() <= before

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:isolated")
@own_user
def test_two_servers_have_two_users(script: str) -> None:
    async def play() -> None:
        async with stdio() as protocol:
            servers = [program(script, LATEST, env={"NUMBER": str(number)}) for number in range(3)]
            answers = await asyncio.gather(*(ask(protocol, server, "look") for server in servers))
            seen = [json.loads(text_of(answer)) for answer in answers]
            assert len({each["uid"] for each in seen}) == 3

    asyncio.run(play())


@pytest.mark.requirement("gateway:stdio:limits")
def test_a_program_has_limits_that_it_cannot_lift(script: str) -> None:
    code = (
        "import json, resource as r;"
        " print(json.dumps({n: r.getrlimit(getattr(r, n)) for n in dir(r) if n[:7] == 'RLIMIT_'}))"
    )

    async def play() -> dict[str, list[int]]:
        server = program(script, LATEST)
        assert server.launch is not None
        launch = dataclasses.replace(server.launch, args=("-c", code))
        programs = Programs(rules(memory_bytes=2**29, cpu_s=7))
        started = await programs.start(dataclasses.replace(server, launch=launch), VARIABLE)
        try:
            found: dict[str, list[int]] = json.loads(await started.output.readline())
        finally:
            await started.end()
        return found

    found = asyncio.run(play())
    for name, most in rules(memory_bytes=2**29, cpu_s=7).limits().items():
        assert found[name][0] == found[name][1] <= most, name


@pytest.mark.requirement("gateway:stdio:words")
def test_what_a_program_says_of_itself_is_in_the_log_and_can_imitate_nothing(
    script: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "accredit.gateway")
    shout = (
        f"import sys; [print('\\x1b[2J line', n, '{SECRET_VALUE}', 'x' * 5000, file=sys.stderr) for n in range(1000)]"
    )

    async def play() -> None:
        server = program(script, LATEST)
        assert server.launch is not None
        launch = dataclasses.replace(server.launch, args=("-c", shout))
        async with stdio() as protocol:
            await refused(protocol, dataclasses.replace(server, launch=launch), Code.UPSTREAM_UNREACHABLE)

    asyncio.run(play())
    said = [record.getMessage() for record in caplog.records if "says:" in record.getMessage()]
    assert 10 < len(said) < 200
    assert all(len(words) < 3000 and words.isprintable() for words in said)
    assert SECRET_VALUE not in caplog.text
    assert "\\x1b[2J line" in said[0]


@pytest.mark.requirement("gateway:stdio:words")
def test_a_flood_of_words_is_counted_and_not_looked_at_line_by_line(
    script: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "accredit.gateway")
    looked_at: list[bytes] = []

    def look(credential: Any, line: bytes) -> bytes:
        looked_at.append(line)
        return without_credential(credential, line)

    monkeypatch.setattr("accredit.gateway.programs.without_credential", look)
    shout = "import sys; sys.stderr.write('x\\n' * 300_000 + 'the end\\n')"

    async def play() -> None:
        server = program(script, LATEST)
        assert server.launch is not None
        launch = dataclasses.replace(server.launch, args=("-c", shout))
        async with stdio() as protocol:
            await refused(protocol, dataclasses.replace(server, launch=launch), Code.UPSTREAM_UNREACHABLE)

    asyncio.run(play())
    told = [record.getMessage() for record in caplog.records]
    said = sum("says:" in words for words in told)
    more = sum(int(found[1]) for words in told if (found := re.search(r"said (\d+) lines more", words)))
    assert said + more == 300_001, "none is forgotten"
    assert len(looked_at) < 1_000
    assert any("its last words: x | x" in words and words.endswith("the end") for words in told)


@pytest.mark.requirement("gateway:stdio:supervised")
def test_a_program_does_not_outlive_us(script: str, tmp_path: Path) -> None:
    story = f"""
import asyncio, os, sys
sys.path[:0] = {sys.path!r}
from tests.gateway import test_stdio_faults as faults
async def play():
    async with faults.stdio() as protocol:
        answer = await faults.ask(protocol, faults.program({script!r}, {LATEST!r}, "stubborn"), "look")
        print(faults.text_of(answer), flush=True)
        pid = next(iter(faults.children()))
        print(pid, flush=True)
        os.kill(os.getpid(), 9)
asyncio.run(play())
"""
    ran = subprocess.run([sys.executable, "-c", story], capture_output=True, check=False, timeout=60)
    assert ran.returncode == -9, ran.stderr
    pid = int(ran.stdout.split()[-1])
    asyncio.run(gone(pid))


@pytest.mark.requirement("gateway:stdio:supervised")
def test_the_loop_that_serves_starts_and_ends_programs_as_well(script: str) -> None:
    async def play() -> None:
        before = children()
        async with stdio(line_s=0.3) as protocol:
            assert text_of(await ask(protocol, program(script, LEGACY), text="a")) == "a"
            await refused(protocol, program(script, LATEST, "dies"), Code.UPSTREAM_UNREACHABLE)
            await refused(protocol, program(script, LATEST, "long-line"), Code.UPSTREAM_OVERSIZED)
            await refused(protocol, program("/nowhere.py", LATEST), Code.UPSTREAM_UNREACHABLE)
        assert children() <= before

    uvloop.run(play())
