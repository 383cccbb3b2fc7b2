"""What is registered, stated again as the manifests that would declare it. Pure.

INVARIANT: applying what is stated here changes nothing, but for what a statement itself says it leaves out: somebody
who left, a date that is past, a definition that was pinned anew since. An issuer or context provider that one person
registered alone is asked for, as it would be in any other words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from accredit.audit.ports import Row, StateView
from accredit.kernel.ids import item_group, tool_id, tool_name
from accredit.kernel.money import Money
from accredit.registry import rows
from accredit.registry.items import item_name
from accredit.registry.manifest import KINDS
from accredit.registry.pinning import read_definition
from accredit.registry.versions import delegate_ids

__all__ = ["Names", "Restated", "restated", "restated_row", "restated_version"]

_API: Final = "accredit/v1"
_EPOCH: Final = date(1970, 1, 1)
_DAY_US: Final = 86_400_000_000
_MOST_OF_A_SERVER: Final = 200
_UNITS: Final = (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_GROUPS: Final = {None: "allow", "resources": "resources", "prompts": "prompts"}


@dataclass(frozen=True, slots=True)
class Restated:
    """One object as a manifest."""

    document: Mapping[str, Any]
    unsaid: tuple[str, ...] = ()
    """What no manifest can say of it any more, in plain words."""

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def name(self) -> str:
        """Of a person the address, of a template `TEAM/NAME`."""
        metadata = self.document.get("metadata")
        if metadata is None:
            return str(self.document["spec"]["email"])
        return f"{metadata['team']}/{metadata['name']}" if self.kind == "Template" else str(metadata["name"])

    @property
    def environment(self) -> str | None:
        metadata = self.document.get("metadata") or {}
        return metadata.get("environment")


class Names:
    """How people, teams and agents are called in manifests, by id; looked up once for many."""

    def __init__(self, view: StateView) -> None:
        self.view = view

    def team(self, key: str) -> str | None:
        row = self.view.get(rows.TEAM, key)
        return None if row is None else str(row.doc["name"])

    def agent(self, key: str) -> str | None:
        row = self.view.get(rows.AGENT, key)
        return None if row is None else str(row.doc["name"])

    def address(self, key: str) -> str | None:
        """Of somebody who is there."""
        row = self.view.get(rows.PERSON, key)
        return None if row is None or row.doc.get("left") else str(row.doc["email"])


def restated(view: StateView, *, kinds: Iterable[str] = tuple(KINDS)) -> Iterator[Restated]:
    """Everything of some kinds that is registered and still there, kind by kind, by name."""
    names = Names(view)
    for kind in kinds:
        state = _STATED[kind][0]
        found = [one for row in view.scan(state) if (one := restated_row(kind, row, names)) is not None]
        yield from sorted(found, key=lambda one: (one.environment or "", one.name))


def restated_row(kind: str, row: Row, names: Names) -> Restated | None:
    """The object of one row as a manifest; None if it is over, or of another kind."""
    return _STATED[kind][1](row, names)


def _document(kind: str, metadata: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"apiVersion": _API, "kind": kind}
    return {**head, **({"metadata": dict(metadata)} if metadata else {}), "spec": dict(spec)}


def _given(**values: Any) -> dict[str, Any]:
    """Those of some keys that say something."""
    return {key: value for key, value in values.items() if value is not None}


# -- people and what they agreed


def _person(row: Row, names: Names) -> Restated | None:
    known = rows.person_from(row.key, row.doc)
    if known.left:
        return None
    spec: dict[str, Any] = {"email": known.email}
    unsaid: list[str] = []
    if known.bot:
        there = [
            holder if holder.startswith("group:") else names.address(holder) for holder in sorted(known.controllers)
        ]
        if None in there:
            unsaid.append("somebody who answers for this account has left")
        spec["controlledBy"] = sorted(one for one in there if one is not None)
        if not spec["controlledBy"]:
            unsaid.append("nobody is left who answers for this account")
    if known.manager is not None:
        spec |= _given(manager=names.address(known.manager))
        if "manager" not in spec:
            unsaid.append("this person's manager has left")
    return Restated(_document("Person", None, spec), tuple(unsaid))


def _group(row: Row, names: Names) -> Restated | None:
    known = rows.group_from(row.key, row.doc)
    members = [names.address(member.person) for member in known.members]
    spec: dict[str, Any] = {"members": sorted(one for one in members if one is not None)}
    if known.groups:
        spec["groups"] = sorted(name for name, _ in known.groups)
    unsaid = ("somebody in it has left",) if None in members else ()
    return Restated(_document("Group", {"name": row.key}, spec), unsaid)


def _team(row: Row, _: Names) -> Restated | None:
    return Restated(_document("Team", {"name": row.doc["name"]}, {"zones": sorted(row.doc["zones"])}))


def _agreement(row: Row, _: Names) -> Restated | None:
    doc = row.doc
    last = None if doc["expires_us"] is None else _last_day(doc["expires_us"])
    spec = {"provider": doc["provider"], "covers": sorted(doc["covers"]), "document": doc["document"]}
    return Restated(_document("Agreement", {"name": row.key}, spec | _given(expires=last)))


# -- what is asked for before something is approved


def _gate(row: Row, names: Names) -> Restated | None:
    spec: dict[str, Any] = {"roles": dict(row.doc["roles"]), "comment": row.doc["comment"]}
    unsaid: list[str] = []
    for told in ("backups", "heads"):
        spec[told] = {}
        for role, holders in row.doc[told].items():
            named = [one if one.startswith("group:") else names.address(one) for one in holders]
            if None in named:
                unsaid.append(f"somebody who is told of what waits for {role} has left")
            if there := sorted(one for one in named if one is not None):
                spec[told][role] = there
    return Restated(_document("Gate", {"name": row.key}, spec), tuple(unsaid))


def _template(row: Row, names: Names) -> Restated | None:
    team, _, name = row.key.partition("/")
    doc = row.doc["doc"]
    own: dict[str, list[str]] = {}
    for tool in doc["tools"]:
        own.setdefault(tool.partition("/")[0], []).append(tool_name(tool))
    spec = {
        "tools": [
            {"server": server, "allow": sorted(tools)[at : at + _MOST_OF_A_SERVER]}
            for server, tools in sorted(own.items())
            for at in range(0, len(tools), _MOST_OF_A_SERVER)
        ],
        "data": list(doc["data"]),
        "models": [{"provider": provider, "model": model} for provider, model in doc["models"]],
        **{each: list(doc[each]) for each in ("autonomy", "audience", "inputs", "reach")},
        "limits": _limits(doc["limits"]),
        "expires": _last_day(doc["expires_us"]),
    }
    return Restated(_document("Template", {"name": name, "team": names.team(team) or ""}, spec))


def _issuer(row: Row, _: Names) -> Restated | None:
    doc = row.doc
    if doc.get("revoked"):
        return None
    spec: dict[str, Any] = {"use": doc["use"], "issuer": doc["issuer"], "jwks": doc["jwks"]}
    spec |= _given(audience=doc["audience"], statusUrl=doc["status_url"], tokenType=doc["token_type"])
    spec |= _given(rolesClaim=doc["roles_claim"])
    if doc["claims"]:
        spec["claims"] = dict(doc["claims"])
    if doc["role_names"]:
        spec["roleNames"] = {str(theirs): str(ours) for theirs, ours in doc["role_names"]}
    return Restated(_document("Issuer", {"name": row.key}, spec))


def _context_provider(row: Row, _: Names) -> Restated | None:
    doc = row.doc
    spec = {
        "of": doc["for"],
        "issuer": doc["issuer"],
        "url": doc["url"],
        "facts": dict(doc["facts"]),
        **_given(credential=doc["credential"]),
        "ttl": _duration(doc["ttl_ms"]),
        "timeout": _duration(doc["timeout_ms"]),
        "maxBytes": doc["max_bytes"],
        **({"off": True} if doc["off"] else {}),
    }
    return Restated(_document("ContextProvider", {"name": row.key}, spec))


def _enforcement_point(row: Row, _: Names) -> Restated | None:
    doc = row.doc
    if doc.get("revoked"):
        return None
    spec = {
        "types": list(doc["types"]),
        "servers": list(doc["servers"]),
        "calls": {"perMinute": doc["calls_per_minute"]},
        **_given(reports=doc.get("reports")),
    }
    return Restated(_document("EnforcementPoint", {"name": row.key}, spec))


# -- tool servers and providers of models


def _tool_server(row: Row, names: Names) -> Restated | None:
    doc = row.doc
    if "api" in doc:
        return None
    spec: dict[str, Any] = {}
    if "launch" in doc:
        launch = rows.launch_from(doc["launch"])
        spec["stdio"] = {
            "command": launch.command,
            **({"args": list(launch.args)} if launch.args else {}),
            **_given(directory=launch.directory, credentialVariable=launch.credential_variable),
            **({"env": dict(launch.env)} if launch.env else {}),
            **({"network": launch.network} if launch.network != "none" else {}),
            **({"reads": list(launch.reads)} if launch.reads else {}),
            **({"writes": list(launch.writes)} if launch.writes else {}),
        }
    elif "local" in doc:
        spec["definitions"] = {entry["name"]: _declared(row.key, entry["name"], names) for entry in doc["tools"]}
    else:
        spec["url"] = doc["url"]
    spec |= _given(revision=doc.get("revision"), credential=doc["credential"], openapi=doc.get("openapi"))
    if doc.get("elicitation"):
        spec["elicitation"] = list(doc["elicitation"])
    for entry in doc["tools"]:
        group = item_group(entry["name"])
        if group is None:
            spec.setdefault("tools", {})[entry["name"]] = _tool(entry)
        else:
            item = {"data": list(entry["data"]), **_given(price=_money(entry["price"]))}
            spec.setdefault(group, {})[item_name(entry["name"])] = item
    unsaid = () if doc["tools"] else ("it was signed off to be started, and which tools it has nobody said yet",)
    return Restated(_document("ToolServer", {"name": row.key, "environment": doc["environment"]}, spec), unsaid)


def _declared(server: str, own: str, names: Names) -> dict[str, Any]:
    """The pinned definition of a program's function, as its manifest gives it."""
    pin = names.view.get(rows.TOOL, tool_id(server, own))
    stored = None if pin is None else names.view.get(rows.DEFINITION, pin.doc["definition"])
    definition = None if pin is None or stored is None else read_definition(stored.doc["text"], pin.doc["definition"])
    return {key: value for key, value in (definition or {}).items() if key != "name"}


