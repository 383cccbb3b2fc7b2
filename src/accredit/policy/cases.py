"""Test cases of a policy directory, as YAML (`tests/*.yaml`; docs/policy-tests.md has the whole form).

A case is one call, or one question of another application about its own types, and what is to come of it. It names
registered agents and tools, or such as the file itself declares, so a library of policies can be tested where nothing
is registered. Read strictly: an unknown key, a repeated key or an alias is an error, since a case that is not read as
it was meant passes for the wrong reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from accredit.kernel.canonical import digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.hours import Hours
from accredit.kernel.ids import AgentId, PersonId, ServerName, TeamId, ToolId, tool_id
from accredit.kernel.money import Money
from accredit.policy.model import ExternalName, ExternalRequest
from accredit.registry.items import MOST_ARGUMENTS, URI_FORM, ItemKind, item_kind, offered_item, resource_key
from accredit.registry.llm_models import ModelRates, model_definition
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    DelegateGrant,
    Effect,
    Environment,
    Team,
    Tier,
    Tool,
    ToolServer,
    WriteScope,
)
from accredit.registry.reading import read_documents
from accredit.registry.versions import delegation_of, grant_of

__all__ = ["CaseCall", "CaseFile", "Expected", "PolicyCase", "read_cases"]

MOST_CASES: Final = 5_000
_CLOCK: Final = "2026-01-05T10:00:00Z"  # a Monday

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
_Uri = Annotated[str, StringConstraints(pattern=URI_FORM, max_length=1_024)]
_Facts = dict[Annotated[str, StringConstraints(max_length=128)], Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _ToolForm(_Strict):
    effect: Effect
    scope: WriteScope | None = None
    data: Annotated[list[_Text], Field(max_length=32)] = []
    input: dict[str, Any] = {"type": "object"}
    """The JSON Schema of its arguments."""


class _ItemForm(_Strict):
    data: Annotated[list[_Text], Field(max_length=32)] = []


class _PromptForm(_ItemForm):
    arguments: Annotated[list[_Text], Field(max_length=MOST_ARGUMENTS)] = []
    """All of which it needs."""


class _ServerForm(_Strict):
    environment: Environment = Environment.PRODUCTION
    tools: Annotated[dict[_Text, _ToolForm], Field(max_length=200)] = {}
    resources: Annotated[dict[_Uri, _ItemForm], Field(max_length=200)] = {}
    prompts: Annotated[dict[_Text, _PromptForm], Field(max_length=200)] = {}
    models: Annotated[list[_Text], Field(max_length=200)] = []
    """Instead of tools and items, of a provider of language models."""

    @model_validator(mode="after")
    def _one_kind(self) -> _ServerForm:
        if bool(self.tools or self.resources or self.prompts) is bool(self.models):
            raise ValueError("a server has `tools`, `resources` or `prompts`, or it is a provider that has `models`")
        return self


class _HoursForm(_Strict):
    window: _Text
    days: Annotated[list[str], Field(max_length=7)] = ["mon", "tue", "wed", "thu", "fri"]
    zone: _Text = "UTC"


class _GrantForm(_Strict):
    tool: _Text
    user_role: Annotated[_Text | None, Field(alias="userRole")] = None
    same_as: Annotated[dict[_Text, _Text], Field(alias="sameAs", max_length=16)] = {}
    hours: _HoursForm | None = None
    mask: Annotated[list[_Text], Field(max_length=32)] = []


class _DelegatedForm(_Strict):
    tool: _Text
    user_role: Annotated[_Text | None, Field(alias="userRole")] = None
    same_as: Annotated[dict[_Text, _Text], Field(alias="sameAs", max_length=16)] = {}


class _DelegateForm(_Strict):
    agent: _Name
    """One of the same file."""
    tools: Annotated[list[_Text | _DelegatedForm], Field(min_length=1, max_length=200)]


class _AgentForm(_Strict):
    team: _Name = "team"
    environment: Environment = Environment.PRODUCTION
    state: AgentState = AgentState.ACTIVE
    tier: Tier | None = Tier.HIGH
    zone: _Text = "UTC"
    data: Annotated[list[_Text], Field(max_length=32)] = []
    tools: Annotated[list[_Text | _GrantForm], Field(max_length=200)] = []
    models: Annotated[list[_Text], Field(max_length=50)] = []
    """`provider/model`"""
    delegates: Annotated[list[_DelegateForm], Field(max_length=50)] = []


class _CallForm(_Strict):
    tool: _Text
    input: _Facts = {}


class _NameForm(_Strict):
    type: _Text
    id: Annotated[str, StringConstraints(min_length=1, max_length=1_024)]
    properties: _Facts = {}


class _ActionForm(_Strict):
    name: _Text
    properties: _Facts = {}


class _AskForm(_Strict):
    subject: _NameForm | None = None
    action: _Text | _ActionForm | None = None
    resource: _NameForm | None = None
    context: _Facts | None = None
    caller: _Text | None = None
    """The enforcement point that asks."""


class _ExpectForm(_Strict):
    outcome: Literal["allow", "deny", "hold"]
    policy: _Text | list[_Text] | None = None
    code: _Text | None = None
    role: _Text | list[_Text] | None = None
    unmet: Annotated[list[_Text] | None, Field(max_length=32)] = None
    tool_calls: Literal["passed", "decided", "known"] | None = None


class _OutsiderForm(_Strict):
    external: _Text


class _Given(_Strict):
    agent: _Text | None = None
    state: AgentState | None = None
    tier: Tier | None = None
    user: _Facts | None = None
    task: _Facts | None = None
    origin: dict[_Text, _Text] | None = None
    source: dict[_Text, list[_Text]] | None = None
    declared: _Facts | None = None
    session: _Facts | None = None
    instance: _Facts | None = None
    actors: Annotated[list[_Text | _OutsiderForm] | None, Field(max_length=4)] = None
    """Who acts, newest first: the agent itself, then the agents that handed the work on, by name, and last whom the
    user's issuer named."""
    clock: _Text | None = None
    call: _CallForm | None = None
    input: _Facts | None = None
    """Arguments over those of `call`."""
    granted: Annotated[list[_Text] | None, Field(max_length=32)] = None
    """Policies whose hold a person lifted for this very call."""
    ask: _AskForm | None = None
    """Instead of a call; a row may name only what is different."""


