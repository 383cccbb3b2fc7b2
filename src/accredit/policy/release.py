"""A release: the immutable set of hand-written policies that is in force, addressed by one digest.

The digest covers every text (policies, their tests and settings), the engine's version and the agent ids that names
were resolved to, so two replicas with one digest decide alike and an agent that reuses a name inherits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from accredit.kernel.canonical import Digest, digest, digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.config import CONFIG_FILE, PolicyConfig, read_config
from accredit.policy.external import ExternalModel, is_external, read_external
from accredit.policy.ports import Engine
from accredit.policy.reads import named_entities
from accredit.policy.sources import Layer, Policy, policy_of

__all__ = [
    "LintLevel",
    "PolicyFinding",
    "PolicyInvalidError",
    "Release",
    "is_policy",
    "is_test",
    "is_veto",
    "layer_of",
    "read_release",
]

_VETO = re.compile(r"org/[a-z0-9][a-z0-9_.-]{0,62}\.rego")
_PATH = re.compile(r"(?:org|(?:team|agent)/[a-z][a-z0-9-]{0,62})/[a-z0-9][a-z0-9_.-]{0,62}\.cedar")
_TESTS = re.compile(r"tests/(?:[a-z0-9][a-z0-9_.-]{0,62}/){0,3}[a-z0-9][a-z0-9_.-]{0,62}\.ya?ml")
_MAX_FILES = 50_000


class LintLevel(StrEnum):
    """What a finding does."""

    REFUSED = "refused"
    """Nothing is published."""
    WARNING = "warning"
    """It is published, and said."""


@dataclass(frozen=True, slots=True)
class PolicyFinding:
    """One thing wrong with one policy, and what to do about it."""

    path: str
    policy: str
    """The policy's id; empty if the file could not be read that far."""
    message: str
    fix: str
    rule: str = "invalid"
    """Which kind of fault it is."""
    severity: LintLevel = LintLevel.REFUSED

    def __str__(self) -> str:
        return f"{self.policy or self.path}: {self.message}"


class PolicyInvalidError(InvalidInputError):
    """Policies were refused; `findings` names every fault at once."""

    def __init__(self, findings: tuple[PolicyFinding, ...]) -> None:
        more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
        super().__init__(Code.POLICY_INVALID, f"{findings[0]}{more}", hint=findings[0].fix)
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Release:
    """An immutable set of policies."""

    digest: Digest
    engine: str
    files: Mapping[str, str]
    agents: Mapping[str, str]
    """Agent names the texts use, and the ids they meant when this was published."""
    policies: tuple[Policy, ...]
    config: PolicyConfig = field(default_factory=PolicyConfig)
    vetoes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Modules of the second engine, by id."""
    external: ExternalModel = field(default_factory=ExternalModel)
    """Types of other applications: apart from all that is about agents."""

    @property
    def tests(self) -> Mapping[str, str]:
        """The files of test cases, by path."""
        return {path: text for path, text in self.files.items() if is_test(path)}


def is_test(path: str) -> bool:
    """Whether a file of a policy directory holds test cases."""
    return _TESTS.fullmatch(path) is not None


def is_veto(path: str) -> bool:
    """Whether a file is a module of the second engine."""
    return _VETO.fullmatch(path) is not None


def is_policy(path: str) -> bool:
    """Whether a file is one of policies, or should be: neither test cases, nor settings, nor of the second engine.

    Files about types of other applications stand apart too.
    """
    return path != CONFIG_FILE and not is_test(path) and not is_veto(path) and not is_external(path)


def layer_of(path: str) -> tuple[Layer, str]:
    """The layer a path belongs to, and the team or agent it names.

    Raises:
        InvalidInputError: the path is not one a policy file may have.
    """
    if not _PATH.fullmatch(path):
        raise InvalidInputError(
            Code.POLICY_INVALID,
            f"`{path[:120]}` is not a path of a policy file",
            hint="use `org/NAME.cedar`, `team/TEAM/NAME.cedar`, `agent/AGENT/NAME.cedar`, `org/NAME.rego`,"
            f" `ext/NAME.cedar`, `ext/NAME.json`, `tests/NAME.yaml` or `{CONFIG_FILE}`",
        )
    kind, _, rest = path.partition("/")
    return Layer(kind), rest.partition("/")[0] if kind != Layer.ORG else ""


def _read_file(
    engine: Engine, path: str, text: str, agents: Mapping[str, str], found: list[PolicyFinding], named: set[str]
) -> list[Policy]:
    try:
        layer, _ = layer_of(path)
        sources = engine.read(text)
    except InvalidInputError as error:
        found.append(PolicyFinding(path, "", error.message, error.hint))
        return []
    policies = []
    for source in sources:
        policy_id = f"{path}@{digest('policy', source.text.encode())[7:19]}"
        if source.template:
            found.append(PolicyFinding(path, policy_id, "a template has no place in a file", "write the entity out"))
            continue
        named |= {name.id for name in named_entities(source.tree) if name.type == "Agent"}
        try:
            policies.append(policy_of(source, path, layer, names=agents))
        except InvalidInputError as error:
            found.append(PolicyFinding(path, policy_id, error.message, error.hint))
    return policies


def read_release(files: Mapping[str, str], engine: Engine, *, agents: Mapping[str, str]) -> Release:
    """The release that these texts are. Reads and resolves; whether it may be put in force is `publish`'s to say.

    Raises:
        PolicyInvalidError: a text does not parse, a policy cannot be understood completely, or an id stands twice.
    """
    found: list[PolicyFinding] = []
    if len(files) > _MAX_FILES:
        raise PolicyInvalidError((PolicyFinding("", "", f"more than {_MAX_FILES} files", "join files"),))
    policies: list[Policy] = []
    named: set[str] = set()
    seen: set[str] = set()
    config = PolicyConfig()
    if CONFIG_FILE in files:
        config, faults = read_config(files[CONFIG_FILE])
        found += [PolicyFinding(CONFIG_FILE, "", message, fix) for message, fix in faults]
    for path in sorted(filter(is_policy, files)):
        for policy in _read_file(engine, path, files[path], agents, found, named):
            if policy.id in seen:
                found.append(PolicyFinding(path, policy.id, "the same policy stands twice", "remove one of them"))
            seen.add(policy.id)
            until = config.observe.get(policy.id, config.observe.get(path))
            policies.append(policy if until is None else replace(policy, observed_until_us=until))
    known = {*seen, *files}
    for name in sorted(config.observe.keys() - known):
        message = f"`{name[:120]}` is observed, and there is no such policy or file"
        found.append(PolicyFinding(CONFIG_FILE, "", message, "correct the name; an id changes with its policy's text"))
    external, faults_outside = read_external(files, engine)
    found += [PolicyFinding(*fault, rule="external") for fault in faults_outside]
    if found:
        raise PolicyInvalidError(tuple(found))
    used = {name: agents[name] for name in sorted(named & agents.keys())}
    content = {"engine": engine.version, "files": dict(files), "agents": used}
    return Release(
        digest=digest_value("policy-release", content),
        engine=engine.version,
        files=MappingProxyType(dict(files)),
        agents=MappingProxyType(used),
        policies=tuple(policies),
        config=config,
        vetoes=MappingProxyType(
            {f"{path}@{digest('policy', files[path].encode())[7:19]}": files[path] for path in filter(is_veto, files)}
        ),
        external=external,
    )