def _tool(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "effect": entry["effect"],
        **_given(scope=entry["scope"]),
        "data": list(entry["data"]),
        **_given(price=_money(entry["price"])),
        **({"fields": {str(name): str(kind) for name, kind in entry["fields"]}} if entry["fields"] else {}),
        **({"allowUndeclared": True} if entry["allow_undeclared"] else {}),
    }


def _model_provider(row: Row, _: Names) -> Restated | None:
    doc = row.doc
    if "api" not in doc:
        return None
    spec = {
        "api": doc["api"],
        "url": doc["url"],
        **_given(credential=doc["credential"], prices=doc.get("prices")),
        "models": {entry["name"]: _rates(entry["rates"]) for entry in doc["tools"]},
    }
    return Restated(_document("ModelProvider", {"name": row.key, "environment": doc["environment"]}, spec))


def _rates(doc: Mapping[str, Any]) -> dict[str, Any]:
    if "source" in doc:  # a list price: the manifest did not say it
        return {"maxOutput": doc["max_output"]}
    return {
        "input": _money(doc["input"]),
        "output": _money(doc["output"]),
        "cacheRead": _money(doc["cache_read"]),
        "cacheWrite": _money(doc["cache_write"]),
        "maxOutput": doc["max_output"],
    }


def _store(row: Row, _: Names) -> Restated | None:
    doc = row.doc
    items = {"id": doc["id_field"], "text": doc["text_field"], **_given(created=doc["created_field"])}
    spec = {
        "adapter": doc["adapter"],
        "location": doc["location"],
        **_given(credential=doc["credential"]),
        "namespaces": list(doc["namespaces"]),
        "shared": doc["shared"],
        **_given(ownerField=doc["owner_field"], subjectField=doc["subject_field"], keyScope=doc["key_scope"]),
        "items": items,
    }
    return Restated(_document("Store", {"name": row.key, "environment": doc["environment"]}, spec))


