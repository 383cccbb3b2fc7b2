"""Directories as Entra and Okta are: the shapes that their public documents show, against a company that runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.api.company import Company, agent, company

_USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
_GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
_ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
_PATCH: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"


def _directory(name: str, groups: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    head = {"apiVersion": "accredit/v1", "kind": "Directory", "metadata": {"name": name}}
    return {**head, "spec": {"groups": groups, **spec}}


@dataclass
class Provisioned:
    """A company with a directory that provisions people."""

    firm: Company
    stack: contextlib.ExitStack
    scim: httpx2.Client = field(init=False)

    def map(self, name: str, groups: list[dict[str, Any]], **spec: Any) -> None:
        """Apply the mapping, by one administrator, and have the other sign it off."""
        (pending,) = self.firm.apply("ada", _directory(name, groups, **spec))
        if pending["result"] == "pending":
            self.firm.vote("mira", pending["approval"], "admin")
        self.firm.clock.advance(1)

    def key(self, name: str) -> httpx2.Client:
        made = self.firm.post("ada", f"directories/{name}/keys")
        headers = {"authorization": f"Bearer {made['secret']}", "content-type": "application/scim+json"}
        base = f"{self.firm.place.url}/scim/v2"
        return self.stack.enter_context(httpx2.Client(base_url=base, headers=headers, trust_env=False, timeout=30))

    def user(self, name: str, **more: Any) -> dict[str, Any]:
        """A user as Entra creates one."""
        form = {
            "schemas": [_USER, _ENTERPRISE],
            "externalId": f"ext-{name}",
            "userName": f"{name}@example.com",
            "active": True,
            "emails": [{"primary": True, "type": "work", "value": f"{name}@example.com"}],
            "meta": {"resourceType": "User"},
            "name": {"formatted": name, "familyName": "F", "givenName": "G"},
            "roles": [],
            **more,
        }
        answer = self.scim.post("/Users", json=form)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def group(self, name: str, *members: dict[str, Any]) -> dict[str, Any]:
        form = {"schemas": [_GROUP], "displayName": name, "members": [{"value": one["id"]} for one in members]}
        answer = self.scim.post("/Groups", json=form)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def patch(
        self, path: str, *operations: dict[str, Any], status: int = 200, match: str | None = None
    ) -> dict[str, Any]:
        body = {"schemas": [_PATCH], "Operations": list(operations)}
        answer = self.scim.patch(path, json=body, headers={} if match is None else {"if-match": match})
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def members(self, group: str) -> list[str]:
        """Who is in a group of ours."""
        found = [one for one in self.firm.get("una", "groups")["items"] if one["name"] == group]
        return sorted(found[0]["members"]) if found else []

    def sign_in(self, name: str) -> None:
        """Somebody signs in anew, by a link of an administrator's."""
        firm = self.firm
        link = firm.post("ada", f"persons/{firm.ids[name]}/sign-in-link")["link"]
        firm.clock.advance(60)
        with firm.place.client("") as http:
            token = http.post("/api/v1/login", json={"link": link.partition("#")[2]}).json()["token"]
            life = {"name": "lasting", "scopes": ["admin", "read"], "days": 90}
            lasting = http.post("/api/v1/tokens", json=life, headers={"authorization": f"Bearer {token}"}).json()
        firm.people[name] = firm.stack.enter_context(firm.place.client(lasting["token"]))

    def person(self, address: str) -> dict[str, Any] | None:
        return next((one for one in self.firm.get("una", "persons")["items"] if one["email"] == address), None)


_MAPPED: Final[list[dict[str, Any]]] = [
    {"name": "AI Leads", "group": "ai-leads"},
    {"name": "CRM Users", "userRoles": ["customer-support"], "tools": ["crm/count_tickets"]},
    {"name": "Finance", "team": "finance"},
]


@contextlib.contextmanager
def provisioned(data: Path, groups: list[dict[str, Any]]) -> Iterator[Provisioned]:
    """A company whose users of the issuer `directory` come from one that gives this."""
    with company(data) as firm, contextlib.ExitStack() as stack:
        made = Provisioned(firm, stack)
        made.map("entra", groups, issuer="directory", subject="userName")
        made.scim = made.key("entra")
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    with provisioned(tmp_path_factory.mktemp("scim") / "data", _MAPPED) as made:
        yield made