class _CaseForm(_Given):
    name: _Text
    expect: Literal["allow", "deny", "hold"] | _ExpectForm | None = None
    table: Annotated[list[_RowForm] | None, Field(min_length=1, max_length=1_000)] = None


class _RowForm(_Given):
    name: _Text | None = None
    expect: Literal["allow", "deny", "hold"] | _ExpectForm | None = None


class _FileForm(_Strict):
    agents: Annotated[dict[_Name, _AgentForm], Field(max_length=200)] = {}
    servers: Annotated[dict[_Name, _ServerForm], Field(max_length=100)] = {}
    defaults: _Given = _Given()
    cases: Annotated[list[_CaseForm], Field(max_length=MOST_CASES)]


_CaseForm.model_rebuild()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case demands of the decision; None demands nothing."""

    outcome: str
    policies: tuple[str, ...] = ()
    """Ids, paths of files, or `grant/server/tool`: each must be among what determined the outcome."""
    code: str | None = None
    roles: tuple[str, ...] = ()
    unmet: tuple[str, ...] | None = None
    tool_calls: str | None = None
    """What must become of the tool calls in the answer; `passed`: nothing."""


@dataclass(frozen=True, slots=True)
class CaseCall:
    """A call of an agent."""

    agent: str
    state: AgentState | None
    tier: Tier | None
    tool: ToolId
    arguments: Mapping[str, Any]
    context: Mapping[str, Any]
    """All of it but `input`, `now`, and what is measured of the first call of a session."""
    clock_us: int
    granted: tuple[str, ...]
    chain: tuple[str, ...] = ()
    """Names of the agents that act, newest first; the agent itself may be left out."""
    outsiders: tuple[str, ...] = ()
    """Whom the user's issuer named as earlier actors."""