def _directory(row: Row, names: Names) -> Restated | None:
    doc, unsaid, groups = row.doc, [], []
    for one in doc["groups"]:
        team = None if one["team"] is None else names.team(one["team"])
        if one["team"] is not None and team is None:
            unsaid.append(f"the team of `{one['name']}` is not there any more")
        groups.append({
            "name": one["name"],
            **_given(group=one["group"], team=team),
            **({"userRoles": list(one["user_roles"])} if one["user_roles"] else {}),
            **({"tools": list(one["tools"])} if one["tools"] else {}),
        })  # fmt: skip
    spec = {**_given(issuer=doc["issuer"]), "subject": doc["subject"], "groups": groups}
    return Restated(_document("Directory", {"name": row.key}, spec), tuple(unsaid))


def _review_schedule(row: Row, _: Names) -> Restated | None:
    known = rows.review_schedule_from(row.key, row.doc)
    scope = {
        key: sorted(named)
        for key, named in (
            ("teams", known.teams),
            ("tiers", [tier.value for tier in known.tiers]),
            ("agents", known.agents),
            ("businessServices", known.services),
        )
        if named
    }
    alike: dict[tuple[str, int], list[str]] = {}
    for one in known.seasonal:
        alike.setdefault((one.tool.partition("/")[0], one.every_months), []).append(tool_name(one.tool))
    seasonal = [
        {"server": server, "allow": named, "everyMonths": months} for (server, months), named in sorted(alike.items())
    ]
    spec = {
        **({"scope": scope} if scope else {}),
        "every": {tier.value: months for tier, months in known.months.items()},
        "day": known.day,
        "respondDays": known.respond_days,
        "graceDays": known.grace_days,
        **({"seasonal": seasonal} if seasonal else {}),
    }
    return Restated(_document("ReviewSchedule", {"name": row.key}, spec))