def _problem(answer: Any, status: int, scim_type: str = "") -> dict[str, Any]:
    """Check that it is a refusal of RFC 7644 §3.12."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/scim+json"
    found: dict[str, Any] = answer.json()
    assert found["schemas"] == [_ERROR]
    assert found["status"] == str(status)
    assert found.get("scimType", "") == scim_type, found
    assert found["detail"]
    return found


@pytest.mark.requirement("people:scim:protocol")
def test_a_directory_learns_what_the_server_can_do(place: Provisioned) -> None:
    config = place.scim.get("/ServiceProviderConfig").json()
    assert (config["patch"]["supported"], config["bulk"]["supported"], config["etag"]["supported"]) == (
        True,
        False,
        True,
    )
    types = place.scim.get("/ResourceTypes").json()["Resources"]
    assert [one["id"] for one in types] == ["User", "Group"]
    assert place.scim.get("/ResourceTypes/User").json()["schemaExtensions"][0]["schema"] == _ENTERPRISE
    for document in place.scim.get("/Schemas").json()["Resources"]:
        assert place.scim.get(f"/Schemas/{document['id']}").json() == document
    names = {one["name"] for one in place.scim.get(f"/Schemas/{_USER}").json()["attributes"]}
    assert "password" not in names


@pytest.mark.requirement("people:scim:key")
def test_a_key_is_good_for_its_directory_and_for_nothing_else(place: Provisioned) -> None:
    firm = place.firm
    url = firm.place.url
    for authorization in ("", "Bearer", "Bearer accd_none", "Basic x", f"Bearer {firm.place.token}"):
        with httpx2.Client(base_url=url, headers={"authorization": authorization}, trust_env=False) as http:
            answer = http.get("/scim/v2/Users")
            _problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
    with httpx2.Client(base_url=url, headers={"authorization": place.scim.headers["authorization"]}) as http:
        for path in ("/api/v1/persons", "/api/v1/whoami", "/metrics", "/console"):
            assert http.get(path).status_code in {401, 303}, path
    made = firm.post("ada", "directories/entra/keys", {"days": 1})
    other = httpx2.Client(base_url=f"{url}/scim/v2", headers={"authorization": f"Bearer {made['secret']}"})
    assert other.get("/Users").status_code == 200
    (listed,) = (one for one in firm.get("una", "directories")["items"] if one["name"] == "entra")
    assert made["id"] in [one["id"] for one in listed["keys"]]
    assert made["secret"] not in firm["una"].get("/api/v1/directories").text
    firm.post("ada", f"directories/entra/keys/{made['id']}/revoke", {"reason": "over"})
    _problem(other.get("/Users"), 401)
    other.close()
    assert firm.attempt("sam", "directories/entra/keys") == (403, "not_authorised")
    assert firm.attempt("ada", "directories/none/keys") == (404, "not_found")


@pytest.mark.requirement("people:scim:entra")
def test_a_life_of_a_user_as_entra_sends_it(place: Provisioned) -> None:
    # Entra asks before it creates
    empty = place.scim.get("/Users", params={"filter": 'externalId eq "0a21f0f2"'}).json()
    assert (empty["totalResults"], empty["Resources"]) == (0, [])
    made = place.user("eva", externalId="0a21f0f2", **{_ENTERPRISE: {"department": "Support"}})
    assert made["id"].startswith("dus_")
    assert made["meta"]["location"].endswith(f"/scim/v2/Users/{made['id']}")
    person = place.person("eva@example.com")
    assert person is not None
    assert (person["bot"], person["left"]) == (False, False)
    found = place.scim.get("/Users", params={"filter": 'userName eq "EVA@example.com"'}).json()
    assert [one["id"] for one in found["Resources"]] == [made["id"]]
    # with the feature flag for SCIM compliance off, values are texts and operations begin with a capital letter
    changed = place.patch(
        f"/Users/{made['id']}",
        {"op": "Add", "path": f"{_ENTERPRISE}:employeeNumber", "value": "701984"},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "eva@example.com"},
        {"op": "Replace", "path": "name.familyName", "value": "Newname"},
        {"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "+1 555"},
        {"op": "Replace", "path": "displayName", "value": "Eva Newname"},
    )
    assert changed["name"]["familyName"] == "Newname"
    assert changed[_ENTERPRISE]["employeeNumber"] == "701984"
    assert "phoneNumbers" not in changed
    off = place.patch(f"/Users/{made['id']}", {"op": "Replace", "path": "active", "value": "False"})
    assert off["active"] is False
    assert (place.person("eva@example.com") or {})["left"] is True
    on = place.patch(f"/Users/{made['id']}", {"op": "Replace", "path": "active", "value": "True"})
    assert on["active"] is True
    assert (place.person("eva@example.com") or {})["left"] is False
    assert place.scim.delete(f"/Users/{made['id']}").status_code == 204
    _problem(place.scim.get(f"/Users/{made['id']}"), 404)
    _problem(place.scim.delete(f"/Users/{made['id']}"), 404)
    assert (place.person("eva@example.com") or {})["left"] is True


@pytest.mark.requirement("people:scim:okta")
def test_a_life_of_a_user_and_a_group_as_okta_sends_it(place: Provisioned) -> None:
    form = {
        "schemas": [_USER],
        "userName": "olga@example.com",
        "name": {"givenName": "Olga", "familyName": "K"},
        "emails": [{"primary": True, "value": "olga@example.com", "type": "work"}],
        "displayName": "Olga K",
        "locale": "en-US",
        "externalId": "00ujl29u0le5T6Aj10h7",
        "groups": [],
        "password": "1mz050nq",
        "active": True,
    }
    answer = place.scim.post("/Users", json=form)
    assert answer.status_code == 201, answer.text
    assert "1mz050nq" not in answer.text
    assert "1mz050nq" not in place.scim.get(f"/Users/{answer.json()['id']}").text
    id_ = answer.json()["id"]
    _problem(place.scim.post("/Users", json=form), 409, "uniqueness")
    page = place.scim.get("/Users", params={"startIndex": "1", "count": "1"}).json()
    assert (page["startIndex"], page["itemsPerPage"], len(page["Resources"])) == (1, 1, 1)
    whole = {**form, "id": id_, "displayName": "Olga Kay", "meta": {}, "groups": []}
    assert place.scim.put(f"/Users/{id_}", json=whole).json()["displayName"] == "Olga Kay"
    group = place.group("Everyone", {"id": id_})
    named = place.scim.get("/Groups", params={"filter": 'displayName eq "everyone"'}).json()["Resources"]
    assert [one["id"] for one in named] == [group["id"]]
    renamed = place.patch(
        f"/Groups/{group['id']}", {"op": "replace", "value": {"id": group["id"], "displayName": "Test SCIMv2"}}
    )
    assert renamed["displayName"] == "Test SCIMv2"
    bare = place.patch(f"/Groups/{group['id']}", {"op": "remove", "path": f'members[value eq "{id_}"]'})
    assert "members" not in bare
    again = place.patch(f"/Groups/{group['id']}", {"op": "remove", "path": f'members[value eq "{id_}"]'})
    assert again == bare, "a request that is sent again changes nothing"
    place.patch(f"/Users/{id_}", {"op": "replace", "value": {"active": False}})
    assert (place.person("olga@example.com") or {})["left"] is True


@pytest.mark.requirement("people:scim:mapped")
def test_a_group_gives_what_a_mapping_says_and_nothing_else(place: Provisioned) -> None:
    firm = place.firm
    lead, other = place.user("leander"), place.user("ute")
    people = {name: (place.person(f"{name}@example.com") or {})["id"] for name in ("leander", "ute")}
    for name in ("admin", "admins", "security", "ai-leads", "Domain Admins"):
        place.group(name, lead, other)
    assert place.members("ai-leads") == [], "what is called like a group of ours is not it"
    group = place.group("AI Leads", lead)
    assert place.members("ai-leads") == [people["leander"]]
    firm.clock.advance(1)
    # roles are given to it as to any group: by two persons
    asked = firm.post("ada", "roles", {"role": "team-lead", "group": "ai-leads", "team": "finance"})
    assert firm.attempt_vote("ada", asked["approval"], "admin")[0] == 403
    # who is in it changes meanwhile, which the directory says: that it does stands in what is signed off
    assert '"kept_by": "entra"' in firm["mira"].get(f"/api/v1/approvals/{asked['approval']}").json()["view"]
    late = {"op": "add", "path": "members", "value": [{"value": other["id"]}]}
    place.patch(f"/Groups/{group['id']}", late)
    place.patch(f"/Groups/{group['id']}", {"op": "remove", "path": f'members[value eq "{other["id"]}"]'})
    place.patch(f"/Groups/{group['id']}", late)
    firm.vote("mira", asked["approval"], "admin")
    granted = [one["group"] for one in firm.get("una", "roles")["items"] if one["role"] == "team-lead"]
    assert "ai-leads" in granted
    place.patch(f"/Groups/{group['id']}", {"op": "remove", "path": f'members[value eq "{other["id"]}"]'})
    placed = {"op": "Add", "path": "members", "value": [{"value": other["id"]}]}
    place.patch(f"/Groups/{group['id']}", placed)
    place.patch(f"/Groups/{group['id']}", placed)
    assert place.members("ai-leads") == sorted(people.values())
    gone = {"op": "Remove", "path": "members", "value": [{"value": lead["id"]}]}
    place.patch(f"/Groups/{group['id']}", gone)
    assert place.members("ai-leads") == [people["ute"]]
    document = {
        "apiVersion": "accredit/v1", "kind": "Group", "metadata": {"name": "ai-leads"},
        "spec": {"members": ["nick@example.com"]},
    }  # fmt: skip
    files = {"files": [{"name": "g.json", "text": json.dumps(document)}]}
    assert firm.attempt("ada", "apply", files) == (400, "conflict"), "its members are the directory's to say"
    place.scim.delete(f"/Groups/{group['id']}")
    assert place.members("ai-leads") == []


@pytest.mark.requirement("people:scim:mapped")
def test_a_mapping_takes_two_persons_and_keeps_no_group_that_people_composed(place: Provisioned) -> None:
    firm = place.firm
    (pending,) = firm.apply("ada", _directory("second", [{"name": "G", "group": "fresh"}]))
    assert pending["result"] == "pending"
    assert "second" not in [one["name"] for one in firm.get("una", "directories")["items"]]
    assert firm.attempt_vote("ada", pending["approval"], "admin")[0] == 403
    firm.vote("mira", pending["approval"], "admin")
    assert "second" in [one["name"] for one in firm.get("una", "directories")["items"]]
    (composed,) = firm.apply("ada", {
        "apiVersion": "accredit/v1", "kind": "Group", "metadata": {"name": "by-hand"},
        "spec": {"members": ["nick@example.com"]},
    })  # fmt: skip
    firm.vote("mira", composed["approval"], "admin")
    for groups in (
        [{"name": "G", "group": "by-hand"}],
        [{"name": "G", "group": "ai-leads"}],
        [{"name": "G"}, {"name": "g"}],
        [{"name": "G", "tools": ["crm/none"]}],
        [{"name": "G", "team": "none"}],
        [{"name": "G", "userRoles": ["r"]}],
    ):
        text = json.dumps(_directory("second", groups))
        status, code = firm.attempt("ada", "apply", {"files": [{"name": "d.json", "text": text}]})
        assert status == 400, (groups, code)


@pytest.mark.requirement("people:scim:leaves")
def test_whoever_the_directory_takes_away_has_nothing_left_and_comes_back_with_nothing(place: Provisioned) -> None:
    firm = place.firm
    made = place.user("max")
    person = (place.person("max@example.com") or {})["id"]
    link = firm.post("ada", f"persons/{person}/sign-in-link")["link"]
    firm.clock.advance(60)
    with firm.place.client("") as http:
        token = http.post("/api/v1/login", json={"link": link.partition("#")[2]}).json()["token"]
    asked = firm.post("ada", "roles", {"role": "operator", "person": person})
    # both administrators stand behind the account lately: the other one still votes, for they made nothing of it
    firm.vote("mira", asked["approval"], "admin")
    with firm.place.client(token) as http:
        assert http.get("/api/v1/persons").status_code == 200
        firm.apply("otto", agent("maxs", environment="development", owner="max@example.com"))
        place.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": False})
        assert http.get("/api/v1/whoami").status_code == 401
        waiting = [one["agent_name"] for one in firm.get("una", "successions")["items"]]
        assert "development/maxs" in waiting, "whoever answers for what they left is asked at once"
        place.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": True})
        assert http.get("/api/v1/whoami").status_code == 401, "an ended credential stays ended"
    roles = [one for one in firm.get("una", "roles")["items"] if one["person"] == person]
    assert roles == [], "what they held is not theirs any more"
    assert (place.person("max@example.com") or {})["id"] == person
    firm.place.do(firm.place.plane.room.people.successions.round())
    waiting = [one["agent_name"] for one in firm.get("una", "successions")["items"]]
    assert "development/maxs" not in waiting


@pytest.mark.requirement("people:scim:leaves")
def test_whoever_an_administrator_says_left_does_not_come_back_by_a_directory(place: Provisioned) -> None:
    made = place.user("hana")
    person = (place.person("hana@example.com") or {})["id"]
    place.firm.post("ada", f"persons/{person}/leave", {"reason": "dismissed"})
    place.patch(f"/Users/{made['id']}", {"op": "replace", "path": "displayName", "value": "Hana"})
    bare = {"schemas": [_USER], "userName": "hana@example.com"}
    place.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": False})
    replaced = place.scim.put(f"/Users/{made['id']}", json=bare)
    assert replaced.json()["active"] is False, "to be replaced without a word of it makes nobody active"
    refused = place.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": True}, status=409)
    assert refused["scimType"] == "mutability"
    assert (place.person("hana@example.com") or {})["left"] is True


@pytest.mark.requirement("people:scim:one-person")
def test_a_declared_person_and_a_user_with_that_address_are_one(place: Provisioned) -> None:
    firm = place.firm
    before = firm.ids["nick"]
    made = place.user("nick", emails=[{"primary": True, "value": "nick@EXAMPLE.com", "type": "work"}])
    assert (place.person("nick@example.com") or {})["id"] == before
    again = {"schemas": [_USER], "userName": "other", "emails": [{"value": "nick@example.com"}]}
    _problem(place.scim.post("/Users", json=again), 409, "uniqueness")
    case = {"schemas": [_USER], "userName": "NICK2", "emails": [{"value": "Nick@example.com"}]}
    _problem(place.scim.post("/Users", json=case), 409, "uniqueness")
    _problem(place.scim.post("/Users", json={"schemas": [_USER], "userName": "no address"}), 400, "invalidValue")
    taken = {"op": "replace", "path": "emails", "value": [{"value": "dana@example.com", "primary": True}]}
    assert place.patch(f"/Users/{made['id']}", taken, status=409)["scimType"] == "uniqueness"
    boss = place.user("berta")
    place.patch(f"/Users/{made['id']}", {"op": "Add", "path": f"{_ENTERPRISE}:manager", "value": boss["id"]})
    berta = (place.person("berta@example.com") or {})["id"]
    assert (place.person("nick@example.com") or {})["manager"] == berta
    document = {"apiVersion": "accredit/v1", "kind": "Person", "spec": {"email": "nick@example.com"}}
    firm.apply("ada", document)
    assert (place.person("nick@example.com") or {})["manager"] == berta, "what it leaves out it says nothing about"
    text = json.dumps({**document, "spec": {"email": "nick@example.com", "manager": "dana@example.com"}})
    files = [{"name": "p.json", "text": text}]
    assert firm.attempt("ada", "apply", {"files": files}) == (400, "conflict")
    place.patch(f"/Users/{made['id']}", {"op": "remove", "path": f"{_ENTERPRISE}:manager"})
    assert (place.person("nick@example.com") or {})["manager"] is None
    firm.apply("ada", {**document, "spec": {"email": "nick@example.com", "manager": "dana@example.com"}})
    assert (place.person("nick@example.com") or {})["manager"] == firm.ids["dana"]


@pytest.mark.requirement("people:scim:administrators")
def test_a_directory_never_leaves_fewer_than_two_administrators_and_what_waits_is_done_later(tmp_path: Path) -> None:
    with provisioned(tmp_path / "data", _MAPPED) as place:
        _never_fewer(place)


def _never_fewer(place: Provisioned) -> None:
    firm = place.firm
    made = place.user("mira")
    answer = place.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": False})
    assert answer["active"] is False
    assert (place.person("mira@example.com") or {})["left"] is False
    assert firm["mira"].get("/api/v1/whoami").status_code == 401, "nothing of theirs works all the same"
    place.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": True})
    assert place.scim.delete(f"/Users/{made['id']}").status_code == 204
    _problem(place.scim.get(f"/Users/{made['id']}"), 404)
    assert (place.person("mira@example.com") or {})["left"] is False
    again = place.user("mira")
    assert again["id"] != made["id"]
    assert (place.person("mira@example.com") or {})["id"] == firm.ids["mira"]
    firm.place.do(firm.place.plane.room.directories.round())
    assert (place.person("mira@example.com") or {})["left"] is False
    assert place.scim.delete(f"/Users/{again['id']}").status_code == 204
    place.sign_in("mira")
    firm.clock.advance(31 * 86_400)  # until then whoever made that link could be behind her account
    firm.vote("mira", firm.post("ada", "roles", {"role": "admin", "person": firm.ids["nick"]})["approval"], "admin")
    assert (place.person("mira@example.com") or {})["left"] is False
    firm.place.do(firm.place.plane.room.directories.round())
    assert (place.person("mira@example.com") or {})["left"] is True, "once there are enough of them"


@pytest.mark.requirement("people:scim:groups")
def test_groups_that_contain_each_other_and_members_that_nobody_knows(place: Provisioned) -> None:
    user = place.user("greta")
    person = (place.person("greta@example.com") or {})["id"]
    inner = place.group("Inner", user)
    lead = place.group("AI Leads")
    place.patch(f"/Groups/{lead['id']}", {"op": "add", "path": "members", "value": [{"value": inner["id"]}]})
    assert place.members("ai-leads") == [person]
    place.patch(f"/Groups/{inner['id']}", {"op": "add", "path": "members", "value": [{"value": lead["id"]}]})
    assert place.members("ai-leads") == [person]
    before = place.scim.get(f"/Groups/{inner['id']}").json()
    for stranger in ("dus_none", "psn_" + "0" * 32, lead["id"] + "x"):
        operations: list[dict[str, Any]] = [
            {"op": "remove", "path": "members"},
            {"op": "add", "path": "members", "value": [{"value": stranger}]},
        ]
        place.patch(f"/Groups/{inner['id']}", *operations, status=400)
    assert place.scim.get(f"/Groups/{inner['id']}").json() == before, "all of it or nothing"
    own = {"op": "add", "path": "members", "value": [{"value": inner["id"]}]}
    place.patch(f"/Groups/{inner['id']}", own, status=400)
    _problem(place.scim.post("/Groups", json={"schemas": [_GROUP], "displayName": "INNER"}), 409, "uniqueness")
    place.scim.delete(f"/Users/{user['id']}")
    assert "members" not in place.scim.get(f"/Groups/{lead['id']}").json() or place.members("ai-leads") == []
    shown = place.scim.get(f"/Groups/{inner['id']}").json()["members"]
    assert user["id"] not in [one["value"] for one in shown]
    for group in (inner, lead):
        place.scim.delete(f"/Groups/{group['id']}")


@pytest.mark.requirement("people:scim:versions")
def test_a_change_to_a_version_that_is_gone_is_refused(place: Provisioned) -> None:
    made = place.user("vera")
    path = f"/Users/{made['id']}"
    tag = place.scim.get(path).headers["etag"]
    assert tag == made["meta"]["version"]
    assert place.scim.get(path, headers={"if-none-match": tag}).status_code == 304
    place.patch(path, {"op": "replace", "path": "title", "value": "one"}, match=tag)
    body = {"schemas": [_PATCH], "Operations": [{"op": "replace", "path": "title", "value": "two"}]}
    _problem(place.scim.patch(path, json=body, headers={"if-match": tag}), 412)
    _problem(place.scim.delete(path, headers={"if-match": tag}), 412)
    assert place.scim.get(path).json()["title"] == "one"
    assert place.scim.patch(path, json=body, headers={"if-match": "*"}).status_code == 200
    assert place.scim.delete(path, headers={"if-match": place.scim.get(path).headers["etag"]}).status_code == 204


@pytest.mark.requirement("people:scim:malformed")
def test_what_is_malformed_is_refused_in_the_form_of_the_rfc_and_changes_nothing(place: Provisioned) -> None:
    made = place.user("mal")
    path = f"/Users/{made['id']}"
    before = place.scim.get(path).json()
    deep = "(" * 200 + 'userName eq "a"' + ")" * 200
    many = " or ".join(['userName eq "a"'] * 100)
    for text in ("", "userName", 'userName eq "a', "userName eq", 'nobody eq "x"', "userName xx 1", deep, many, "é",
                 'userName eq "a" and', 'emails[type eq "x"', "active gt 1", "password pr", "x" * 3_000):  # fmt: skip
        _problem(place.scim.get("/Users", params={"filter": text}), 400, "invalidFilter")
    for operation, scim_type in (
        ({"op": "jump", "path": "title", "value": "x"}, "invalidSyntax"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "replace", "path": "nobody", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "emails[", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": 'emails[type eq "home"].value', "value": "x"}, "noTarget"),
        ({"op": "replace", "path": "id", "value": "dus_x"}, "mutability"),
        ({"op": "remove", "path": "userName"}, "invalidValue"),
        ({"op": "replace", "path": "active", "value": "perhaps"}, "invalidValue"),
        ({"op": "replace", "path": "title", "value": "a\u202eb"}, "invalidValue"),
        ({"op": "replace", "path": "title", "value": {"a": 1}}, "invalidValue"),
        ({"op": "add", "path": "emails", "value": [{"value": f"{at}@x.de"} for at in range(40)]}, "tooMany"),
        ({"op": "replace", "path": "title"}, "invalidValue"),
    ):
        assert place.patch(path, operation, status=400).get("scimType") == scim_type, operation
    kind = {"content-type": "application/scim+json"}
    for content, status in ((b"", 400), (b"[]", 400), (b"{", 400), (b'{"a":1,"a":2}', 400), (b" " * 1_200_000, 413),
                            (b"[" * 100 + b"]" * 100, 400), (b'{"schemas":[],"userName":"x"}', 400)):  # fmt: skip
        answer = place.scim.post("/Users", content=content, headers=kind)
        _problem(answer, status, "invalidSyntax")
    _problem(place.scim.post("/Users", content=b"{}", headers={"content-type": "text/plain"}), 415, "invalidSyntax")
    _problem(place.scim.get("/Users", params={"count": "many"}), 400, "invalidValue")
    assert place.scim.get("/Users", params={"count": "-3", "startIndex": "-9"}).json()["Resources"] == []
    _problem(place.scim.get("/Nothing"), 404)
    _problem(place.scim.get(f"/Users/{'x' * 400}"), 404)
    refused = place.scim.post(path, json={})
    _problem(refused, 405)
    assert "PATCH" in refused.headers["allow"]
    assert place.scim.get(path).json() == before
    only = place.scim.get(path, params={"attributes": "userName,emails.value"}).json()
    assert set(only) == {"schemas", "id", "meta", "userName", "emails"}
    assert "emails" not in place.scim.get(path, params={"excludedAttributes": "emails"}).json()


@pytest.mark.requirement("people:scim:apart")
def test_directories_see_their_own_alone_and_records_hold_nothing_personal(place: Provisioned) -> None:
    firm = place.firm
    made = place.user("ivy")
    place.map("third", [])
    other = place.key("third")
    assert other.get("/Users").json()["totalResults"] == 0
    _problem(other.get(f"/Users/{made['id']}"), 404)
    _problem(other.delete(f"/Users/{made['id']}"), 404)
    linked = {"schemas": [_USER], "userName": "ivy@example.com"}
    _problem(other.post("/Users", json=linked), 409, "uniqueness")
    records = firm.get("una", "audit/records", kind="directory.user_added", limit=5)["items"]
    assert records[0]["body"]["actor"]["basis"] == "directory"
    assert "ivy" not in json.dumps(records)
    (row,) = (one for one in firm.get("una", "directories")["items"] if one["name"] == "entra")
    assert row["users"] >= row["active"] > 0


@pytest.mark.requirement("people:scim:mapped")
def test_a_mapping_holds_from_its_sign_off_on_and_what_it_names_no_more_is_empty(place: Provisioned) -> None:
    place.map("fourth", [])
    own, place.scim = place.scim, place.key("fourth")
    try:
        user = place.user("xaver")
        group = place.group("Xs", user)
        assert place.members("xs") == []
        place.map("fourth", [{"name": "xS", "group": "xs"}])
        assert place.members("xs") == [(place.person("xaver@example.com") or {})["id"]], "who is in it already, too"
        place.map("fourth", [{"name": "Xs"}])
        assert place.members("xs") == []
        place.map("fourth", [{"name": "Xs", "group": "xs"}])
        place.patch(f"/Groups/{group['id']}", {"op": "replace", "path": "displayName", "value": "Ys"})
        assert place.members("xs") == [], "a group that is called otherwise is another"
    finally:
        place.scim = own
