"""Owners and users who lose a right, in a company that runs: what their agents may do for them shrinks with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from accredit.demo.world import DemoAgent
from accredit.enforcement.model import Admitted, Call, CallEnd, CallResult
from accredit.identity.model import Principal, VerifiedUser
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, ServerName
from accredit.registry.model import Environment
from tests.api.company import agent, assessment
from tests.api.test_scim import Provisioned, provisioned

_COUNT: Final = "crm/count_tickets"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    groups: list[dict[str, Any]] = [
        {"name": "Counters", "tools": [_COUNT]},
        {"name": "Support", "userRoles": ["customer-support"]},
        {"name": "Finance", "team": "finance"},
        {"name": "Leads", "group": "ai-leads"},
        {"name": "Staff", "group": "staff"},
    ]
    with provisioned(tmp_path_factory.mktemp("movers") / "data", groups) as made:
        yield made


def _enrolled(place: Provisioned, name: str, **spec: Any) -> DemoAgent:
    place.firm.apply("dana", agent(name, environment="development", **spec))
    return place.firm.enrolled(f"development/{name}", confirmed=False)


def _in(place: Provisioned, group: str, user: dict[str, Any]) -> dict[str, Any]:
    """Put somebody into a group, which is made if it is not there: the group."""
    wanted = {"filter": f'displayName eq "{group}"'}
    found = place.scim.get("/Groups", params=wanted).json()["Resources"] or [place.group(group)]
    place.patch(f"/Groups/{found[0]['id']}", {"op": "add", "path": "members", "value": [{"value": user["id"]}]})
    return dict(found[0])


def _out(place: Provisioned, group: dict[str, Any], user: dict[str, Any]) -> None:
    place.patch(f"/Groups/{group['id']}", {"op": "remove", "path": f'members[value eq "{user["id"]}"]'})


def _of(place: Provisioned, name: str) -> dict[str, Any]:
    """The user of that address, made if it is not there."""
    found = place.scim.get("/Users", params={"filter": f'userName eq "{name}@example.com"'}).json()["Resources"]
    made = dict(found[0]) if found else place.user(name)
    _in(place, "Staff", made)  # whoever is in no group that gives anything is signed out
    return made


@pytest.mark.requirement("people:mover:owner")
def test_an_agent_loses_with_its_owners_right_exactly_that_tool_and_has_it_back_with_the_right(
    place: Provisioned,
) -> None:
    firm = place.firm
    counter = _enrolled(place, "counter", tools=("count_tickets", "export_tickets"))
    assert firm.call(counter, "export_tickets", {"pages": 1})["result"]
    user = _of(place, "dana")
    _in(place, "Finance", user)
    _out(place, _in(place, "Counters", user), user)
    assert firm.call(counter, "count_tickets", {})["code"] == "right_lost", "who is not in the group has no right"
    group = _in(place, "Counters", user)
    assert "code" not in firm.call(counter, "count_tickets", {})
    _out(place, group, user)
    refused = firm.call(counter, "count_tickets", {})
    assert refused["code"] == "right_lost"
    assert "agent's owner" in refused["detail"]
    assert refused["policy"] == [f"restriction/right/owner/{_COUNT}"]
    assert firm.call(counter, "export_tickets", {"pages": 1})["result"], "nothing else is narrowed"
    listed = firm.place.do(_listed(counter))
    assert ("count_tickets" in listed, "export_tickets" in listed) == (False, True)
    explained = firm.get("dana", f"decisions/{refused['decision_id']}/explanation")
    assert "right_lost" in str(explained)
    (finding,) = (one for one in firm.get("dana", "findings")["items"] if one["agent_name"] == "development/counter")
    assert (finding["kind"], finding["owner"]) == ("moved", firm.ids["dana"])
    alerts = firm.get("dana", "alerts", agent="development/counter")["items"]
    assert [one["evidence"]["tools"] for one in alerts if one["kind"] == "right-lost"] == [[_COUNT]]
    shown = firm.get("dana", "agents/development/counter")["restrictions"]
    assert [(one["kind"], one["tool"]) for one in shown] == [("right", _COUNT)]
    _in(place, "Counters", user)
    assert "code" not in firm.call(counter, "count_tickets", {})
    open_ = [one["agent_name"] for one in firm.get("sam", "findings")["items"]]
    assert "development/counter" not in open_
    started = firm.post("una", "policy/replay", {"days": 1})["id"]
    for _ in range(200):
        shown = firm.get("una", f"policy/simulations/{started}")
        if shown["state"] != "running":
            break
        threading.Event().wait(0.05)
    assert shown["proof"]["exact"] is True, "what was decided then comes out as it did, whatever the directory says now"


@pytest.mark.requirement("people:mover:owner")
def test_what_could_not_be_told_when_a_right_was_lost_is_told_by_the_next_round(
    place: Provisioned, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm, room = place.firm, place.firm.place.plane.room
    user = _of(place, "dana")
    group = _in(place, "Counters", user)
    _enrolled(place, "ledger")

    async def down(_: Any) -> None:
        raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the log is down")

    with monkeypatch.context() as broken:
        broken.setattr(room.discovery, "owner_moved", down)
        place.scim.patch(f"/Groups/{group['id']}", json={
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "remove", "path": f'members[value eq "{user["id"]}"]'}],
        })  # fmt: skip
    firm.place.do(room.directories.round())
    open_ = [one["agent_name"] for one in firm.get("dana", "findings")["items"] if one["kind"] == "moved"]
    assert "development/ledger" in open_
    _in(place, "Counters", user)


def _lees() -> dict[str, Any]:
    tools = ("export_tickets",)
    return agent("lees", environment="development", owner="lee@example.com", backupOwner=None, tools=tools)


async def _listed(instance: DemoAgent) -> list[str]:
    async with instance.connected(await instance.token()) as client:
        return [tool.name for tool in (await client.list_tools()).tools]


@pytest.mark.requirement("people:mover:user")
def test_a_user_has_the_roles_that_the_directory_gives_whatever_the_token_says(place: Provisioned) -> None:
    firm = place.firm
    when = {"userRole": "customer-support"}
    document = agent("desk", environment="development", tools=("export_tickets",))
    document["spec"]["tools"][0]["when"] = when
    firm.apply("dana", document)
    desk = firm.enrolled("development/desk", confirmed=False)

    def call(user: str) -> Any:
        async def calling() -> Any:
            token = await desk.token(user=user, roles=("customer-support", "other"))
            return await desk.call("export_tickets", {"pages": 1}, token=token)

        return firm.place.do(calling()).structured_content

    user = _of(place, "kim")
    refused = call("kim@example.com")
    assert refused["code"] == "user_role_required"
    assert "the directory does not give the user `customer-support`" in refused["detail"]
    group = _in(place, "Support", user)
    token = firm.place.do(desk.token(user="kim@example.com", roles=("customer-support",)))
    assert "result" in call("kim@example.com")
    _out(place, group, user)

    async def again() -> Any:
        return await desk.call("export_tickets", {"pages": 1}, token=token)

    held = firm.place.do(again()).structured_content
    assert held["code"] == "user_role_required", "also with a token that was made before"
    firm.place.do(firm.place.plane.enforcer.drained())
    (record,) = firm.get("una", "audit/records", kind="decision", limit=1)["items"]
    assert record["body"]["withdrawn"] == ["customer-support"]
    place.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": False})
    assert firm.place.do(again()).structured_content["code"] == "user_gone"
    place.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": True})
    _in(place, "Support", user)
    assert "result" in call("kim@example.com")


@pytest.mark.requirement("people:mover:user")
def test_nobody_acts_for_a_user_whom_the_directory_removed(place: Provisioned) -> None:
    firm = place.firm
    courier = _enrolled(place, "courier", tools=("export_tickets",))

    def call() -> Any:
        return firm.call(courier, "export_tickets", {"pages": 1}, user="rob@example.com")

    user = _of(place, "rob")
    assert "result" in call()
    assert place.scim.delete(f"/Users/{user['id']}").status_code == 204
    assert call()["code"] == "user_gone", "to be removed is no less than to be switched off"
    firm.place.do(firm.place.plane.room.directories.round())
    assert call()["code"] == "user_gone", "and stays so"
    _of(place, "rob")
    assert "result" in call(), "and whoever is there again is nobody who is gone"


@pytest.mark.requirement("people:mover:user")
def test_an_agent_does_for_a_user_what_that_user_has_a_right_to(place: Provisioned) -> None:
    firm = place.firm
    owner, user = _of(place, "dana"), _of(place, "ulli")
    _in(place, "Counters", owner)
    teller = _enrolled(place, "teller")
    assert "code" not in firm.call(teller, "count_tickets", {}), "for nobody, by the owner's right"
    refused = firm.call(teller, "count_tickets", {}, user="ulli@example.com")
    assert refused["code"] == "right_lost"
    assert refused["policy"] == [f"restriction/right/user/{_COUNT}"]
    group = _in(place, "Counters", user)
    assert "code" not in firm.call(teller, "count_tickets", {}, user="ulli@example.com")
    assert firm.call(teller, "count_tickets", {}, user="stranger@example.com")["code"] == "right_lost"
    _out(place, group, user)
    assert firm.call(teller, "count_tickets", {}, user="ulli@example.com")["code"] == "right_lost"


@pytest.mark.requirement("people:mover:findings")
def test_an_owner_who_moves_to_another_team_opens_a_question_that_ends_when_it_is_not_so(place: Provisioned) -> None:
    firm = place.firm
    firm.apply("lee", _lees())
    user = _of(place, "lee")
    group = _in(place, "Finance", user)

    def moved() -> list[str]:
        found = firm.get("sam", "findings")["items"]
        return [one["agent_name"] for one in found if one["kind"] == "moved" and one["evidence"]["elsewhere"]]

    _out(place, group, user)
    assert "development/lees" in moved()
    firm.place.do(firm.place.plane.room.discovery.look())
    assert "development/lees" in moved()
    _in(place, "Finance", user)
    assert "development/lees" not in moved()


@pytest.mark.requirement("people:mover:votes")
def test_who_loses_a_role_loses_the_votes_they_gave_and_those_lent_by_them(place: Provisioned) -> None:
    firm = place.firm
    user = _of(place, "vito")
    group = _in(place, "Leads", user)
    vito = (place.person("vito@example.com") or {})["id"]
    firm.ids["vito"] = vito
    _in(place, "Finance", user)
    firm.clock.advance(31 * 86_400)  # until then whoever made the directory's key could be behind the account
    asked = firm.post("ada", "roles", {"role": "compliance", "group": "ai-leads"})
    firm.vote("mira", asked["approval"], "admin")
    firm.clock.advance(60)
    place.sign_in("vito")
    firm.clock.advance(31 * 86_400)
    document = agent("judged", tools=("read_customer",), data=["personal"], autonomy="acts-with-approval")
    request = firm.submitted(document)
    firm.post("dana", f"approvals/{request}/assessment", assessment(firm.ids["bo"]))
    firm.vote("vito", request, "compliance")
    wanted = firm.get("una", f"approvals/{request}")["missing"]
    assert "compliance" not in wanted
    _out(place, group, user)
    wanted = firm.get("una", f"approvals/{request}")["missing"]
    assert "compliance" in wanted


@pytest.mark.requirement("people:mover:owner")
def test_while_the_log_contradicts_what_a_directory_said_nothing_that_may_rest_on_it_is_let_through(
    place: Provisioned,
) -> None:
    snapshot = place.firm.place.plane.snapshots.current
    counted = snapshot.catalogue.agent_named(Environment.DEVELOPMENT, "ticket-counter")
    assert counted is not None
    server = ServerName("crm")
    assert snapshot.unproven_for(counted.id, server, "count_tickets") is None
    for kind in ("directory", "directory_group", "directory_user"):
        doubted = replace(snapshot, unproven=frozenset({(kind, "x")}))
        assert doubted.unproven_for(counted.id, server, "count_tickets") is Code.STATE_UNPROVEN


@pytest.mark.requirement("people:mover:owner", "people:mover:user")
def test_what_is_in_flight_when_a_right_or_a_role_is_taken_away_is_cancelled_and_not_sent(place: Provisioned) -> None:
    firm = place.firm
    owner, user = _of(place, "dana"), _of(place, "flo")
    counters, support = _in(place, "Counters", owner), _in(place, "Support", user)
    _in(place, "Counters", user)
    runner = _enrolled(place, "runner", tools=("count_tickets", "export_tickets"))
    enforcer = firm.place.plane.enforcer

    async def begun(tool: str, arguments: dict[str, Any]) -> tuple[Admitted, list[Code]]:
        token = await runner.token(user="flo@example.com", roles=("customer-support",))
        principal = enforcer.authenticate(f"Bearer {token}", path="/mcp/crm", source="127.0.0.1")
        call = Call(principal, ServerName("crm"), tool, arguments, protocol="mcp", source="127.0.0.1")
        admitted = await enforcer.admit(call)
        assert isinstance(admitted, Admitted), admitted
        codes: list[Code] = []
        admitted.cancel = codes.append
        return admitted, codes

    async def over(admitted: Admitted, code: Code) -> None:
        enforcer.settle(admitted, CallResult(CallEnd.CANCELLED, code, sent=False))

    counting, right = firm.place.do(begun("count_tickets", {}))
    exporting, role = firm.place.do(begun("export_tickets", {"pages": 1}))
    _out(place, counters, owner)
    assert (right, role) == ([Code.RIGHT_LOST], []), "what needs no right goes on"
    with pytest.raises(UnavailableError, match="took a right away"):
        counting.recheck()
    exporting.recheck()
    _out(place, support, user)
    assert role == [Code.USER_ROLE_REQUIRED]
    with pytest.raises(UnavailableError, match="took a right away"):
        exporting.recheck()
    place.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": False})
    for admitted, codes in ((counting, right), (exporting, role)):
        assert len(codes) == 1, "once"
        firm.place.do(over(admitted, codes[0]))


@pytest.mark.requirement("people:scim:one-person")
def test_whoever_a_user_is_by_the_directory_answers_no_hold_of_a_call_made_for_them(place: Provisioned) -> None:
    emails = [{"value": "nick@example.com", "primary": True}]
    place.user("kept-apart", userName="n-4711", emails=emails)
    snapshot = place.firm.place.plane.snapshots.current
    user = VerifiedUser("https://id.example.com", "n-4711", frozenset(), {})
    principal = Principal(AgentId("agt_x"), CredentialId("crd_x"), 0, 0, "", user=user, registrations=("directory",))
    assert snapshot.barred_for(principal) == {place.firm.ids["nick"]: "user"}
    elsewhere = replace(principal, registrations=("another",))
    assert snapshot.barred_for(elsewhere) == {}
