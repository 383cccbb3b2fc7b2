"""Manifests as operators write them: the forms, their JSON Schemas, and reading a file with all its faults at once.

A form says everything that one document alone can show to be wrong; what needs the registry (does the owner exist, is
the tool registered) is `service`'s. Schema and form accept the same documents but for what no schema can say: texts
are brought to NFC, names of tools and roles must already be in it, and a template of URIs must be one that `items.py`
tells apart.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache, cached_property
from importlib import resources
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.hours import Hours
from accredit.kernel.ids import tool_id
from accredit.registry.errors import ManifestError, ManifestFault
from accredit.registry.items import (
    MOST_REGISTERED,
    URI_FORM,
    ItemKind,
    item_kind,
    parse_template,
    plain_uri,
    prompt_key,
    resource_key,
)
from accredit.registry.model import Launch
from accredit.registry.reading import RawDocument, read_documents

__all__ = [
    "KINDS",
    "AgentManifest",
    "AgreementManifest",
    "ContextProviderManifest",
    "DirectoryManifest",
    "Document",
    "EnforcementPointManifest",
    "GateManifest",
    "GroupManifest",
    "IssuerManifest",
    "ModelProviderManifest",
    "PersonManifest",
    "PriceList",
    "RatesForm",
    "ReviewScheduleManifest",
    "StoreManifest",
    "TeamManifest",
    "TemplateManifest",
    "ToolServerManifest",
    "data_classes",
    "duration_ms",
    "read_manifests",
    "read_price_list",
    "schema",
]

_INVISIBLE = r"\p{Cc}\p{Cf}\p{Z}\p{Default_Ignorable_Code_Point}"
"""Control, format (bidi, zero-width, tag) and other characters nobody sees, and every space but the plain one."""
_LABEL = rf"^[^{_INVISIBLE}]+( [^{_INVISIBLE}]+)*$"
_NAME = r"^[a-z][a-z0-9-]{0,62}$"
_CONTROL = r"\u0000-\u0008\u000B-\u001F\u007F-\u009F"
_TEXT = rf"^[^{_CONTROL}]*[^{_CONTROL}\s][^{_CONTROL}]*$"
_EMAIL = (
    r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$"
)
_EMAIL_OR_GROUP = rf"(?:{_EMAIL})|(?:^group:[a-z][a-z0-9-]{{0,62}}$)"
_HOST = r"([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:]{2,39}\])"
_LOOPBACK = r"(localhost|127\.0\.0\.1|\[::1\])"
_ORIGIN = rf"(https://{_HOST}|http://{_LOOPBACK})(:[0-9]{{1,5}})?"
_PATH = r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*"
_URL = rf"^{_ORIGIN}(/{_PATH})?$"
_BELOW = r"^(/\.?[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,126}){1,8}$"
_STATUS_URL = rf"^{_ORIGIN}/{_PATH}\{{task\}}{_PATH}$"
_TASK_TYPE = "task+jwt"
_TOKEN_TYPE = r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$"  # noqa: S105 - the form of a `typ`, not a secret
_AMOUNT = r"^[0-9]{1,7}(\.[0-9]{1,12})? [A-Z]{3}$"
_DURATION = r"^[1-9][0-9]{0,5}(ms|s|m|h)$"
_WINDOW = r"^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
_ZONE = r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$"
_CLAIM = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"
_INPUT_PATH = r"^input(\.[A-Za-z][A-Za-z0-9_]{0,63}){1,8}$"
_TASK_PATH = r"^task\.[A-Za-z][A-Za-z0-9_]{0,62}$"
_DIGEST = r"^sha256:[0-9a-f]{64}$"
_BASE64URL = r"^[A-Za-z0-9_-]+$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,126}$"
_ARGUMENT = rf"^([^{_INVISIBLE}]| )*$"
_DIRECTORY = rf"^(/[^/{_INVISIBLE}]+)+$"
_EXTERNAL_TYPE = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_COLUMN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
_NAMESPACES = r"^[A-Za-z0-9_][A-Za-z0-9_.:/@-]{0,126}\*?$"
_PLACE = (
    rf"({_DIRECTORY})|(^(https|postgresql|s3)://{_HOST}(:[0-9]{{1,5}})?(/{_PATH})?$)"
    rf"|(^http://{_LOOPBACK}(:[0-9]{{1,5}})?(/{_PATH})?$)"
)

_ITEM = r"^(prompts|resources)/."

_HINTS = {
    _LABEL: "use visible characters and single plain spaces; no control, bidi, zero-width or tag characters",
    _NAME: "names are `[a-z][a-z0-9-]{0,62}`",
    _TEXT: "use visible text without control characters",
    _EMAIL: "write an ASCII address such as `dana@example.com`",
    _EMAIL_OR_GROUP: "write an ASCII address such as `dana@example.com`, or `group:` and the name of a group",
    _URL: "write `https://host/path`; plain `http` only for loopback; no user, query or fragment",
    _STATUS_URL: "write `https://host/path/{task}`, with `{task}` once and in the path",
    _TOKEN_TYPE: "write the tokens' `typ`, such as `at+jwt` or `JWT`",
    _AMOUNT: "write `50 USD` or `0.002 USD`",
    _DURATION: "write `500ms`, `30s`, `20m` or `2h`",
    _WINDOW: "write `08:00-18:00`",
    _ZONE: "write an IANA zone such as `Europe/Berlin`",
    _CLAIM: "a letter, then letters, digits and `_`",
    _INPUT_PATH: "the left side is a path of the arguments such as `input.customer_id`",
    _TASK_PATH: "the right side is a claim of the task such as `task.customer_id`",
    _DIGEST: "write `sha256:` and 64 lower-case hex digits",
    _BASE64URL: "write base64url without padding",
    URI_FORM: "write the URI as the server lists it, or its template with simple variables such as `crm://customer/{id}`",
    _VARIABLE: "a letter or `_`, then letters, digits and `_`",
    _ARGUMENT: "use visible characters and plain spaces; no control, bidi, zero-width or tag characters",
    _DIRECTORY: "write an absolute path without spaces, `.` or `..`",
    _COLUMN: "a letter or `_`, then letters, digits and `_`",
    _NAMESPACES: "letters, digits and `_.:/@-`, with one `*` at the end for all that begin so",
    _PLACE: "write an absolute path, or `https://`, `postgresql://` or `s3://` and a host without user or password",
    _EXTERNAL_TYPE: "a letter or `_`, then letters, digits and `_`: the type as callers write it, without `Ext::`",
}

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def duration_ms(text: str) -> int:
    """Milliseconds of `500ms`, `30s`, `20m` or `2h`, as the forms let through."""
    digits = text.rstrip("msh")
    return int(digits) * _UNITS_MS[text[len(digits) :]]


@cache
def data_classes() -> Mapping[str, str]:
    """Every data class and its title, from the data file of this room."""
    text = resources.files("accredit.registry").joinpath("data_classes.json").read_bytes()
    return {entry["name"]: entry["title"] for entry in orjson.loads(text)}


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _already_nfc(text: str) -> str:
    # a server's own names are compared byte for byte, so they are not changed, and two that look alike may not pass
    if _nfc(text) != text:
        raise ValueError("not in Unicode normalisation form C")
    return text


def _no_item(name: str) -> str:
    # the name would be that of a resource or prompt, which is read and not called
    if item_kind(name) is not None:
        raise ValueError("a tool cannot be called so: resources and prompts stand under keys of their own")
    return name


def _readable(uri: str) -> str:
    if len(tool_id("", resource_key(uri))) - len(tool_id("", resource_key("x"))) >= MOST_REGISTERED:
        raise ValueError(f"percent-encoded it has more than {MOST_REGISTERED} characters, which its id would have")
    if item_kind(resource_key(uri)) is ItemKind.TEMPLATE:
        parse_template(uri)
    elif not plain_uri(uri):
        raise ValueError("a segment of its path means another place")
    return uri


def _no_dots(path: str) -> str:
    if {".", ".."} & set(path.split("/")):
        raise ValueError("an absolute path without `.` and `..`")
    return path


def _no_task_type(name: str) -> str:
    # a token about a task would pass for one about a user
    if name == _TASK_TYPE:
        raise ValueError(f"`{_TASK_TYPE}` is the type of tokens about tasks")
    return name


def _known_class(name: str) -> str:
    if name not in data_classes():
        raise ValueError(f"no such data class; known are {', '.join(data_classes())}")
    return name


def _distinct(items: list[Any]) -> list[Any]:
    seen: list[Any] = []
    for item in items:
        if item in seen:
            raise ValueError("an entry is repeated")
        seen.append(item)
    return items


def _between(low: str, high: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not duration_ms(low) <= duration_ms(text) <= duration_ms(high):
            raise ValueError(f"outside {low} to {high}")
        return text

    return check


_Name = Annotated[str, StringConstraints(pattern=_NAME)]
_Label = Annotated[str, StringConstraints(pattern=_LABEL, max_length=128), AfterValidator(_nfc)]
_OwnLabel = Annotated[str, StringConstraints(pattern=_LABEL, max_length=128), AfterValidator(_already_nfc)]
_ToolLabel = Annotated[
    str,
    StringConstraints(pattern=_LABEL, max_length=128),
    AfterValidator(_already_nfc),
    AfterValidator(_no_item),
    Field(json_schema_extra={"not": {"pattern": _ITEM}}),
]
_Uri = Annotated[str, StringConstraints(pattern=URI_FORM, max_length=MOST_REGISTERED), AfterValidator(_readable)]
_Text = Annotated[str, StringConstraints(pattern=_TEXT, max_length=2_000), AfterValidator(_nfc)]
_ToolRight = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}(/[A-Za-z0-9_.%-]{1,512}){1,2}$")]
_Email = Annotated[str, StringConstraints(pattern=_EMAIL, max_length=254)]
_EmailOrGroup = Annotated[str, StringConstraints(pattern=_EMAIL_OR_GROUP, max_length=254)]
_Below = Annotated[str, StringConstraints(pattern=_BELOW, max_length=512)]
_Url = Annotated[str, StringConstraints(pattern=_URL, max_length=1_024)]
_Amount = Annotated[str, StringConstraints(pattern=_AMOUNT)]
_Duration = Annotated[str, StringConstraints(pattern=_DURATION)]
_Zone = Annotated[str, StringConstraints(pattern=_ZONE)]
_Claim = Annotated[str, StringConstraints(pattern=_CLAIM)]
_StatusUrl = Annotated[str, StringConstraints(pattern=_STATUS_URL, max_length=1_024)]
_TokenType = Annotated[
    str,
    StringConstraints(pattern=_TOKEN_TYPE),
    AfterValidator(_no_task_type),
    Field(json_schema_extra={"not": {"const": _TASK_TYPE}}),
]
_Variable = Annotated[str, StringConstraints(pattern=_VARIABLE)]
_Argument = Annotated[str, StringConstraints(pattern=_ARGUMENT, max_length=4_096)]
_Directory = Annotated[str, StringConstraints(pattern=_DIRECTORY, max_length=1_024), AfterValidator(_no_dots)]
_DigestText = Annotated[str, StringConstraints(pattern=_DIGEST)]
_DataClass = Annotated[
    str, AfterValidator(_known_class), WithJsonSchema({"type": "string", "enum": list(data_classes())})
]
_DataClasses = Annotated[list[_DataClass], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
_Column = Annotated[str, StringConstraints(pattern=_COLUMN)]
_NamespacePattern = Annotated[str, StringConstraints(pattern=_NAMESPACES, max_length=128)]
_Place = Annotated[str, StringConstraints(pattern=_PLACE, max_length=1_024), AfterValidator(_no_dots)]
_Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_EnvironmentName = Literal["development", "staging", "production"]
_Audience = Literal["staff", "employees", "partners", "web", "public"]


def _keys(pattern: str, longest: int, *, but: str | None = None) -> Any:
    """Says a mapping's key form with `propertyNames`: pydantic's `patternProperties` lets every other key pass."""

    def extra(made: dict[str, Any]) -> None:
        values = made.pop("patternProperties", None)
        if values:
            made["additionalProperties"] = next(iter(values.values()))
        made["propertyNames"] = {"pattern": pattern, "maxLength": longest}
        if but is not None:
            made["propertyNames"]["not"] = {"pattern": but}

    return extra


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


class _HoursForm(_Form):
    """Half-open minutes of local time."""

    window: Annotated[str, StringConstraints(pattern=_WINDOW)]
    days: Annotated[
        list[_Day],
        Field(min_length=1, max_length=7, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(default=list(get_args(_Day)))
    zone: _Zone

    def read(self) -> Hours:
        return Hours.parse(self.window, list(self.days), self.zone)


class _WhenForm(_Form):
    """Conditions that must all hold."""

    user_role: _OwnLabel | None = Field(None, description="a role the verified user must have")
    same_as: Annotated[
        dict[
            Annotated[str, StringConstraints(pattern=_INPUT_PATH)],
            Annotated[str, StringConstraints(pattern=_TASK_PATH)],
        ],
        Field(max_length=16, json_schema_extra=_keys(_INPUT_PATH, 600)),
    ] = Field(default={}, description="arguments that must equal the verified task's claims")


_GRANTED = ("allow", "resources", "prompts")


class _ToolsForm(_Form):
    """Tools, resources and prompts of one server, and when they may be used."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": [name]} for name in _GRANTED]})
    server: _Name
    allow: Annotated[
        list[_ToolLabel],
        Field(min_length=1, max_length=200, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(default=[], description="the server's own tool names")
    resources: Annotated[
        list[_Uri],
        Field(min_length=1, max_length=200, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(default=[], description="URIs of resources it may read, and templates of them, as the server lists them")
    prompts: Annotated[
        list[_OwnLabel],
        Field(min_length=1, max_length=200, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(default=[], description="the server's own names of prompts it may get")
    when: _WhenForm | None = None
    hours: _HoursForm | None = Field(None, description="narrows the agent's hours")
    mask: _DataClasses = Field(
        default=[], description="data classes that are taken out of the results, by the tool's registered `fields`"
    )

    @property
    def names(self) -> list[tuple[str, str]]:
        """(Where it stands in this form, name among the server's tools) of all that is granted."""
        return [
            *((f"allow[{place}]", own) for place, own in enumerate(self.allow)),
            *((f"resources[{place}]", resource_key(uri)) for place, uri in enumerate(self.resources)),
            *((f"prompts[{place}]", prompt_key(own)) for place, own in enumerate(self.prompts)),
        ]

    @model_validator(mode="after")
    def _grants_something(self) -> _ToolsForm:
        if not self.names:
            raise ValueError("nothing is granted; name tools under `allow`, `resources` or `prompts`")
        return self


class _DelegatedToolsForm(_Form):
    """Tools of one server that an agent may use in this one's stead, and when."""

    server: _Name
    allow: Annotated[
        list[_OwnLabel],
        Field(min_length=1, max_length=200, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(description="the server's own names of tools or models")
    when: _WhenForm | None = None


class _DelegateForm(_Form):
    """An agent that this one may hand work on to, and all that it may do with that."""

    agent: _Name = Field(description="an agent of the same environment")
    tools: Annotated[list[_DelegatedToolsForm], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _one_delegation_per_tool(self) -> _DelegateForm:
        named: set[tuple[str, str]] = set()
        for form in self.tools:
            for name in form.allow:
                if (form.server, name) in named:
                    raise ValueError(f"the tool `{name[:80]}` of `{form.server}` is delegated to `{self.agent}` twice")
                named.add((form.server, name))
        return self


class _ModelForm(_Form):
    provider: _Label
    model: _Label
    agreement: _Label | None = Field(None, description="the data processing agreement that covers it")


class _PromptForm(_Form):
    digest: _DigestText


class _UseForm(_Form):
    annex3: bool = Field(description="a use listed in Annex III of the EU AI Act")
    decides_on_people: bool = Field(description="has legal or similarly significant effect on a person")
    prohibited: Annotated[
        list[
            Literal[
                "manipulation",
                "exploiting-vulnerability",
                "social-scoring",
                "crime-prediction",
                "face-scraping",
                "emotion-at-work-or-school",
                "biometric-categorisation",
                "real-time-biometric-identification",
            ]
        ],
        Field(json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(
        default=[], description="practices of Article 5 of the EU AI Act; naming one keeps the agent from approval"
    )

    legal_role: Literal["provider", "deployer", "importer", "distributor"] | None = Field(
        None, description="what the organisation is to it under Article 3 of the EU AI Act"
    )


class _StoreForm(_Form):
    kind: Literal["memory", "knowledge"]
    adapter: _Label
    namespace: _Label | None = Field(None, description="without one, nothing in it can be certified to be gone")
    store: _Name | None = Field(None, description="the registered Store it is in; without one, nobody can look")


class _CostForm(_Form):
    per_day: _Amount


class _CallsForm(_Form):
    per_minute: Annotated[int, Field(ge=1, le=100_000)]


class _TimeoutForm(_Form):
    call: Annotated[_Duration, AfterValidator(_between("100ms", "10m"))] = "30s"
    run: Annotated[_Duration, AfterValidator(_between("1s", "24h"))] = "20m"


class _LimitsForm(_Form):
    """Ceilings; what is left out gets the default."""

    cost: _CostForm | None = None
    calls: _CallsForm = _CallsForm.model_construct(per_minute=60)
    timeout: _TimeoutForm = _TimeoutForm()
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 4


class _EnvelopeTimeoutForm(_Form):
    call: Annotated[_Duration, AfterValidator(_between("100ms", "10m"))] | None = None
    run: Annotated[_Duration, AfterValidator(_between("1s", "24h"))] | None = None


class _EnvelopeLimitsForm(_Form):
    """How high limits may become; one that is left out takes the gate."""

    cost: _CostForm | None = None
    calls: _CallsForm | None = None
    timeout: _EnvelopeTimeoutForm = _EnvelopeTimeoutForm()
    concurrency: Annotated[int, Field(ge=1, le=1_000)] | None = None


class _EnvelopeToolsForm(_Form):
    server: _Name
    allow: Annotated[
        list[_OwnLabel],
        Field(min_length=1, max_length=200, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(description="the server's own names of tools that are granted")


class _EnvelopeForm(_Form):
    """What may change later without another vote: it is judged and approved with the version that it is part of."""

    models: Annotated[list[_ModelForm], Field(max_length=50), AfterValidator(_distinct)] = Field(
        default=[], description="models that may be used instead of those of the version, or beside them"
    )
    prompts: Annotated[
        list[_DigestText], Field(max_length=100, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)
    ] = Field(default=[], description="digests of prompts that may take the place of the version's")
    limits: _EnvelopeLimitsForm | None = None
    definitions: Annotated[list[_EnvelopeToolsForm], Field(max_length=100)] = Field(
        default=[], description="tools whose pinned definition may become another one that differs in little"
    )


class _AgentMetadata(_Form):
    name: _Name
    team: _Name
    environment: _EnvironmentName


class _AgentSpec(_Form):
    purpose: _Text
    business_service: _Label | None = None
    owner: _Email
    backup_owner: _Email | None = None
    tools: Annotated[list[_ToolsForm], Field(max_length=100)]
    hours: _HoursForm | None = Field(None, description="when it may call at all; always, if left out")
    data: _DataClasses
    models: Annotated[list[_ModelForm], Field(max_length=50), AfterValidator(_distinct)]
    prompt: _PromptForm
    autonomy: Literal["suggests", "each-act-approved", "acts-with-approval", "acts-unattended", "self-starting"]
    audience: _Audience
    inputs: Annotated[
        list[_Audience],
        Field(min_length=1, max_length=5, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(description="who or what can put text in front of it")
    reach: Literal["user", "team", "department", "company", "cross-tenant"]
    use: _UseForm
    delegates: Annotated[list[_DelegateForm], Field(max_length=50)] = Field(
        default=[], description="agents it may hand work on to, and the tools they may use for it"
    )
    stores: Annotated[list[_StoreForm], Field(max_length=50), AfterValidator(_distinct)] = []
    limits: _LimitsForm = _LimitsForm()
    expires: date | None = Field(None, description="the last day (UTC) on which it may run")
    envelope: _EnvelopeForm | None = Field(None, description="changes that are approved beforehand")

    @model_validator(mode="after")
    def _one_grant_per_tool(self) -> _AgentSpec:
        granted: set[tuple[str, str]] = set()
        for form in self.tools:
            for _, name in form.names:
                if (form.server, name) in granted:
                    # all parts of a grant conjoin; two grants of one tool would widen each other
                    what = "tool" if item_kind(name) is None else "item"
                    raise ValueError(f"the {what} `{name[:80]}` of `{form.server}` is granted twice")
                granted.add((form.server, name))
        delegates = [form.agent for form in self.delegates]
        if twice := next((name for name in delegates if delegates.count(name) > 1), None):
            raise ValueError(f"the delegate `{twice}` is named twice")
        return self


class AgentManifest(_Form):
    """The declaration of an agent."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Agent"]
    metadata: _AgentMetadata
    spec: _AgentSpec


class _NamedMetadata(_Form):
    name: _Name


class _TeamSpec(_Form):
    zones: Annotated[
        list[_Zone], Field(max_length=50, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)
    ] = Field(description="the IANA time zones its agents may name")


class TeamManifest(_Form):
    """A team and the time zones its agents may keep hours in."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Team"]
    metadata: _NamedMetadata
    spec: _TeamSpec


_Several = Annotated[
    list[_Audience],
    Field(min_length=1, max_length=5, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


class _TemplateToolsForm(_Form):
    server: _Name
    allow: Annotated[
        list[_OwnLabel],
        Field(min_length=1, max_length=200, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(description="the server's own names of tools or models")


class _TemplateMetadata(_Form):
    name: _Name
    team: _Name


class _TemplateSpec(_Form):
    """Upper bounds: a version is within them or takes the full gate."""

    tools: Annotated[list[_TemplateToolsForm], Field(max_length=100)] = Field(
        description="tools and models, as they are pinned and registered when it is approved"
    )
    data: _DataClasses
    models: Annotated[list[_ModelForm], Field(max_length=50), AfterValidator(_distinct)] = []
    autonomy: Annotated[
        list[Literal["suggests", "each-act-approved", "acts-with-approval", "acts-unattended", "self-starting"]],
        Field(min_length=1, max_length=5, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ]
    audience: _Several
    inputs: _Several
    reach: Annotated[
        list[Literal["user", "team", "department", "company"]],
        Field(min_length=1, max_length=4, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ]
    limits: _LimitsForm
    expires: date = Field(description="the last day (UTC) on which it counts, at most a year ahead")


class TemplateManifest(_Form):
    """What agents of a team may be that were approved before they exist: within it a team lead's word is enough."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Template"]
    metadata: _TemplateMetadata
    spec: _TemplateSpec


class _PersonSpec(_Form):
    email: _Email
    controlled_by: (
        Annotated[
            list[_EmailOrGroup],
            Field(min_length=1, max_length=50, json_schema_extra={"uniqueItems": True}),
            AfterValidator(_distinct),
        ]
        | None
    ) = Field(None, description="marks a service account, and says who answers for what it does; it never votes")
    manager: _Email | None = Field(
        None, description="a registered person who is asked about the agents that this one leaves behind"
    )


class PersonManifest(_Form):
    """Somebody who can own agents, or a service account."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Person"]
    spec: _PersonSpec


class _GroupSpec(_Form):
    members: Annotated[
        list[_Email], Field(max_length=1_000, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)
    ] = Field(default=[], description="e-mail addresses of registered people")
    groups: Annotated[
        list[_Name], Field(max_length=100, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)
    ] = Field(default=[], description="names of groups whose members belong to this one")


class GroupManifest(_Form):
    """People and groups that can be given a role together."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Group"]
    metadata: _NamedMetadata
    spec: _GroupSpec


_VotingRole = Literal["team-lead", "security", "compliance", "business-owner", "admin"]
_Told = Annotated[
    list[_EmailOrGroup],
    Field(min_length=1, max_length=20, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


class _GateMetadata(_Form):
    name: Literal[
        "low",
        "medium",
        "high",
        "erasure",
        "fact-source",
        "policy-release",
        "purge",
        "retirement",
        "role-grant",
        "tool-fact",
    ] = Field(description="of a risk tier: the gate of agents' versions; else the kind of what is signed off")


class _GateSpec(_Form):
    """It adds to what is built in, and can take nothing from it."""

    roles: dict[_VotingRole, Annotated[int, Field(ge=1, le=10)]] = Field(
        default={}, description="how many persons of a role must approve, if more than are built in"
    )
    comment: bool = Field(False, description="whether every approval needs words")
    backups: dict[_VotingRole, _Told] = Field(
        default={}, description="by role, who is told once nine tenths of the time are over; they get no vote by it"
    )
    heads: dict[_VotingRole, _Told] = Field(default={}, description="the same, on the last day or so")


class GateManifest(_Form):
    """What an organisation asks of a gate beyond what is built in."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Gate"]
    metadata: _GateMetadata
    spec: _GateSpec


_Names = Annotated[
    list[_Name],
    Field(min_length=1, max_length=500, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


class _ReviewScopeForm(_Form):
    """Agents in production; what is left out selects by nothing."""

    teams: _Names | None = None
    tiers: (
        Annotated[
            list[Literal["low", "medium", "high"]],
            Field(min_length=1, max_length=3, json_schema_extra={"uniqueItems": True}),
            AfterValidator(_distinct),
        ]
        | None
    ) = None
    agents: _Names | None = None
    business_services: (
        Annotated[
            list[_Label],
            Field(min_length=1, max_length=500, json_schema_extra={"uniqueItems": True}),
            AfterValidator(_distinct),
        ]
        | None
    ) = None


class _RecurrenceForm(_Form):
    """Months between two reviews, by tier: as often as is built in, or more often."""

    low: Annotated[int, Field(ge=1, le=12)] = 12
    medium: Annotated[int, Field(ge=1, le=6)] = 6
    high: Annotated[int, Field(ge=1, le=3)] = 3


class _SeasonalForm(_Form):
    server: _Name
    allow: Annotated[
        list[_OwnLabel],
        Field(min_length=1, max_length=200, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(description="the server's own names of tools that are used in seasons")
    every_months: Annotated[int, Field(ge=1, le=12)] = Field(description="how often they are used at least")


class _ReviewScheduleSpec(_Form):
    """It reviews more often than what is built in, and never less."""

    scope: _ReviewScopeForm = _ReviewScopeForm.model_construct(
        teams=None, tiers=None, agents=None, business_services=None
    )
    every: _RecurrenceForm = _RecurrenceForm.model_construct(low=12, medium=6, high=3)
    day: Annotated[int, Field(ge=1, le=28)] = Field(1, description="of the month (UTC) on which reviews begin")
    respond_days: Annotated[int, Field(ge=1, le=30)] = Field(14, description="how long people have to answer")
    grace_days: Annotated[int, Field(ge=0, le=14)] = Field(
        7, description="how much longer before an agent of the high tier is suspended that nobody answered for"
    )
    seasonal: Annotated[list[_SeasonalForm], Field(max_length=100)] = Field(
        default=[], description="tools that are not called unused in the pause between two seasons"
    )


class ReviewScheduleManifest(_Form):
    """How often agents in production are reviewed."""

    api_version: Literal["accredit/v1"]
    kind: Literal["ReviewSchedule"]
    metadata: _NamedMetadata
    spec: _ReviewScheduleSpec


class _AgreementSpec(_Form):
    provider: _Label = Field(description="as manifests of agents name it in `models`")
    covers: Annotated[_DataClasses, Field(min_length=1)] = Field(description="data classes it lets the supplier see")
    document: _DigestText = Field(description="digest of the contract itself, which lies elsewhere")
    expires: date | None = Field(None, description="the last day (UTC) on which it holds")


class AgreementManifest(_Form):
    """The record that a supplier of models may process data."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Agreement"]
    metadata: _NamedMetadata
    spec: _AgreementSpec


class _StoredForm(_Form):
    """Where in an item what stands; a store whose items have a form of their own ignores it."""

    id: _Column = "id"
    text: _Column = "text"
    created: _Column | None = Field(default=None, description="when it was made, as epoch seconds or an ISO time")


class _StoreSpec(_Form):
    adapter: Literal["chroma", "files", "lancedb", "mem0", "postgres", "qdrant", "qdrant-local", "s3", "sqlite"]
    location: _Place = Field(description="a path of this machine, or a URL without a secret in it")
    credential: _Name | None = Field(None, description="name of the brokered credential, pinned to the location's host")
    namespaces: Annotated[
        list[_NamespacePattern],
        Field(min_length=1, max_length=1_000, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(description="collections, tables, folders or prefixes, by name or as `support-*`")
    shared: bool = Field(description="whether one namespace holds what belongs to several agents")
    owner_field: _Column | None = Field(
        None, description="where an item of a shared namespace names its agent, by id or name"
    )
    subject_field: _Column | None = Field(None, description="where an item names the person it is about")
    key_scope: _Label | None = Field(
        None, description="names the key that everything in it was always encrypted under, where it can be destroyed"
    )
    items: _StoredForm = _StoredForm.model_construct(id="id", text="text", created=None)


class _ServerMetadata(_Form):
    name: _Name
    environment: _EnvironmentName


class StoreManifest(_Form):
    """A store of memory or knowledge, and how what is in it can be reached, told apart and purged."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Store"]
    metadata: _ServerMetadata
    spec: _StoreSpec


class _ToolForm(_Form):
    """What an operator says about a tool; the server's own hints do not count."""

    model_config = ConfigDict(
        json_schema_extra={"if": {"required": ["scope"]}, "then": {"properties": {"effect": {"const": "write"}}}}
    )
    effect: Literal["read", "write", "external", "irreversible", "administer"]
    scope: Literal["own", "record"] = Field(
        "record", description="of a write: the agent's own things, or records others rely on"
    )
    data: _DataClasses = Field(description="what its results can contain")
    price: _Amount | None = Field(None, description="per call; a call without a registered price is refused")
    fields: Annotated[dict[_OwnLabel, _DataClass], Field(max_length=500, json_schema_extra=_keys(_LABEL, 128))] = Field(
        default={}, description="properties of its results, at any depth, and the data class each carries"
    )
    allow_undeclared: bool = Field(False, description="let arguments pass that the schema does not declare")

    @model_validator(mode="after")
    def _only_writes_have_scope(self) -> _ToolForm:
        if "scope" in self.model_fields_set and self.effect != "write":
            raise ValueError("`scope` belongs to the effect `write` alone")
        return self


class _ItemForm(_Form):
    """What an operator says about a resource, a template of resources, or a prompt: it is read."""

    data: _DataClasses = Field(description="what it can contain")
    price: _Amount | None = Field(None, description="per read; a read without a registered price is refused")

    def as_tool(self) -> _ToolForm:
        return _ToolForm.model_validate({"effect": "read", "data": self.data, "price": self.price})


_OFFERED = ("tools", "resources", "prompts")


class _StdioForm(_Form):
    """A program that is started here and spoken to over its standard input and output."""

    command: _Directory = Field(description="the absolute path of the program; no shell reads it")
    args: Annotated[list[_Argument], Field(max_length=256)] = Field(default=[], description="what it is given")
    directory: _Directory | None = Field(
        None, description="the directory it works in; without it, an empty one of its own"
    )
    env: Annotated[dict[_Variable, _Argument], Field(max_length=64, json_schema_extra=_keys(_VARIABLE, 127))] = Field(
        default={}, description="its whole environment, but for the credential: nothing is inherited"
    )
    credential_variable: _Variable | None = Field(
        None, description="the variable of its environment that holds the brokered credential"
    )
    network: Literal["none", "host"] = Field(
        "none", description="whether it reaches the network of this machine, its loopback included"
    )
    reads: Annotated[list[_Directory], Field(max_length=64)] = Field(
        default=[], description="files and directories it sees though they lie where all others are hidden from it"
    )
    writes: Annotated[list[_Directory], Field(max_length=64)] = Field(
        default=[], description="files and directories it may write, as far as its user may: all others are read-only"
    )

    @model_validator(mode="after")
    def _named_once(self) -> _StdioForm:
        if self.credential_variable is not None and self.credential_variable in self.env:
            raise ValueError("`credentialVariable` stands in `env` as well")
        return self

    def read(self) -> Launch:
        return Launch(
            self.command,
            tuple(self.args),
            self.directory,
            tuple(sorted(self.env.items())),
            self.credential_variable,
            self.network,
            tuple(sorted(set(self.reads))),
            tuple(sorted(set(self.writes))),
        )


_NOT_LOCAL: Final = ("credential", "elicitation", "openapi", "prompts", "resources", "revision")
"""What functions of a program have not, which are never called from here."""


class _DefinitionForm(_Form):
    """What a function of a program says of itself, as a tool server would list it."""

    title: _Label | None = None
    description: _Text | None = None
    input_schema: dict[str, Any] = Field(description="a JSON Schema of its arguments, an object's")
    output_schema: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None


class _ServerSpec(_Form):
    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in _OFFERED],
            "oneOf": [{"required": ["url"]}, {"required": ["stdio"]}, {"required": ["definitions"]}],
            "dependentSchemas": {
                "openapi": {"required": ["url"], "properties": {"revision": False}},
                "definitions": {"required": ["tools"], "properties": dict.fromkeys(_NOT_LOCAL, False)},
            },
            "if": {"required": ["openapi"], "properties": {"openapi": {"type": "string"}}},
            "then": {
                "required": ["tools"],
                "properties": {"resources": {"maxProperties": 0}, "prompts": {"maxProperties": 0}},
            },
        }
    )
    url: _Url | None = Field(None, description="where it is, unless it is started here")
    stdio: _StdioForm | None = Field(
        None, description="how it is started here; takes two persons, in every environment"
    )
    revision: Literal["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"] | None = Field(
        None, description="of MCP, that it is spoken to in; without it, the one found when it is registered"
    )
    credential: _Name | None = Field(None, description="name of the brokered upstream credential")
    openapi: _Below | None = Field(
        None,
        description="of an HTTP API: the path of its OpenAPI document below `url`; without it, the server speaks MCP",
    )
    elicitation: Annotated[list[Literal["form", "url"]], Field(max_length=2)] = Field(
        default=[], description="of an MCP server: how it may ask the agent's user for something; by default not at all"
    )
    definitions: (
        Annotated[
            dict[_ToolLabel, _DefinitionForm],
            Field(min_length=1, max_length=1_000, json_schema_extra=_keys(_LABEL, 128, but=_ITEM)),
        ]
        | None
    ) = Field(
        None,
        description="of functions that exist in a program alone, one for each of `tools`: asked about, and never "
        "called through the gateway",
    )
    tools: Annotated[
        dict[_ToolLabel, _ToolForm],
        Field(min_length=1, max_length=1_000, json_schema_extra=_keys(_LABEL, 128, but=_ITEM)),
    ] = Field(default={}, description="by the server's own tool names")
    resources: Annotated[
        dict[_Uri, _ItemForm], Field(min_length=1, max_length=1_000, json_schema_extra=_keys(URI_FORM, MOST_REGISTERED))
    ] = Field(default={}, description="by URI, or by template of URIs, as the server lists them")
    prompts: Annotated[
        dict[_OwnLabel, _ItemForm], Field(min_length=1, max_length=1_000, json_schema_extra=_keys(_LABEL, 128))
    ] = Field(default={}, description="by the server's own names")

    @cached_property
    def registered(self) -> Mapping[str, _ToolForm]:
        """All that it offers, by its name among the server's tools: tools and items."""
        return {
            **self.tools,
            **{resource_key(uri): form.as_tool() for uri, form in self.resources.items()},
            **{prompt_key(name): form.as_tool() for name, form in self.prompts.items()},
        }

    @model_validator(mode="after")
    def _offers_something(self) -> _ServerSpec:
        if not self.registered:
            raise ValueError("nothing is offered; name `tools`, `resources` or `prompts`")
        if self.openapi is not None and (self.resources or self.prompts):
            raise ValueError("an HTTP API has `tools` alone")
        return self

    @model_validator(mode="after")
    def _only_mcp_elicits(self) -> _ServerSpec:
        if self.elicitation and self.openapi is not None:
            raise ValueError("an HTTP API has no `elicitation`")
        return self

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> _ServerSpec:
        ways = [way for way in (self.url, self.stdio, self.definitions) if way is not None]
        if len(ways) != 1:
            raise ValueError("a tool server has a `url`, is started here by `stdio`, or has its `definitions` here")
        if self.definitions is not None:
            if any(getattr(self, name) for name in _NOT_LOCAL):
                raise ValueError(f"with `definitions` there is no {', '.join(f'`{name}`' for name in _NOT_LOCAL)}")
            if self.definitions.keys() != self.tools.keys():
                raise ValueError("`definitions` and `tools` name the same functions")
        if self.openapi is not None and (self.stdio is not None or self.revision is not None):
            raise ValueError("`openapi` belongs to an HTTP API, which has a `url` and no `revision`")
        if self.stdio is not None and (self.credential is None) is not (self.stdio.credential_variable is None):
            raise ValueError("`credential` and `stdio.credentialVariable` belong together")
        return self


class ToolServerManifest(_Form):
    """An MCP server, or an HTTP API, and those of its tools that agents may be granted."""

    api_version: Literal["accredit/v1"]
    kind: Literal["ToolServer"]
    metadata: _ServerMetadata
    spec: _ServerSpec


class RatesForm(_Form):
    """What a million tokens of a model cost; its list price, if left out."""

    input: _Amount | None = None
    output: _Amount | None = None
    cache_read: _Amount | None = Field(
        None, description="of input from the provider's cache; that of input, if left out"
    )
    cache_write: _Amount | None = Field(None, description="of input put into it; that of input, if left out")
    max_output: int | None = Field(
        None, ge=1, le=10_000_000, description="tokens that one answer can have; all it can take in, if left out"
    )

    @model_validator(mode="after")
    def _whole(self) -> RatesForm:
        if (self.input is None) is not (self.output is None) or (
            self.input is None and (self.cache_read or self.cache_write)
        ):
            raise ValueError("prices are given of input and output, or not at all")
        if self.input is not None and self.max_output is None:
            raise ValueError("with prices of its own a model needs `maxOutput`")
        return self

    @model_validator(mode="after")
    def _one_currency(self) -> RatesForm:
        given = [
            amount for amount in (self.input, self.output, self.cache_read, self.cache_write) if amount is not None
        ]
        if len({amount.split()[1] for amount in given}) > 1:
            raise ValueError("the prices of one model are in one currency")
        return self


class _ProviderSpec(_Form):
    api: Literal["anthropic", "openai"]
    url: _Url = Field(description="without the version: `https://api.anthropic.com`")
    credential: _Name | None = Field(None, description="name of the brokered upstream credential")
    prices: _Name | None = Field(
        None, description="whose list prices hold, such as `openai`; by the address, if left out"
    )
    models: Annotated[
        dict[_OwnLabel, RatesForm],
        Field(min_length=1, max_length=1_000, json_schema_extra=_keys(_LABEL, 128)),
    ] = Field(description="by the provider's own names")

    openapi: ClassVar[None] = None

    @cached_property
    def registered(self) -> Mapping[str, _ToolForm]:
        """Its models, as the tools that they are to everything else."""
        return {name: _ToolForm.model_validate({"effect": "read", "data": []}) for name in self.models}


class ModelProviderManifest(_Form):
    """A provider of language models and those of its models that agents may be granted."""

    api_version: Literal["accredit/v1"]
    kind: Literal["ModelProvider"]
    metadata: _ServerMetadata
    spec: _ProviderSpec


class _KeyForm(_Form):
    """A public key, of a kind identity verifies with: no form has a place for a private part."""

    kid: _Label
    use: Literal["sig"] | None = None
    key_ops: list[Literal["verify"]] | None = Field(None, alias="key_ops", max_length=1)


class _EcKeyForm(_KeyForm):
    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: Annotated[str, StringConstraints(pattern=_BASE64URL, min_length=43, max_length=43)]
    y: Annotated[str, StringConstraints(pattern=_BASE64URL, min_length=43, max_length=43)]
    alg: Literal["ES256"] | None = None


class _RsaKeyForm(_KeyForm):
    kty: Literal["RSA"]
    n: Annotated[str, StringConstraints(pattern=_BASE64URL, min_length=342, max_length=683)]
    e: Literal["AQAB"]
    alg: Literal["RS256"] | None = None


class _OkpKeyForm(_KeyForm):
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: Annotated[str, StringConstraints(pattern=_BASE64URL, min_length=43, max_length=43)]
    alg: Literal["Ed25519"] | None = None


class _JwksForm(_Form):
    keys: Annotated[
        list[Annotated[_EcKeyForm | _RsaKeyForm | _OkpKeyForm, Field(discriminator="kty")]],
        Field(min_length=1, max_length=16),
    ]

    @model_validator(mode="after")
    def _kids_differ(self) -> _JwksForm:
        if len({key.kid for key in self.keys}) != len(self.keys):
            raise ValueError("two keys have one `kid`")
        return self


class _IssuerForm(_Form):
    issuer: _Url = Field(description="exactly the `iss` of its tokens")
    jwks: _JwksForm
    audience: _Url | None = Field(None, description="the `aud` its tokens carry; ours, if left out")
    claims: Annotated[
        dict[_Claim, Literal["string", "integer", "boolean"]],
        Field(max_length=32, json_schema_extra=_keys(_CLAIM, 63)),
    ] = Field(default={}, description="the claims that are let through, and their types")


class _UserIssuerSpec(_IssuerForm):
    use: Literal["user"]
    token_type: _TokenType = Field("at+jwt", description="exactly the `typ` of its tokens")
    roles_claim: _Claim = Field("roles", description="the claim that lists the user's roles")
    role_names: Annotated[dict[_OwnLabel, _OwnLabel], Field(max_length=256, json_schema_extra=_keys(_LABEL, 128))] = (
        Field(default={}, description="the issuer's name of a role: ours; if any is given, other roles are dropped")
    )


class _TaskIssuerSpec(_IssuerForm):
    use: Literal["task"]
    status_url: _StatusUrl = Field(description="answers `{open: bool}` for the task put in place of `{task}`")


class IssuerManifest(_Form):
    """Somebody whose signed word about users or tasks counts."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Issuer"]
    metadata: _NamedMetadata
    spec: Annotated[_UserIssuerSpec | _TaskIssuerSpec, Field(discriminator="use")]


class _ContextProviderSpec(_Form):
    of: Literal["user", "task"] = Field(description="what its facts are about")
    issuer: _Name = Field(description="the registered issuer whose users or tasks it knows")
    url: _Url = Field(description="is sent `{for, id, issuer}` by POST and answers with one object of facts")
    facts: Annotated[
        dict[_Claim, Literal["string", "integer", "boolean"]],
        Field(min_length=1, max_length=32, json_schema_extra=_keys(_CLAIM, 63)),
    ] = Field(description="the facts that are let through, and their types")
    credential: _Name | None = Field(None, description="name of the brokered upstream credential")
    ttl: Annotated[_Duration, AfterValidator(_between("1s", "1h"))] = Field("60s", description="how long they count")
    timeout: Annotated[_Duration, AfterValidator(_between("10ms", "2s"))] = "300ms"
    max_bytes: Annotated[int, Field(ge=64, le=65_536)] = 4_096
    off: bool = Field(False, description="ask it no more: its facts are absent")

    @model_validator(mode="after")
    def _age_is_ours(self) -> _ContextProviderSpec:
        if "age_s" in self.facts:
            raise ValueError("`age_s` is how old the facts are, which is measured")
        return self


class ContextProviderManifest(_Form):
    """Somebody whose word about the users or tasks of an issuer counts, and is asked for while calls are decided."""

    api_version: Literal["accredit/v1"]
    kind: Literal["ContextProvider"]
    metadata: _NamedMetadata
    spec: _ContextProviderSpec


class _PointCallsForm(_Form):
    per_minute: Annotated[int, Field(ge=1, le=1_000_000)]


class _PointSpec(_Form):
    types: Annotated[
        list[Annotated[str, StringConstraints(pattern=_EXTERNAL_TYPE)]],
        Field(max_length=200, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(default=[], description="types under `ext/` of the policy release that it may ask about")
    servers: Annotated[
        list[_Name], Field(max_length=200, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)
    ] = Field(default=[], description="tool servers whose tools it may ask about, whichever agent would call")
    calls: _PointCallsForm = Field(
        default_factory=lambda: _PointCallsForm.model_construct(per_minute=6_000),
        description="questions it may ask, and reports it may send",
    )
    reports: Literal["development", "staging", "production"] | None = Field(
        default=None, description="it is a collector: it may report what agents of this environment did (OTLP)"
    )


class EnforcementPointManifest(_Form):
    """An application or gateway that asks for decisions (AuthZEN) and enforces them itself."""

    api_version: Literal["accredit/v1"]
    kind: Literal["EnforcementPoint"]
    metadata: _NamedMetadata
    spec: _PointSpec


class _MappedGroupForm(_Form):
    name: _Label = Field(description="the directory's name of the group (`displayName`)")
    group: _Name | None = Field(
        None, description="the group of ours whose members it keeps; it takes roles as any does"
    )
    team: _Name | None = Field(None, description="the team whose people are in it")
    user_roles: Annotated[
        list[_Label], Field(max_length=50, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)
    ] = Field(default=[], description="roles that its members have where an agent acts for them; nobody else has them")
    tools: Annotated[
        list[_ToolRight], Field(max_length=500, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)
    ] = Field(default=[], description="tools, as `server/tool`, that its members alone have a right to")


class _DirectorySpec(_Form):
    issuer: _Name | None = Field(None, description="the registered issuer whose users these are")
    subject: Literal["externalId", "id", "userName"] = Field(
        "externalId", description="which attribute of a user is the `sub` of that issuer's tokens"
    )
    groups: list[_MappedGroupForm] = Field(
        default=[], max_length=500, description="what its groups give; a group that does not stand here gives nothing"
    )


class DirectoryManifest(_Form):
    """Whoever provisions users and groups here (SCIM), and exactly what that gives."""

    api_version: Literal["accredit/v1"]
    kind: Literal["Directory"]
    metadata: _NamedMetadata
    spec: _DirectorySpec


Document = (
    AgentManifest
    | AgreementManifest
    | ContextProviderManifest
    | DirectoryManifest
    | EnforcementPointManifest
    | GateManifest
    | GroupManifest
    | IssuerManifest
    | ModelProviderManifest
    | PersonManifest
    | ReviewScheduleManifest
    | StoreManifest
    | TeamManifest
    | TemplateManifest
    | ToolServerManifest
)

KINDS: Mapping[str, type[Document]] = {
    "Person": PersonManifest,
    "Group": GroupManifest,
    "Gate": GateManifest,
    "Team": TeamManifest,
    "Agreement": AgreementManifest,
    "Issuer": IssuerManifest,
    "ContextProvider": ContextProviderManifest,
    "ToolServer": ToolServerManifest,
    "ModelProvider": ModelProviderManifest,
    "Template": TemplateManifest,
    "EnforcementPoint": EnforcementPointManifest,
    "Store": StoreManifest,
    "Directory": DirectoryManifest,
    "ReviewSchedule": ReviewScheduleManifest,
    "Agent": AgentManifest,
}
"""Every kind, in the order in which they are applied: what others name comes first."""


def schema(kind: str) -> dict[str, Any]:
    """The published JSON Schema (2020-12) of a kind, as served at its `$id`.

    Raises:
        InvalidInputError: there is no such kind.
    """
    form = KINDS.get(kind)
    if form is None:
        raise InvalidInputError(Code.MANIFEST_INVALID, f"`{kind[:40]}` is not a kind", hint=f"use {', '.join(KINDS)}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"/api/v1/schemas/{kind.lower()}.json",
        **form.model_json_schema(by_alias=True),
        "title": kind,
    }


def read_manifests(data: bytes) -> tuple[Document, ...]:
    """Every manifest of a YAML or JSON file.

    Raises:
        ManifestError: with every fault of every document.
        InvalidInputError: the file as such cannot be read.
    """
    documents: list[Document] = []
    faults: list[ManifestFault] = []
    for number, raw in enumerate(read_documents(data), 1):
        read = _read(raw, number)
        if isinstance(read, list):
            faults += read
        else:
            documents.append(read)
    if faults:
        raise ManifestError(faults)
    if not documents:
        raise InvalidInputError(Code.MANIFEST_INVALID, "the file holds no manifest", hint=f"kinds: {', '.join(KINDS)}")
    return tuple(documents)


PriceList = Mapping[str, Mapping[str, RatesForm]]
"""By the kind of interface, then by the provider's own name of the model; `*` is any other."""


class _PriceListForm(_Form):
    anthropic: Annotated[dict[str, RatesForm], Field(max_length=10_000)] = {}
    openai: Annotated[dict[str, RatesForm], Field(max_length=10_000)] = {}


def read_price_list(data: bytes) -> PriceList:
    """Read an operator's own prices.

    Raises:
        InvalidInputError: it is not of the form, with the path at fault.
    """
    documents = read_documents(data)
    if len(documents) != 1:
        raise InvalidInputError(Code.MANIFEST_INVALID, "a price list is one document")
    try:
        form = _PriceListForm.model_validate(documents[0].value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"]))[:200]
        raise InvalidInputError(Code.MANIFEST_INVALID, f"`{path}`: {str(first['msg'])[:200]}") from error
    for api, models in (("anthropic", form.anthropic), ("openai", form.openai)):
        for model, rates in models.items():
            if rates.input is None:
                raise InvalidInputError(Code.MANIFEST_INVALID, f"`{api}.{model[:120]}`: it has no prices")
    return {"anthropic": form.anthropic, "openai": form.openai}


def _read(raw: RawDocument, number: int) -> Document | list[ManifestFault]:
    value, label = raw.value, f"document {number}"
    if not isinstance(value, dict):
        return [
            ManifestFault(label, "", "not a mapping", f"start with `apiVersion: accredit/v1`, `kind: {_KIND_LIST}`")
        ]
    kind = value.get("kind")
    form = KINDS.get(kind) if isinstance(kind, str) else None
    if form is None:
        said = f"`{kind[:40]}`" if isinstance(kind, str) else "nothing"
        return [
            ManifestFault(label, "kind", f"{said} is not a kind", f"use {_KIND_LIST}", line=raw.lines.get(("kind",)))
        ]
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    label = f"{kind} {name}" if isinstance(name, str) and re.fullmatch(_NAME, name) else f"{kind} in document {number}"
    try:
        # the JSON mode of strict forms takes a text for a date and a list for a list, and nothing else for either
        return form.model_validate_json(orjson.dumps(value))
    except ValidationError as error:
        return [_fault(label, item, raw) for item in error.errors(include_url=False)]
    except TypeError as error:  # a lone surrogate: no bytes of it exist
        return [ManifestFault(label, "", f"a text is not Unicode: {str(error)[:80]}")]


_KIND_LIST = ", ".join(KINDS)


def _fault(label: str, item: Any, raw: RawDocument) -> ManifestFault:
    at = _located(item["loc"], raw.value)
    line = next((raw.lines[at[:size]] for size in range(len(at), 0, -1) if at[:size] in raw.lines), None)
    kind, context = item["type"], item.get("ctx", {})
    message, hint = str(item["msg"]), ""
    if kind == "extra_forbidden":
        message, hint = "unknown key", _near(str(at[-1]) if at else "")
    elif kind == "missing":
        message = "missing"
    elif kind == "string_pattern_mismatch":
        message = f"{_shown(item['input'])} does not have the form due here"
        hint = _HINTS.get(context.get("pattern", ""), "")
    elif kind == "value_error":
        message = str(context.get("error", message))
    else:
        message = f"{message[:1].lower()}{message[1:]}"
    return ManifestFault(label, _spelled(at), message[:300], hint, line=line)


def _located(loc: tuple[int | str, ...], value: Any) -> tuple[int | str, ...]:
    """The path in the document: pydantic also names the member of a union and marks keys with `[key]`."""
    at: list[int | str] = []
    for index, step in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(value, dict) and isinstance(step, str):
            if step in value:
                at.append(step)
                value = value[step]
            elif last and step != "[key]":
                at.append(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            at.append(step)
            value = value[step]
    return tuple(at)


def _spelled(at: tuple[int | str, ...]) -> str:
    text = ""
    for step in at:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = step if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", step) else _shown(step)
            text += f".{shown}" if text else shown
    return text


def _shown(value: Any) -> str:
    """A text from outside, so that it cannot imitate the screen around it."""
    return f"`{json.dumps(str(value)[:80])[1:-1]}`"


def _near(key: str) -> str:
    """For an unknown key: the key that was probably meant."""
    near = difflib.get_close_matches(key[:80], _all_keys(), n=1, cutoff=0.75)
    return f"did you mean `{near[0]}`?" if near else "keys are listed in the kind's JSON Schema"


def _keys_of(node: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            found |= set(node["properties"])
        for child in node.values():
            found |= _keys_of(child)
    elif isinstance(node, list):
        for child in node:
            found |= _keys_of(child)
    return found


@cache
def _all_keys() -> list[str]:
    return sorted(set().union(*(_keys_of(form.model_json_schema(by_alias=True)) for form in KINDS.values())))