@dataclass(frozen=True, slots=True)
class PolicyCase:
    """One call or question, and what is to come of it."""

    path: str
    name: str
    asked: CaseCall | ExternalRequest
    expected: Expected


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of cases."""

    path: str
    agents: Mapping[str, Agent]
    servers: tuple[ToolServer, ...]
    cases: tuple[PolicyCase, ...]


def read_cases(path: str, text: str) -> CaseFile:
    """The cases of one file.

    Raises:
        InvalidInputError: it is not of the form, with the line and key at fault.
    """
    try:
        documents = read_documents(text.encode())
    except UnicodeEncodeError as error:
        raise _refused(path, "is not text") from error
    except InvalidInputError as error:
        raise _refused(path, error.message, hint=error.hint) from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise _refused(path, "does not hold one document of keys and values")
    try:
        form = _FileForm.model_validate(documents[0].value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = tuple(
            step for step in fault["loc"] if isinstance(step, int) or step in documents[0].value or len(step) < 64
        )
        line = next(
            (documents[0].lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in documents[0].lines), 0
        )
        spelled = ".".join(map(str, fault["loc"]))[:160]
        raise _refused(path, f"line {line}: `{spelled}`: {fault['msg'][:200]}") from error
    servers = tuple(_server(path, name, one) for name, one in form.servers.items())
    agents = {name: _agent(path, name, one) for name, one in form.agents.items()}
    cases = tuple(case for one in form.cases for case in _cases(path, one, form.defaults))
    if len(cases) > MOST_CASES:
        raise _refused(path, f"holds more than {MOST_CASES} cases", hint="split the file")
    return CaseFile(path, agents, servers, cases)


def _refused(path: str, what: str, *, hint: str = "") -> InvalidInputError:
    return InvalidInputError(Code.POLICY_TESTS_FAILED, f"{path}: {what}", hint=hint or "see docs/policy-tests.md")


def _items(path: str, server: str, form: _ServerForm) -> Iterator[tuple[str, _ItemForm, Mapping[str, Any]]]:
    for uri, resource in form.resources.items():
        kind = item_kind(resource_key(uri)) or ItemKind.RESOURCE
        made = offered_item(kind, {"uriTemplate" if kind is ItemKind.TEMPLATE else "uri": uri})
        if made is None:
            raise _refused(path, f"server `{server}`: `{uri[:80]}` is no URI or template that can be registered")
        yield made[0], resource, made[1]
    for own, prompt in form.prompts.items():
        arguments = [{"name": name, "required": True} for name in prompt.arguments]
        made = offered_item(ItemKind.PROMPT, {"name": own, "arguments": arguments})
        if made is None:
            raise _refused(path, f"server `{server}`: the arguments of prompt `{own[:80]}` are not distinct names")
        yield made[0], prompt, made[1]


def _server(path: str, name: str, form: _ServerForm) -> ToolServer:
    tools = {}
    for own, one in form.tools.items():
        definition = {"name": own, "inputSchema": one.input}
        tools[own] = Tool(
            id=tool_id(name, own),
            server=ServerName(name),
            name=own,
            effect=one.effect,
            scope=(one.scope or WriteScope.RECORD) if one.effect is Effect.WRITE else None,
            data=frozenset(one.data),
            price=None,
            definition=definition,
            definition_digest=digest_value("test-definition", definition),
        )
    for key, one_item, described in _items(path, name, form):
        tools[key] = Tool(
            id=tool_id(name, key),
            server=ServerName(name),
            name=key,
            effect=Effect.READ,
            scope=None,
            data=frozenset(one_item.data),
            price=None,
            definition=described,
            definition_digest=digest_value("test-definition", described),
        )
    nothing = Money(0, "USD")
    for own in form.models:
        definition = model_definition("openai", own)
        tools[own] = Tool(
            id=tool_id(name, own),
            server=ServerName(name),
            name=own,
            effect=Effect.READ,
            scope=None,
            data=frozenset(),
            price=None,
            definition=definition,
            definition_digest=digest_value("test-definition", definition),
            rates=ModelRates(nothing, nothing, nothing, nothing, 1),
        )
    api = "openai" if form.models else None
    return ToolServer(ServerName(name), form.environment, "http://127.0.0.1:1", None, tools, api=api)


def _named(text: str) -> ToolId:
    """The id of a tool or item; a resource may be named by its URI as it is, which an id never is."""
    server, _, own = text.partition("/")
    return tool_id(server, own) if own.startswith("resources/") and ":" in own else ToolId(text)


def _agent(path: str, name: str, form: _AgentForm) -> Agent:
    grants = []
    for one in form.tools:
        grant = _GrantForm(tool=one) if isinstance(one, str) else one
        hours = grant.hours
        try:
            parsed = Hours.parse(hours.window, hours.days, hours.zone) if hours else None
        except InvalidInputError as error:
            raise _refused(path, f"agent `{name}`: {error.message}", hint=error.hint) from error
        grants.append(
            grant_of(
                _named(grant.tool),
                user_role=grant.user_role,
                same_as=grant.same_as.items(),
                hours=parsed,
                mask=grant.mask,
            )
        )
    models = tuple(grant_of(ToolId(one), model=True) for one in form.models)
    delegates: list[DelegateGrant] = []
    for delegate in form.delegates:
        callee = AgentId(f"test_{delegate.agent}")
        delegates.append(delegation_of(callee))
        for each in delegate.tools:
            given = _DelegatedForm(tool=each) if isinstance(each, str) else each
            delegates.append(
                delegation_of(callee, ToolId(given.tool), user_role=given.user_role, same_as=given.same_as.items())
            )
    granted = [grant.digest for grant in (*grants, *models)]
    version = AgentVersion(
        digest=digest_value(
            "test-version",
            [name, granted, sorted(form.data), *([[one.digest for one in delegates]] if delegates else [])],
        ),
        manifest={},
        facets={},
        grants=tuple(grants),
        data=frozenset(form.data),
        zone=form.zone,
        limits=AgentLimits(1, 1, 1.0, 1.0, None),
        models=models,
        delegates=tuple(delegates),
    )
    team = Team(TeamId(f"test_{form.team}"), form.team, frozenset({form.zone}))
    return Agent(
        AgentId(f"test_{name}"),
        name,
        team,
        form.environment,
        form.state,
        PersonId("test"),
        None,
        version,
        tier=form.tier,
    )


def _cases(path: str, form: _CaseForm, defaults: _Given) -> Iterator[PolicyCase]:
    rows = form.table or [_RowForm()]
    for number, row in enumerate(rows, 1):
        given: dict[str, Any] = {}
        for layer in (defaults, form, row):
            given |= {key: getattr(layer, key) for key in _Given.model_fields if getattr(layer, key) is not None}
        name = form.name if form.table is None else f"{form.name}: {row.name or number}"
        expect = row.expect or form.expect
        clock_us = _clock_us(path, name, given.get("clock", _CLOCK))
        asked: CaseCall | ExternalRequest | None = None
        if form.ask is not None or row.ask is not None or "call" not in given:
            asked = _question([layer.ask for layer in (defaults, form, row) if layer.ask is not None], clock_us)
        elif "agent" in given:
            arguments = {**given["call"].input}
            for layer in (defaults, form, row):
                arguments |= layer.input or {}
            asked = _call(given, arguments, clock_us)
        if expect is None or asked is None:
            raise _refused(path, f"case `{name}` lacks one of agent, call and expect, or of what `ask` needs")
        yield PolicyCase(path, name, asked, _expected(expect))


def _call(given: Mapping[str, Any], arguments: Mapping[str, Any], clock_us: int) -> CaseCall:
    facts = ("user", "task", "origin", "source", "declared", "session", "instance")
    return CaseCall(
        agent=given["agent"],
        state=given.get("state"),
        tier=given.get("tier"),
        tool=_named(given["call"].tool),
        arguments=arguments,
        context={key: given[key] for key in facts if key in given},
        chain=tuple(one for one in given.get("actors", ()) if isinstance(one, str)),
        outsiders=tuple(one.external for one in given.get("actors", ()) if not isinstance(one, str)),
        clock_us=clock_us,
        granted=tuple(given.get("granted", ())),
    )


def _question(layers: list[_AskForm], clock_us: int) -> ExternalRequest | None:
    """The question that layers make together, later ones replacing whole members; None if one is missing."""
    given: dict[str, Any] = {}
    for layer in layers:
        given |= {key: getattr(layer, key) for key in _AskForm.model_fields if getattr(layer, key) is not None}
    if not {"subject", "action", "resource"} <= given.keys():
        return None
    subject, action, resource = given["subject"], given["action"], given["resource"]
    if isinstance(action, str):
        action = _ActionForm(name=action)
    return ExternalRequest(
        ExternalName(subject.type, subject.id, subject.properties),
        action.name,
        ExternalName(resource.type, resource.id, resource.properties),
        action.properties,
        given.get("context", {}),
        caller=given.get("caller", "test"),
        time_us=clock_us,
    )


def _clock_us(path: str, name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _refused(
            path, f"case `{name}`: `{text[:40]}` is no time", hint="write 2026-11-23T10:00:00+01:00"
        ) from error
    if moment.tzinfo is None:
        raise _refused(path, f"case `{name}`: the clock has no zone", hint="write 2026-11-23T10:00:00+01:00")
    return int(moment.astimezone(UTC).timestamp() * 1_000_000)


def _expected(form: str | _ExpectForm) -> Expected:
    if isinstance(form, str):
        return Expected(form)
    return Expected(
        outcome=form.outcome,
        policies=_several(form.policy),
        code=form.code,
        roles=_several(form.role),
        unmet=None if form.unmet is None else tuple(form.unmet),
        tool_calls=form.tool_calls,
    )


def _several(value: str | list[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
