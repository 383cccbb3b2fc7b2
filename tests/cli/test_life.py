"""The whole life of an agent by commands alone, each person with a profile of their own."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from accredit.cli.profile import Profile, save_profile
from accredit.demo import fleet
from accredit.kernel.errors import AccreditError
from accredit.offline import look_at
from accredit.sdk.identity import AgentIdentity
from tests.api.installation import Installation, installation
from tests.cli.conftest import Ran, run_command

_LINK = re.compile(r"accredit login '(\S+)'")
_STAFF = {
    "dana": None,
    "lena": "team-lead",
    "sam": "security",
    "cora": "compliance",
    "bo": "business-owner",
    "otto": "operator",
    "una": "auditor",
}
"""Everybody but the two administrators, and their roles."""
_FORBID = 'forbid(principal, action == Action::"crm/delete_customer", resource);'
_HIDDEN = "\x1b[2J\u202e\u200b"


@dataclass(frozen=True)
class Staff:
    """Everybody who has a part in it, each at a terminal of their own."""

    place: Installation
    home: Path

    def run(self, name: str, *words: object, stdin: str = "") -> Ran:
        """Run one command as somebody."""
        with pytest.MonkeyPatch.context() as patched:
            for variable in [each for each in os.environ if each.startswith("ACCREDIT_")]:
                patched.delenv(variable)
            patched.setenv("ACCREDIT_PROFILE", str(self.home / f"{name}.json"))
            patched.chdir(self.home)
            return run_command(*words, stdin=stdin)

    def ok(self, name: str, *words: object, code: int = 0) -> Any:
        """The same as JSON, where it has to work."""
        ran = self.run(name, *words, "-o", "json")
        assert ran.code == code, (words, ran)
        return ran.json

    def file(self, name: str, *documents: dict[str, Any]) -> Path:
        (self.home / name).write_text(yaml.safe_dump_all(documents))
        return self.home / name

    def vote(self, name: str, request: str, *words: object) -> Ran:
        """Look at a request, then vote on what was shown."""
        seen = self.ok(name, "approval", "get", request)["view_digest"]
        return self.run(name, "approval", "vote", request, "--view-digest", seen, *words)


def _agent(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "accredit/v1",
        "kind": "Agent",
        "metadata": {"name": name, "team": "finance", "environment": "production"},
        "spec": {
            "purpose": "Tell the desk each morning how many tickets are open",
            "owner": "dana@example.com",
            "tools": [{"server": "crm-live", "allow": ["count_tickets"]}],
            "data": ["internal"],
            "models": [{"provider": "anthropic", "model": "claude-sonnet-5"}],
            "prompt": {"digest": "sha256:" + "0" * 64},
            "autonomy": "suggests",
            "audience": "employees",
            "inputs": ["employees"],
            "reach": "team",
            "use": {"annex3": False, "decidesOnPeople": False},
            **spec,
        },
    }


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staff]:
    """Two administrators, an owner, those who approve, and a production tool server: all made by commands."""
    home = tmp_path_factory.mktemp("life")
    with installation(home / "data") as place:
        made = Staff(place, home)
        save_profile({"ACCREDIT_PROFILE": str(home / "ada.json")}, Profile(place.url, place.token))
        invited = made.run("ada", "person", "invite", "mira@example.com")
        assert invited.code == 0, invited
        assert "works once, within the hour" in invited.err
        (link,) = _LINK.findall(invited.out)
        assert made.run("mira", "login", link).code == 0
        people = [{"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": f"{name}@example.com"}}
                  for name in _STAFF]  # fmt: skip
        agreement = {"apiVersion": "accredit/v1", "kind": "Agreement", "metadata": {"name": "dpa"},
                     "spec": {"provider": "anthropic", "covers": ["financial"],
                              "document": "sha256:" + "1" * 64}}  # fmt: skip
        assert made.run("ada", "apply", "-f", made.file("people.yaml", *people, agreement)).code == 0
        for name, role in _STAFF.items():
            told = made.run("ada", "person", "link", f"{name}@example.com")
            (link,) = _LINK.findall(told.out)
            assert "works once, within the hour" in told.err
            assert made.run(name, "login", link).code == 0
            assert made.run(name, "login", link).code == 5, "it works once"
            if role:
                asked = made.ok("ada", "role", "grant", role, "--person", f"{name}@example.com", code=3)
                assert made.vote("mira", asked["approval"], "--approve").code == 0
        server = {
            "apiVersion": "accredit/v1",
            "kind": "ToolServer",
            "metadata": {"name": "crm-live", "environment": "production"},
            "spec": {
                "url": place.world.crm_url,
                "credential": "crm-key",
                "tools": {
                    "count_tickets": {"effect": "read", "data": ["internal"], "price": "0.001 USD"},
                    "refund_order": {"effect": "irreversible", "data": ["financial"], "price": "0.01 USD"},
                },
            },
        }
        pending = made.ok("otto", "apply", "-f", made.file("server.yaml", server), code=3)["items"][0]
        assert pending["result"] == "pending"
        assert made.vote("sam", pending["approval"], "--role", "security", "--approve").code == 0
        yield made


def _submitted(staff: Staff, name: str, **spec: Any) -> str:
    path = staff.file(f"{name}.yaml", _agent(name, **spec))
    assert staff.run("dana", "agent", "register", "-f", path).code == 0
    return str(staff.ok("dana", "agent", "submit", f"production/{name}")["id"])


@pytest.mark.requirement("cli:life:whole")
def test_an_agent_lives_from_its_manifest_to_its_receipt_by_commands_alone(staff: Staff) -> None:
    name = "production/low"
    request = _submitted(staff, "low")
    assert staff.ok("dana", "agent", "tier", name)["tier"] == "low"
    early = staff.run("dana", "agent", "activate", name)
    assert (early.code, "clearance_required" in early.err) == (5, True)
    own = staff.vote("dana", request, "--role", "team-lead", "--approve")
    assert (own.code, "separation_of_duties" in own.err) == (5, True)
    assert request in [one["id"] for one in staff.ok("lena", "approval", "list", "--mine")["items"]]
    assert staff.ok("dana", "approval", "list", "--mine")["items"] == []
    voted = staff.vote("lena", request, "--approve", "--comment", "as in the meeting")
    assert voted.code == 0, voted
    assert staff.run("otto", "agent", "suspend", name, "--reason", "r").code == 1, "it does not run yet"
    assert staff.ok("dana", "agent", "activate", name)["state"] == "active"

    made = staff.ok("dana", "agent", "enrol", name)
    program = AgentIdentity.enrol(staff.place.url, made["join_token"])
    route = f"{staff.place.url}/mcp/crm-live"
    with pytest.raises(AccreditError):
        program.access_token(route)
    (key,) = staff.ok("dana", "credential", "list", "--agent", name)["items"]
    wrong = staff.run("dana", "credential", "confirm", key["id"], "--thumbprint", "A" * 43)
    assert wrong.code == 1
    other = staff.run("sam", "credential", "confirm", key["id"], "--thumbprint", program.thumbprint)
    assert (other.code, "not_authorised" in other.err) == (5, True)
    assert staff.ok("dana", "credential", "confirm", key["id"], "--thumbprint", program.thumbprint)["state"] == "active"
    assert program.access_token(route)

    assert staff.ok("otto", "agent", "suspend", name, "--reason", "a look")["state"] == "suspended"
    with pytest.raises(AccreditError):
        program.access_token(f"{staff.place.url}/mcp")
    assert staff.run("dana", "agent", "resume", name, "--reason", "looked").code == 5
    assert staff.ok("otto", "agent", "resume", name, "--reason", "looked")["state"] == "active"
    assert staff.ok("sam", "agent", "quarantine", name, "--reason", "odd")["state"] == "quarantined"
    assert staff.run("dana", "agent", "lift", name, "--reason", "x").code == 5, "security lifts it"
    staff.ok("sam", "agent", "lift", name, "--reason", "it is fine")
    agent = staff.ok("dana", "agent", "get", name)["id"]
    planned = [one["step"] for one in staff.ok("dana", "agent", "plan", name)["steps"]]
    receipt = staff.ok("dana", "agent", "retire", name, "--reason", "its work is done")
    assert [one["step"] for one in receipt["steps"]] == planned
    assert staff.ok("dana", "agent", "receipt", agent).items() <= receipt.items()
    known = staff.ok("dana", "agent", "credentials", agent)["items"]
    assert {one["state"] for one in known if one["reach"] == "ours"} == {"revoked"}
    kept = staff.home / "certificate.note"
    with look_at(staff.place.world.data) as offline:
        vkey = offline.vkey
    certificate = staff.ok("dana", "agent", "certificate", agent, "--file", kept)
    assert (certificate["id"], certificate["status"]) == (receipt["certificate"], receipt["certificate_status"])
    archived = next(one["result"]["archive"] for one in receipt["steps"] if one["step"] == "audit")
    left = staff.run("dana", "audit", "verify", staff.place.data / "archive" / archived, "--vkey", vkey, "-o", "json")
    assert (left.code, left.json["verified"]) == (0, True), left
    verified = staff.run("dana", "audit", "verify", kept, "--vkey", vkey)
    assert (verified.code, certificate["id"] in verified.out) == (0, True), verified
    another = agent[:-1] + ("1" if agent.endswith("0") else "0")
    kept.write_text(kept.read_text().replace(f'"{agent}"', f'"{another}"'))
    assert staff.run("dana", "audit", "verify", kept, "--vkey", vkey).code == 1
    assert agent in staff.run("dana", "agent", "list", "--state", "retired").out
    assert staff.run("dana", "agent", "receipt", name).code == 6, "its name is free again: it is found by its id"
    shown = staff.run("dana", "agent", "receipt", agent).out
    assert all(step in shown for step in planned)
    with pytest.raises(AccreditError):
        program.access_token(f"{staff.place.url}/mcp")
    done = {one["kind"] for one in staff.ok("dana", "agent", "timeline", agent)["items"]}
    assert {"agent.registered", "agent.submitted", "approval.voted", "agent.activated", "agent.suspended",
            "agent.resumed", "agent.retired"} <= done  # fmt: skip


@pytest.mark.requirement("cli:agent:answers")
def test_agent_get_answers_the_five_questions_for_a_person_to_read(staff: Staff) -> None:
    name = "production/refunds"
    request = _submitted(
        staff, "refunds", tools=[{"server": "crm-live", "allow": ["refund_order"]}], data=["financial"],
        autonomy="acts-with-approval",
        models=[{"provider": "anthropic", "model": "claude-sonnet-5", "agreement": "dpa"}],
    )  # fmt: skip
    before = staff.run("dana", "agent", "get", name).out
    assert re.search(r"^approved_by +nobody$", before, re.MULTILINE)
    assert re.search(r"^security_review +never$", before, re.MULTILINE)
    assert re.search(rf"^waiting +{request}$", before, re.MULTILINE)
    assert re.search(r"^tier +high$", before, re.MULTILINE)
    explained = staff.run("dana", "agent", "tier", name).out
    assert re.search(r"^  sensitive-data +high +personal, financial", explained, re.MULTILINE)
    assert re.search(r"^  low +do not grant `crm-live/refund_order`$", explained, re.MULTILINE)
    barred = staff.vote("sam", request, "--approve")
    assert (barred.code, "assessment_required" in barred.err) == (5, True)

    (bo,) = (one["id"] for one in staff.ok("ada", "person", "list")["items"] if one["email"] == "bo@example.com")
    risk = {"risk": "A refund goes to nobody's order", "likelihood": 2, "impact": 3, "residual": "low",
            "mitigations": [{"measure": "a person approves each one"}]}  # fmt: skip
    form = {"risks": [risk], "residual": "low", "acceptedBy": bo}
    bad = staff.file("bad.yaml", form | {"residual": "none"})
    refused = staff.run("dana", "approval", "assess", request, bad)
    assert (refused.code, "residual" in refused.err) == (1, True)
    assert staff.run("dana", "approval", "assess", request, staff.file("two.yaml", form, form)).code == 1
    assert staff.ok("dana", "approval", "assess", request, staff.file("form.yaml", form))["assessment"]
    for person in ("sam", "cora", "bo"):
        voted = staff.vote(person, request, "--approve", "--comment", f"as {person}")
        assert voted.code == 0, voted
    assert staff.run("dana", "agent", "activate", name).code == 0

    shown = staff.run("una", "agent", "get", name).out
    parts = dict(re.findall(r"^(\w+)\n((?: +.*\n)+)", shown, re.MULTILINE))
    for person, role in (("sam", "security"), ("cora", "compliance"), ("bo", "business-owner")):
        assert re.search(rf"{role} +{person}@example.com +approve .* as {person} ", parts["approved_by"]), shown
    assert re.search(r"financial +crm-live/refund_order ", parts["data"])
    assert re.search(r"crm-live/refund_order +irreversible ", parts["tools"])
    assert re.search(
        r"anthropic/claude-sonnet-5 +not registered +unknown +dpa +refused$", parts["models"], re.MULTILINE
    )
    assert re.search(r"person +sam@example.com$", parts["security_review"], re.MULTILINE)
    assert "every key, token and join token is revoked" in parts["decommissioning"]
    assert re.search(r"calls_per_minute +60$", parts["limits"], re.MULTILINE)
    whole = staff.ok("una", "agent", "get", name)
    assert set(whole["answers"]) == {"approved_by", "data", "tools", "security_review", "decommissioning"}
    assert whole["answers"]["approved_by"]["votes"][0]["person"].startswith("psn_"), "programs get ids"


@pytest.mark.requirement("cli:vote:view")
def test_nobody_votes_without_being_shown_the_whole_view_and_asked(staff: Staff) -> None:
    request = _submitted(staff, "looked-at")
    found = staff.ok("lena", "approval", "get", request)
    assert staff.run("lena", "approval", "get", request).out.startswith(found["view"] + "\n")
    for verdict in ("--approve", "--reject"):
        blind = staff.run("lena", "approval", "vote", request, verdict)
        assert blind.code == 1
        assert blind.out.startswith(found["view"] + "\n"), "shown before it is asked"
        assert "no terminal" in blind.err
    other = staff.run("lena", "approval", "vote", request, "--approve", "--view-digest", "sha256:" + "0" * 64)
    assert (other.code, "conflict" in other.err) == (1, True)
    for words in ([], ["--approve", "--reject"], ["--approve", "--abstain"], ["--approve", "--role", "emperor"]):
        assert staff.run("lena", "approval", "vote", request, *words).code == 2, words
    nothing = staff.run("una", "approval", "vote", request, "--approve", "--view-digest", found["view_digest"])
    assert (nothing.code, "no role you may vote in" in nothing.err) == (1, True)
    assert staff.ok("lena", "approval", "get", request)["votes"] == []
    assert staff.ok("dana", "approval", "withdraw", request)["state"] == "withdrawn"
    over = staff.run("lena", "approval", "vote", request, "--approve", "--role", "team-lead")
    assert (over.code, "the request is withdrawn" in over.err) == (1, True)
    assert staff.run("lena", "approval", "get", request).code == 0, "it can be read for ever"


@pytest.mark.requirement("cli:vote:view")
def test_at_a_terminal_only_yes_is_a_vote(staff: Staff) -> None:
    request = _submitted(staff, "asked")
    command = [sys.executable, "-c", "from accredit.cli import main; main()", "approval", "vote", request, "--approve"]
    environ = {**os.environ, "ACCREDIT_PROFILE": str(staff.home / "lena.json")}
    for said, code in (("n\n", 1), ("yes\n", 0)):
        ours, theirs = pty.openpty()
        try:
            os.write(ours, said.encode())
            ran = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60, env=environ,
                                 check=False)  # fmt: skip
        finally:
            os.close(ours)
            os.close(theirs)
        assert ran.returncode == code, ran.stderr
        assert "approve exactly this as team-lead? [y/N]" in ran.stderr
    assert staff.ok("lena", "approval", "get", request)["state"] == "approved"


@pytest.mark.requirement("cli:output:escaped")
def test_what_others_wrote_cannot_play_with_the_terminal_of_whoever_reads_it(staff: Staff, tmp_path: Path) -> None:
    written = f"harmless{_HIDDEN}\napproved_by  everybody"
    escaped = r"harmless\x1b[2J\u202e\u200b\napproved_by  everybody"
    request = _submitted(staff, "hostile")
    assert staff.vote("lena", request, "--approve", "--comment", written).code == 0
    name = "production/hostile"
    assert staff.run("dana", "agent", "activate", name).code == 0
    assert staff.run("sam", "agent", "restrict", name, "read-only", "--minutes", 5, "--cause", written).code == 0
    for words in (["agent", "get", name], ["approval", "get", request], ["restriction", "list", "--agent", name]):
        assert escaped in staff.run("una", *words).out, words

    _policies(tmp_path, f"// {written.replace(chr(10), ' ')}\n")
    request = staff.ok("sam", "policy", "publish", tmp_path, code=3)["approval"]
    for words in (["approval", "get", request], ["approval", "vote", request, "--approve", "--role", "admin"]):
        shown = staff.run("mira", *words).out
        assert r"harmless\u001b[2J\u202e\u200b approved_by" in shown, words
        assert not set("\x1b\u202e\u200b") & set(shown), words


def _policies(directory: Path, more: str) -> None:
    """The policies in force and one more."""
    for path, text in {**fleet.policies(), "org/more.cedar": more + _FORBID}.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)


@pytest.mark.requirement("cli:exit:pending")
def test_what_waits_for_a_second_person_says_so_and_ends_with_3(staff: Staff, tmp_path: Path) -> None:
    asked = staff.run("ada", "role", "grant", "auditor", "--person", "sam@example.com")
    assert asked.code == 3
    assert "second person" in asked.err
    _policies(tmp_path, "")
    published = staff.ok("sam", "policy", "publish", tmp_path, code=3)
    assert staff.ok("sam", "approval", "get", published["approval"])["kind"] == "policy-release"
    assert staff.run("dana", "policy", "publish", tmp_path).code == 5
    assert staff.run("dana", "role", "grant", "admin", "--person", "dana@example.com").code == 5
    assert staff.run("ada", "role", "grant", "admin", "--person", "nobody@example.com").code == 6
    assert staff.run("ada", "role", "grant", "admin").code == 1, "for whom?"
    assert staff.run("ada", "role", "grant", "emperor", "--person", "sam@example.com").code == 2


@pytest.mark.requirement("cli:errors:expected")
def test_register_takes_one_agent_and_nothing_else(staff: Staff) -> None:
    team = {"apiVersion": "accredit/v1", "kind": "Team", "metadata": {"name": "t"}, "spec": {"zones": ["UTC"]}}
    for path, said in (
        (staff.file("team.yaml", team), "does not declare an Agent"),
        (staff.file("both.yaml", _agent("a"), _agent("b")), "does not hold one document"),
        (staff.file("typo.yaml", _agent("a", purpos="x")), "purpos"),
    ):
        ran = staff.run("dana", "agent", "register", "-f", path)
        assert (ran.code, said in ran.err) == (1, True), ran
    assert staff.run("dana", "agent", "register", "-f", "missing.yaml").code == 6
    assert staff.run("dana", "agent", "get", "production/a").code == 6


@pytest.mark.requirement("cli:watch:acts")
def test_agents_are_narrowed_and_flagged_and_that_ends_by_commands(staff: Staff) -> None:
    staff.run("dana", "agent", "register", "-f", staff.file("watched.yaml", _agent("watched")))
    name = "production/watched"
    made = staff.ok("sam", "agent", "restrict", name, "throttle", "--minutes", 30, "--cause", "too eager",
                    "--calls-per-minute", 5)  # fmt: skip
    listed = staff.run("sam", "restriction", "list", "--agent", name).out
    assert made["id"] in listed
    assert "too eager" in listed
    assert staff.ok("sam", "restriction", "lift", made["id"], "--reason", "calm")["lifted"] == made["id"]
    assert staff.ok("sam", "restriction", "list", "--agent", name)["items"] == []
    assert staff.run("sam", "agent", "restrict", name, "punish", "--minutes", 1, "--cause", "c").code == 2

    flag = staff.ok("sam", "incident", "open", name, "--reason", "it wrote to a stranger", "--severity", 1)
    assert flag["id"] in staff.run("dana", "incident", "list", "--agent", name).out
    assert staff.ok("dana", "agent", "tier", name)["tier"] == "high"
    assert staff.run("sam", "incident", "close", flag["id"], "--reason", "a test address").code == 5, "sam opened it"
    frozen = staff.ok("sam", "incident", "freeze", flag["id"])
    assert staff.ok("sam", "incident", "freeze", flag["id"])["holds"] == frozen["holds"] != []
    assert frozen["holds"][0] in staff.run("cora", "legal-hold", "list").out
    closed = staff.ok("cora", "incident", "close", flag["id"], "--reason", "a test address")
    assert [one["what"] for one in closed["timeline"]] == ["opened", "frozen", "closed"]
    assert staff.ok("dana", "incident", "get", flag["id"])["disposition"] == "a test address"
    assert staff.ok("dana", "incident", "list", "--agent", name)["items"] == []
    assert staff.ok("dana", "incident", "list", "--agent", name, "--state", "all")["items"][0]["id"] == flag["id"]
    for words in (["alert", "ack", "alt_none"], ["alert", "resolve", "alt_none", "--as", "test"],
                  ["restriction", "lift", "rst_none", "--reason", "r"],
                  ["incident", "close", "inc_none", "--reason", "r"]):  # fmt: skip
        assert staff.run("sam", *words).code == 6, words


@pytest.mark.requirement("cli:watch:acts")
def test_an_alert_is_looked_after_and_ended_by_commands(staff: Staff) -> None:
    staff.place.call("ticket-counter", "count_tickets", {"undeclared": 1})
    for _ in range(200):
        found = staff.ok("sam", "alert", "list", "--agent", "ticket-counter")["items"]
        if found:
            break
        threading.Event().wait(0.05)
    alert = found[0]["id"]
    assert alert in staff.run("sam", "alert", "list").out
    assert staff.run("lena", "alert", "ack", alert).code == 5
    assert staff.ok("sam", "alert", "ack", alert, "--note", "mine")["state"] == "acknowledged"
    assert (
        "sam@example.com"
        in staff.run("sam", "alert", "resolve", alert, "--as", "false-positive", "--note", "a typing error").out
    )
    assert alert in [one["id"] for one in staff.ok("sam", "alert", "list", "--state", "resolved")["items"]]


@pytest.mark.requirement("cli:people:acts")
def test_people_are_called_by_their_addresses_and_found_by_them(staff: Staff) -> None:
    added = staff.ok("sam", "delegation", "add", "otto@example.com", "--role", "security", "--days", 2)
    row = next(line for line in staff.run("sam", "delegation", "list").out.splitlines() if added["id"] in line)
    assert row.split()[:3] == ["sam@example.com", "otto@example.com", "security"]
    assert added["holder"].startswith("psn_")
    assert staff.run("lena", "delegation", "end", added["id"]).code == 5
    assert staff.ok("sam", "delegation", "end", added["id"])["ended"] == added["id"]
    assert staff.run("sam", "delegation", "add", "nobody@example.com", "--role", "security", "--days", 2).code == 6
    assert {one["owner"] for one in staff.ok("una", "agent", "list", "--owner", "dana@example.com")["items"]}
    assert staff.ok("una", "agent", "list", "--owner", "sam@example.com")["items"] == []

    people = [{"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": "gone@example.com"}}]
    assert staff.run("ada", "apply", "-f", staff.file("gone.yaml", *people)).code == 0
    assert staff.run("lena", "person", "leave", "gone@example.com", "--reason", "r").code == 5
    assert staff.run("ada", "person", "leave", "gone@example.com", "--reason", "moved on").code == 0
    assert staff.run("ada", "person", "link", "gone@example.com").code != 0
    (grant,) = (one["id"] for one in staff.ok("ada", "role", "list")["items"] if one["email"] == "otto@example.com")
    assert staff.run("lena", "role", "revoke", grant, "--reason", "r").code == 5
    group = {"apiVersion": "accredit/v1", "kind": "Group", "metadata": {"name": "leads"},
             "spec": {"members": ["lena@example.com"]}}  # fmt: skip
    asked = staff.ok("ada", "apply", "-f", staff.file("group.yaml", group), code=3)["items"][0]
    assert staff.vote("mira", asked["approval"], "--approve").code == 0
    assert re.search(r"^leads +lena@example.com", staff.run("ada", "group", "list").out, re.MULTILINE)


@pytest.mark.requirement("cli:output:pages")
def test_a_long_list_says_how_to_go_on(staff: Staff) -> None:
    seen: list[str] = []
    words: list[object] = []
    for _ in range(50):
        page = staff.run("una", "agent", "list", "--limit", 1, *words)
        seen += [line.split()[-1] for line in page.out.splitlines()[1:]]
        further = re.search(r"there is more: --after '(\S+)'", page.err)
        if further is None:
            break
        words = ["--after", further[1]]
    assert len(seen) == len(set(seen))
    assert sorted(seen) == sorted(one["id"] for one in staff.ok("una", "agent", "list")["items"])
    newest = staff.run("una", "audit", "tail", "--limit", 1)
    before = re.search(r"there is more: --before '(\d+)'", newest.err)
    assert before is not None
    older = staff.ok("una", "audit", "tail", "--limit", 1, "--before", before[1])["items"][0]
    assert older["seq"] < int(before[1])


@pytest.mark.requirement("cli:hold:view")
def test_a_hold_is_answered_in_the_role_that_is_named(staff: Staff) -> None:
    told = staff.place.call("refund-desk", "refund_order", {"order_id": "o-7", "cents": 900}).structured_content
    hold = str(told["hold"])
    seen = staff.ok("bo", "hold", "get", hold)["view_digest"]
    other = staff.run("bo", "hold", "approve", hold, "--view-digest", seen, "--role", "security")
    assert (other.code, "by `security`" in other.err) == (1, True)
    assert staff.run("sam", "hold", "approve", hold, "--view-digest", seen).code == 5
    granted = staff.ok("bo", "hold", "approve", hold, "--view-digest", seen, "--role", "business-owner")
    assert granted["state"] == "granted"
