"""Several who apply one object: what one manages another does not change unless it takes it over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.model import Receipt
from accredit.audit.ports import Change, StateView
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.registry.errors import ManifestError
from accredit.registry.field_owners import managed_fields
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.service import ApplyOutcome, ApplyResult
from accredit.storage.memory.control import MemoryControlLog
from tests.registry.fleet import ADMIN, Fleet, agent_document, changed, person_document, read

_FIELDS = st.sampled_from(["purpose", "limits", "data", "tools"])
_MANAGERS = st.sampled_from(["repo", "ops", "portal"])


@given(
    st.dictionaries(_FIELDS, _MANAGERS), st.frozensets(_FIELDS), st.frozensets(_FIELDS), st.one_of(st.none(), _MANAGERS)
)
@pytest.mark.requirement("registry:managers:fields")
def test_a_manager_gets_what_it_writes_unless_another_has_it(
    owners: dict[str, str], written: frozenset[str], changed: frozenset[str], manager: str | None
) -> None:
    found = managed_fields(owners, written=written, changed=changed, manager=manager)
    theirs = {field: one for field, one in owners.items() if one != manager}
    assert {(one.field, one.manager) for one in found.conflicts} == {
        (field, one) for field, one in theirs.items() if field in changed
    }
    taken = {one.field for one in found.conflicts}
    for field in set(owners) | set(written):
        if manager is None:
            assert found.owners.get(field) == owners.get(field)
        elif field in theirs and not (field in taken and field in written):
            assert found.owners.get(field) == theirs[field], "it is still theirs"
        elif field in written:
            assert found.owners[field] == manager
        else:
            assert field not in found.owners, "given up"
    again = managed_fields(found.owners, written=written, changed=(), manager=manager)
    assert (again.owners, again.conflicts) == (found.owners, ())


def _apply(fleet: Fleet, document: dict[str, Any], manager: str | None, *, force: bool = False) -> ApplyResult:
    (made,) = asyncio.run(fleet.registry.apply_documents(read(document), ADMIN, manager=manager, force=force))
    return made


def _managed(fleet: Fleet) -> dict[str, str]:
    row = fleet.control.view.get("field_owner", f"Agent/{fleet.agent().id}")
    return {} if row is None else dict(row.doc["fields"])


def _without(document: dict[str, Any], *fields: str) -> dict[str, Any]:
    return document | {"spec": {key: one for key, one in document["spec"].items() if key not in fields}}


@pytest.mark.requirement("registry:managers:refused")
def test_a_change_of_what_another_manages_names_both_and_changes_nothing() -> None:
    fleet = Fleet.registered(agent=False)
    _apply(fleet, agent_document(), "repo")
    before, events = fleet.agent().version.digest, len(fleet.control.events)
    for manager, named in (("ops", "`repo`, not by `ops`"), (None, "`repo`, not by who names no manager")):
        with pytest.raises(ManifestError) as refused:
            _apply(fleet, changed(agent_document(), "spec.purpose", "Something else"), manager)
        (fault,) = refused.value.faults
        assert (fault.code, fault.path) == (Code.CONFLICT, "spec.purpose")
        assert named in fault.message
    assert (fleet.agent().version.digest, len(fleet.control.events)) == (before, events)


@pytest.mark.requirement("registry:managers:merged")
def test_what_a_manifest_leaves_out_stays_as_whoever_manages_it_said() -> None:
    fleet = Fleet.registered(agent=False)
    _apply(fleet, _without(agent_document(), "limits", "expires"), "repo")
    limits = {"calls": {"perMinute": 7}, "cost": {"perDay": "3 EUR"}}
    ops = changed(_without(agent_document(), "expires"), "spec.limits", limits)
    assert _apply(fleet, ops, "ops").facets == ("limits",)
    assert _managed(fleet)["limits"] == "ops"
    assert _managed(fleet)["purpose"] == "repo"
    repo = changed(_without(agent_document(), "limits", "expires"), "spec.purpose", "Something else")
    assert _apply(fleet, repo, "repo").facets == ("purpose",)
    assert fleet.agent().version.limits.calls_per_minute == 7
    # applied again by either, nothing changes
    assert _apply(fleet, repo, "repo").outcome is ApplyOutcome.UNCHANGED
    # what its manager leaves out is nobody's, and as it is without being said
    assert _apply(fleet, _without(repo, "backupOwner"), "repo").facets == ("owner",)
    assert "backupOwner" not in _managed(fleet)


@pytest.mark.requirement("registry:managers:forced")
def test_taking_over_is_recorded_with_whom_it_was_taken_from() -> None:
    fleet = Fleet.registered(agent=False)
    _apply(fleet, agent_document(), "repo")
    _apply(fleet, changed(agent_document(), "spec.purpose", "Something else"), "ops", force=True)
    body = fleet.control.events[-1].body
    assert (body["manager"], body["taken_over"]) == ("ops", [["purpose", "repo"]])
    assert _managed(fleet)["purpose"] == "ops"
    assert _managed(fleet)["data"] == "repo"


@pytest.mark.requirement("registry:managers:fields")
def test_an_unchanged_object_comes_to_be_managed_with_a_record_of_its_own_and_only_once() -> None:
    fleet = Fleet.registered()
    assert _apply(fleet, agent_document(), "repo").outcome is ApplyOutcome.UNCHANGED
    assert fleet.kinds()[-1] == "fields.managed"
    events = len(fleet.control.events)
    _apply(fleet, agent_document(), "repo")
    _apply(fleet, person_document("dana@example.com"), "repo")
    assert len(fleet.control.events) == events
    assert [row.key for row in fleet.control.view.scan("field_owner")] == [f"Agent/{fleet.agent().id}"]


@pytest.mark.requirement("registry:managers:fields")
def test_a_name_that_is_used_again_inherits_no_manager() -> None:
    fleet = Fleet.registered(agent=False)
    _apply(fleet, agent_document(), "repo")
    fleet.move(fleet.move(fleet.agent(), AgentEvent.RETIRE), AgentEvent.RETIRED)
    _apply(fleet, changed(agent_document(), "spec.purpose", "Something else"), "ops")
    assert set(_managed(fleet).values()) == {"ops"}


class _Failing(MemoryControlLog):
    """Takes so many changes and then none."""

    left = 10**9

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        def counted(view: StateView) -> Change | None:
            change = build(view)
            if change is not None:
                self.left -= 1
                if self.left < 0:
                    raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the disk is full")
            return change

        return await super().transact(counted)


@pytest.mark.requirement("registry:apply:partial")
def test_what_was_written_before_a_failure_stands_and_each_object_says_what_became_of_it() -> None:
    control = _Failing()
    fleet = Fleet(control)
    people = [person_document(f"p{at}@example.com") for at in range(3)]
    control.left = 0
    with pytest.raises(UnavailableError, match="the disk is full"):
        fleet.apply(*people)
    control.left = 1
    made = fleet.apply(*people)
    assert [one.outcome for one in made] == [ApplyOutcome.CREATED, ApplyOutcome.FAILED, ApplyOutcome.FAILED]
    assert {one.fault for one in made[1:]} == {"the disk is full"}
    control.left = 10
    assert [one.outcome for one in fleet.apply(*people)] == [
        ApplyOutcome.UNCHANGED, ApplyOutcome.CREATED, ApplyOutcome.CREATED,
    ]  # fmt: skip