# -- agents


def _agent(row: Row, names: Names) -> Restated | None:
    doc = row.doc
    if doc["state"] == "retired":
        return None
    version = names.view.get(rows.VERSION, doc.get("candidate") or doc["version"])
    if version is None:
        return None
    return restated_version(version.doc["manifest"], names)


def restated_version(form: Mapping[str, Any], names: Names) -> Restated:
    """The canonical form of a version (`versions.py`) as a manifest says it."""
    metadata, spec = form["metadata"], form["spec"]
    unsaid: list[str] = []
    owner, backup = names.address(spec["owner"]), spec["backupOwner"]
    if owner is None:
        unsaid.append("its owner has left")
    if backup is not None and names.address(backup) is None:
        unsaid.append("its backup owner has left")
    found: dict[str, Any] = {
        "purpose": spec["purpose"],
        **_given(businessService=spec["businessService"], owner=owner),
        **_given(backupOwner=None if backup is None else names.address(backup)),
        "tools": list(_grants(spec["tools"])),
        **_given(hours=_hours(spec["hours"])),
        "data": list(spec["data"]),
        "models": [_given(**model) for model in spec["models"]],
        "prompt": dict(spec["prompt"]),
        "autonomy": spec["autonomy"],
        "audience": spec["audience"],
        "inputs": list(spec["inputs"]),
        "reach": spec["reach"],
        "use": {
            "annex3": spec["use"]["annex3"],
            "decidesOnPeople": spec["use"]["decidesOnPeople"],
            **({"prohibited": list(spec["use"]["prohibited"])} if spec["use"]["prohibited"] else {}),
            **_given(legalRole=spec["use"].get("legalRole")),
        },
    }
    if spec.get("envelope"):
        found["envelope"] = _envelope(spec["envelope"])
    if spec["delegates"]:
        found["delegates"] = list(_delegates(spec["delegates"], names, unsaid))
    if spec["stores"]:
        found["stores"] = [dict(one) for one in spec["stores"]]
    found["limits"] = _limits(spec["limits"])
    named = {"name": metadata["name"], "team": names.team(metadata["team"]) or ""}
    head = {**named, "environment": metadata["environment"]}
    return Restated(_document("Agent", head, found | _given(expires=spec["expires"])), tuple(unsaid))


