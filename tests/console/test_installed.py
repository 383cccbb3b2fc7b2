"""The console of a real installation, as it answers on its port."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from accredit.audit.records import body_of, header_of
from tests.console.installed import House, house


@pytest.fixture
def place(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path / "data") as running:
        yield running


@contextlib.contextmanager
def _signed_in(place: House, link: str) -> Iterator[httpx2.Client]:
    with place.browsing() as client:
        answer = client.post("/login", data={"link": link.partition("#")[2]})
        assert answer.status_code == 303, answer.text
        yield client


def _csrf(page: httpx2.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    return found[1]


@pytest.mark.requirement("console:installed:link")
def test_the_first_link_opens_a_session_or_gives_a_token_and_is_then_used_up(place: House) -> None:
    secret = place.link.partition("#")[2]
    with _signed_in(place, place.link) as client:
        assert ">Sign out<" in client.get("/console").text
    status, answer = place.do(place.somebody("ada").attempt("login", {"link": secret, "name": "cli"}))
    assert (status, answer["code"]) == (401, "link_invalid")


@pytest.mark.requirement("console:installed:link")
def test_a_link_that_gave_a_token_opens_no_session_and_a_token_is_no_session(place: House) -> None:
    secret = place.link.partition("#")[2]
    token = place.do(place.world.sign_in())["token"]
    with place.browsing() as client:
        assert client.post("/login", data={"link": secret}).status_code == 401
        client.cookies.set(f"accredit-{urlsplit(place.url).port}", token)
        assert client.get("/console").status_code == 303
        session = dict(client.cookies)
        assert "accs_" not in str(session)


@pytest.mark.requirement("console:installed:session")
def test_whoever_signed_out_or_left_has_no_session_any_more(place: House) -> None:
    place.do(place.world.sign_in())
    place.do(place.world.register())
    place.second_admin()
    place.people()
    with _signed_in(place, place.link_for("sam")) as sam, _signed_in(place, place.link_for("una")) as una:
        kept = dict(sam.cookies)
        assert kept
        assert sam.get("/console/inbox").status_code == 200
        assert sam.post("/logout", data={"csrf": _csrf(sam.get("/console"))}).status_code == 303
        sam.cookies.update(kept)
        assert sam.get("/console/inbox").status_code == 303
        assert una.get("/console").status_code == 200
        place.post("ada", f"persons/{place.persons['una']}/leave", {"reason": "moved on"})
        assert una.get("/console").status_code == 303


@pytest.mark.requirement("console:installed:session")
def test_no_session_is_taken_from_whoever_names_one_beforehand(place: House) -> None:
    with place.browsing() as client:
        name = f"accredit-{urlsplit(place.url).port}"
        client.cookies.set(name, "accs_" + "A" * 43)
        answer = client.post("/login", data={"link": place.link.partition("#")[2]})
        given = answer.headers["set-cookie"]
        assert re.match(rf"{name}=accs_[A-Za-z0-9_-]{{43}};", given)
        assert "A" * 43 not in given
        client.cookies.clear()
        client.cookies.set(name, given.partition("=")[2].partition(";")[0])
        assert client.get("/console").status_code == 200


@pytest.mark.requirement("console:installed:headers")
@pytest.mark.parametrize(
    "path", ["/login", "/console", "/console/nothing", "/console/static/console.css", "/", "/logout"]
)
def test_every_answer_on_the_port_keeps_browsers_from_framing_and_running_things(place: House, path: str) -> None:
    with place.browsing() as client:
        headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.requirement("console:installed:bounds")
def test_other_hosts_and_other_origins_are_turned_away_as_everywhere(place: House) -> None:
    with place.browsing() as client:
        for headers in ({"host": "evil.example.com"}, {"origin": "https://evil.example.com"}, {"origin": "null"}):
            for path in ("/console", "/login", "/console/static/console.css", "/"):
                answer = client.get(path, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
        secret = place.link.partition("#")[2]
        crossed = client.post("/login", data={"link": secret}, headers={"sec-fetch-site": "cross-site"})
        assert crossed.status_code == 403
        unsaid = httpx2.post(f"{place.url}/login", data={"link": secret}, trust_env=False)
        assert unsaid.status_code == 403
        assert client.post("/login", data={"link": secret}).status_code == 303


def _raw(place: House, head: bytes) -> bytes:
    url = urlsplit(place.url)
    with socket.create_connection((url.hostname, url.port), timeout=20) as sent:
        with_host = head.replace(b"HOST", f"{url.hostname}:{url.port}".encode())
        with contextlib.suppress(ConnectionError):  # it may hang up before all of it was said
            sent.sendall(with_host)
        answer = b""
        while piece := sent.recv(65536):
            answer += piece
            if b"\r\n" in answer:
                break
        return answer.partition(b"\r\n")[0]


@pytest.mark.requirement("console:installed:bounds")
def test_heads_and_forms_are_bounded_also_for_whoever_proved_nothing(place: House) -> None:
    with place.browsing() as client:
        answer = client.post("/login", data={"link": "x" * 5000})
        assert answer.status_code == 400
        assert "at most 4096 bytes" in answer.text
    with _signed_in(place, place.link) as session:
        page = session.get("/console")
        large = {"csrf": _csrf(page), "reason": "x" * 300_000}
        assert session.post("/console/agents/agt_x/suspend", data=large).status_code == 400
        many = {f"field-{at}": "x" for at in range(500)} | {"csrf": _csrf(page)}
        assert session.post("/console/agents/agt_x/suspend", data=many).status_code == 400
    long = b"GET /console HTTP/1.1\r\nhost: HOST\r\ncookie: " + b"a" * 1_000_000 + b"\r\n\r\n"
    assert b" 431 " in _raw(place, long)


@pytest.mark.requirement("console:installed:bounds")
def test_whoever_tries_links_is_slowed_down_and_on_record(place: House) -> None:
    with place.browsing() as client:
        answers = {client.post("/login", data={"link": "accl_0"}).status_code}
        for at in range(3000):  # they are forgiven by the second
            if 429 in answers:
                break
            answers.add(client.post("/login", data={"link": f"accl_{at}"}).status_code)
    assert answers == {401, 429}
    place.do(place.plane.enforcer.drained())
    refused = [one for one in place.plane.records.records() if header_of(one)["kind"] == "refused.authentication"]
    assert "link_invalid" in {body_of(one)["code"] for one in refused}
    assert len(refused) < 10
