"""The starter library: it lints clean, its cases take every branch, and the loss of any policy is noticed."""

from __future__ import annotations

import pytest

from accredit.kernel.ids import ServerName
from accredit.policy.cases import CaseFile, read_cases
from accredit.policy.publish import ClaimKind, ContextTypes, Installation, publish
from accredit.policy.release import Release, is_policy, read_release
from accredit.policy.starter import starter_files
from accredit.policy.testing import Fleet, TestRun, run_tests
from accredit.registry.model import APPROVER_ROLES, Tool, ToolServer
from tests.policy import world

FILES = starter_files()
CASES: list[CaseFile] = [read_cases(path, text) for path, text in FILES.items() if path.startswith("tests/")]
ADAPTED = {"org/duties.cedar", "org/fraud-check.cedar", "org/origins.cedar", "org/phi.cedar", "org/refunds.cedar"}
"""Files that name tools, arguments, claims or counters."""


def _release(files: dict[str, str] = FILES) -> Release:
    return read_release(files, world.ENGINE, agents={})


def _run(files: dict[str, str] = FILES, *, mutation: bool = False) -> TestRun:
    return run_tests(_release(files), world.ENGINE, Fleet({}, ()), mutation=mutation)


def _installation() -> Installation:
    """Everything the cases declare, registered."""
    tools: dict[str, dict[str, Tool]] = {}
    servers = {server.name: server for file in CASES for server in file.servers}
    for file in CASES:
        for server in file.servers:
            assert all(tools.get(server.name, {}).get(name, tool) == tool for name, tool in server.tools.items())
            tools.setdefault(server.name, {}).update(server.tools)
    text = ClaimKind.STRING
    types = ContextTypes(task={"creator": text, "reason": text})
    registered = tuple(
        ToolServer(ServerName(name), one.environment, one.url, None, tools[name]) for name, one in servers.items()
    )
    return Installation(registered, frozenset(), {}, types)


@pytest.mark.requirement("policy:starter:tested")
def test_every_case_passes_and_every_branch_is_taken() -> None:
    run = _run()
    assert run.failed == ()
    assert [one.policy for one in run.coverage if one.covered != one.branches] == []
    assert run.branch_share == 1.0


@pytest.mark.requirement("policy:starter:tested")
def test_the_loss_of_any_policy_is_noticed() -> None:
    assert _run(mutation=True).survivors == ()


@pytest.mark.requirement("policy:starter:linted")
def test_the_library_can_be_published_where_what_it_names_is_registered() -> None:
    assert publish(FILES, world.ENGINE, _installation()).digest == _release().digest


@pytest.mark.requirement("policy:starter:linted")
@pytest.mark.parametrize("path", sorted(filter(is_policy, FILES)))
def test_each_file_can_be_taken_alone(path: str) -> None:
    name = path.removeprefix("org/").removesuffix(".cedar")
    alone = {key: FILES[key] for key in (path, f"tests/{name}.yaml", "accredit.toml")}
    run = _run(alone, mutation=True)
    own = {one.policy for one in run.coverage}
    assert own
    assert run.survivors == ()
    assert publish(alone, world.ENGINE, _installation()).policies


@pytest.mark.requirement("policy:starter:linted")
def test_files_that_name_nothing_of_an_installation_can_be_published_at_once() -> None:
    general = {path: text for path, text in FILES.items() if is_policy(path) and path not in ADAPTED}
    assert len(general) == 5
    bare = Installation((), frozenset(), {})
    assert len(publish(general, world.ENGINE, bare).policies) == 6


@pytest.mark.requirement("policy:starter:readable")
def test_each_file_says_what_it_does_and_what_to_adapt() -> None:
    for path in filter(is_policy, FILES):
        head = FILES[path].split("\n@hold", 1)[0].split("\nforbid", 1)[0]
        assert head.startswith("// "), path
        assert "To adapt" in FILES[path] or path == "org/refunds.cedar", path
        assert f"tests/{path.removeprefix('org/').removesuffix('.cedar')}.yaml" in FILES


@pytest.mark.requirement("policy:starter:readable")
def test_holds_wait_for_roles_that_people_can_have() -> None:
    roles = {policy.hold for policy in _release().policies} - {None}
    assert roles <= {str(role) for role in APPROVER_ROLES}
    assert not any(policy.permits for policy in _release().policies)