def _envelope(parts: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if models := parts.get("models"):
        found["models"] = [_given(**model) for model in models]
    if prompts := parts.get("prompts"):
        found["prompts"] = list(prompts)
    if tools := parts.get("definitions"):
        by_server: dict[str, list[str]] = {}
        for tool in tools:
            by_server.setdefault(tool.partition("/")[0], []).append(tool_name(tool))
        found["definitions"] = [{"server": server, "allow": names} for server, names in by_server.items()]
    if limits := parts.get("limits"):
        cost = _money(limits.get("costPerDay"))
        timeout = {
            name: _duration(limits[key])
            for name, key in (("call", "callTimeoutMs"), ("run", "runTimeoutMs"))
            if key in limits
        }
        found["limits"] = {
            **({"cost": {"perDay": cost}} if cost is not None else {}),
            **({"calls": {"perMinute": limits["callsPerMinute"]}} if "callsPerMinute" in limits else {}),
            **({"timeout": timeout} if timeout else {}),
            **_given(concurrency=limits.get("concurrency")),
        }
    return found


def _grants(entries: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """What is granted alike of one server as one entry, in the order of what comes first in it."""
    alike: dict[str, tuple[dict[str, Any], dict[str, list[str]]]] = {}
    for entry in entries:
        server = entry["tool"].partition("/")[0]
        own = tool_name(entry["tool"])
        group = item_group(own)
        more = {
            **_given(when=_when(entry), hours=_hours(entry["hours"])),
            **({"mask": list(entry["mask"])} if entry["mask"] else {}),
        }
        key = repr((server, more))
        _, named = alike.setdefault(key, ({"server": server, **more}, {}))
        named.setdefault(_GROUPS[group], []).append(own if group is None else item_name(own))
    for form, named in alike.values():
        for at in range(0, max(map(len, named.values())), _MOST_OF_A_SERVER):
            part = {key: some for key, own in named.items() if (some := own[at : at + _MOST_OF_A_SERVER])}
            yield {"server": form["server"], **part, **{key: form[key] for key in form if key != "server"}}


def _when(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    found = _given(userRole=entry["userRole"])
    if entry["sameAs"]:
        found["sameAs"] = {str(left): str(right) for left, right in entry["sameAs"]}
    return found or None


def _delegates(entries: Iterable[Any], names: Names, unsaid: list[str]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        (callee,) = delegate_ids({"delegates": [entry]})
        name = names.agent(callee)
        if isinstance(entry, str) or name is None:
            unsaid.append("an agent it delegated to without naming tools, which hands on nothing")
            continue
        alike: dict[str, dict[str, Any]] = {}
        for tool in entry["tools"]:
            server, when = tool["tool"].partition("/")[0], _when(tool)
            form = alike.setdefault(repr((server, when)), {"server": server, "allow": [], **_given(when=when)})
            form["allow"].append(tool_name(tool["tool"]))
        yield {
            "agent": name,
            "tools": [
                {**form, "allow": form["allow"][at : at + _MOST_OF_A_SERVER]}
                for form in alike.values()
                for at in range(0, len(form["allow"]), _MOST_OF_A_SERVER)
            ],
        }


# -- values


def _limits(doc: Mapping[str, Any]) -> dict[str, Any]:
    cost = _money(doc["costPerDay"])
    return {
        **({"cost": {"perDay": cost}} if cost is not None else {}),
        "calls": {"perMinute": doc["callsPerMinute"]},
        "timeout": {"call": _duration(doc["callTimeoutMs"]), "run": _duration(doc["runTimeoutMs"])},
        "concurrency": doc["concurrency"],
    }


def _last_day(until_us: int) -> str:
    return (_EPOCH + timedelta(days=until_us // _DAY_US - 1)).isoformat()


def _hours(doc: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if doc is None:
        return None
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (doc["start"], doc["end"]))
    return {"window": f"{start}-{end}", "days": list(doc["days"]), "zone": doc["zone"]}


def _duration(milliseconds: int) -> str:
    return next(f"{milliseconds // size}{unit}" for unit, size in _UNITS if milliseconds % size == 0)


def _money(doc: Mapping[str, Any] | None) -> str | None:
    return None if doc is None else str(Money(doc["nanos"], doc["currency"]))


_Stated = Callable[[Row, Names], Restated | None]
_STATED: Final[Mapping[str, tuple[str, _Stated]]] = {
    "Person": (rows.PERSON, _person),
    "Group": (rows.GROUP, _group),
    "Team": (rows.TEAM, _team),
    "Agreement": (rows.AGREEMENT, _agreement),
    "Gate": (rows.GATE, _gate),
    "Template": (rows.TEMPLATE, _template),
    "Issuer": (rows.ISSUER, _issuer),
    "ContextProvider": (rows.CONTEXT_PROVIDER, _context_provider),
    "ToolServer": (rows.SERVER, _tool_server),
    "ModelProvider": (rows.SERVER, _model_provider),
    "EnforcementPoint": (rows.ENFORCEMENT_POINT, _enforcement_point),
    "Store": (rows.STORE, _store),
    "Directory": (rows.DIRECTORY, _directory),
    "ReviewSchedule": (rows.REVIEW_SCHEDULE, _review_schedule),
    "Agent": (rows.AGENT, _agent),
}
"""Which rows hold a kind, and how one is stated."""
