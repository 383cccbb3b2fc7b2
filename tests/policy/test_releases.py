"""Releases as control state: numbered, signed, never half, and refused when the signature is not theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from accredit.audit.model import Facts
from accredit.audit.notes import NoteSigner
from accredit.audit.ports import Actor, Change, StateView, Write
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.policy.rehearsal import Rehearsal
from accredit.policy.releases import CURRENT, PUBLICATION, RELEASE, PolicyReleases, release_subject
from accredit.storage.memory.control import MemoryControlLog
from tests.policy import world

ACTOR = Actor(person="psn_sam", credential="tok_1")
SIGNER = NoteSigner("accredit.policy/test", bytes(32))
FIRST = {"org/a.cedar": 'forbid (principal, action == Action::"crm/read_customer", resource);'}
SECOND = {"org/a.cedar": 'forbid (principal, action == Action::"crm/update_customer", resource);'}


class Office:
    """Publishes as the operations do, over control state in memory."""

    def __init__(self, control: MemoryControlLog | None = None, signer: NoteSigner = SIGNER) -> None:
        self.control = control or MemoryControlLog()
        clock = ScriptedClock(1_800_000_000_000_000)
        self.releases = PolicyReleases(self.control, world.ENGINE, clock, lambda: world.INSTALLATION, signer)

    def rehearsal(self, files: Mapping[str, str]) -> Rehearsal:
        release = self.releases.candidate(files)
        base = self.releases.current.digest
        return Rehearsal(release.digest, base, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, release.digest)

    def publish(self, files: Mapping[str, str], rehearsal: Rehearsal | None = None, **cleared: Any) -> None:
        subject = cleared.get("subject", Subject("policy-release", release_subject(files)))
        clearance = Clearance(subject, Basis.APPROVALS, ("psn_rex",), "tok_2")
        asyncio.run(
            self.releases.publish(
                files,
                clearance=clearance,
                actor=ACTOR,
                rehearsal=rehearsal or self.rehearsal(files),
                author="psn_sam",
            )
        )

    def write(self, *writes: Write) -> None:
        """What only somebody else than `publish` writes."""

        def build(_: StateView) -> Change:
            return Change(Facts(kind="policy.published"), writes, ACTOR, {})

        asyncio.run(self.control.transact(build))

    def row(self, kind: str) -> tuple[str, dict[str, Any]]:
        row = max(self.control.view.scan(kind), key=lambda one: one.key)
        return row.key, dict(row.doc)


@pytest.mark.requirement("policy:release:history")
def test_each_publication_is_numbered_and_names_author_and_approver_and_what_was_rehearsed() -> None:
    office = Office()
    for files in (FIRST, SECOND, FIRST):
        office.publish(files)
    first = office.releases.candidate(FIRST).digest
    history = office.releases.history()
    assert [one["number"] for one in history] == [3, 2, 1]
    assert [one["digest"] == first for one in history] == [True, False, True]
    assert [one["in_force"] for one in history] == [True, False, False]
    assert {(one["by"], *one["approved_by"]) for one in history} == {("psn_sam", "psn_rex")}
    assert office.releases.current.files == FIRST
    texts, publication = office.releases.find("2")
    assert dict(texts["files"]) == SECOND
    assert publication["rehearsal"]["release"] == publication["release"]
    assert office.releases.find(publication["release"][:18])[1] == publication


@pytest.mark.requirement("policy:release:history")
@pytest.mark.parametrize("name", ["", "4", "sha256:", "sha256:ffffffffffff", "sha25"])
def test_what_names_no_release_or_all_of_them_finds_none(name: str) -> None:
    office = Office()
    office.publish(FIRST)
    office.publish(SECOND)
    with pytest.raises(NotFoundError):
        office.releases.find(name)


@pytest.mark.requirement("policy:release:rehearsed")
def test_nothing_is_published_that_was_rehearsed_otherwise_or_beside_another_release() -> None:
    office = Office()
    with pytest.raises(ConflictError) as other:
        office.publish(FIRST, office.rehearsal(SECOND))
    assert other.value.code is Code.REHEARSAL_REQUIRED
    before = office.rehearsal(SECOND)
    office.publish(FIRST)
    with pytest.raises(ConflictError, match="meanwhile"):  # two publishers at once: the second has seen another ground
        office.publish(SECOND, before)
    with pytest.raises(ConflictError, match="in force already"):
        office.publish(FIRST)
    with pytest.raises(ForbiddenError):
        office.publish(SECOND, subject=Subject("policy-release", release_subject(FIRST)))
    assert office.releases.current.files == FIRST


def _stripped(publication: dict[str, Any], _: dict[str, Any]) -> None:
    del publication["note"]


def _emptied(publication: dict[str, Any], _: dict[str, Any]) -> None:
    publication["note"] = ""


def _unsigned(publication: dict[str, Any], _: dict[str, Any]) -> None:
    publication["note"] = publication["note"].partition("\n\n")[0] + "\n"


def _other_key(publication: dict[str, Any], _: dict[str, Any]) -> None:
    text = publication["note"].partition("\n\n")[0] + "\n"
    publication["note"] = NoteSigner(SIGNER.name, b"x" * 32).sign(text).decode()


def _other_author(publication: dict[str, Any], _: dict[str, Any]) -> None:
    publication["approved_by"] = ["psn_eve"]


def _other_texts(_: dict[str, Any], release: dict[str, Any]) -> None:
    release["files"] = {}


def _other_agents(_: dict[str, Any], release: dict[str, Any]) -> None:
    release["agents"] = {"support-copilot": "agt_other"}


@pytest.mark.requirement("policy:release:signed")
@pytest.mark.parametrize(
    "spoil", [_stripped, _emptied, _unsigned, _other_key, _other_author, _other_texts, _other_agents]
)
def test_a_release_that_is_not_signed_as_it_stands_is_not_taken_over(spoil: Any) -> None:
    office = Office()
    office.publish(FIRST)
    source = Office()
    source.publish(FIRST)
    source.publish(SECOND)
    number, publication = source.row(PUBLICATION)
    digest, release = next(
        (row.key, dict(row.doc)) for row in source.control.view.scan(RELEASE) if row.doc["files"] == SECOND
    )
    _, current = source.row(CURRENT)
    spoil(publication, release)
    office.write(
        Write(RELEASE, digest, release), Write(PUBLICATION, number, publication), Write(CURRENT, "current", current)
    )
    # who runs keeps the last good one whole, and says so
    assert office.releases.current.files == FIRST
    assert office.releases.fault
    assert office.releases.proven
    # who starts has none, and nothing may be decided by it
    started = Office(office.control)
    assert started.releases.fault
    assert not started.releases.proven
    assert not started.releases.current.files
    # a good one is the way out
    started.publish(FIRST)
    assert (started.releases.proven, started.releases.fault) == (True, "")


@pytest.mark.requirement("policy:release:signed")
def test_another_installations_release_is_refused_whole() -> None:
    office = Office()
    office.publish(FIRST)
    assert not Office(office.control, NoteSigner("accredit.policy/other", b"o" * 32)).releases.proven
    assert Office(office.control).releases.proven


@pytest.mark.requirement("policy:release:signed")
def test_the_next_release_is_taken_over_only_whole() -> None:
    office = Office()
    office.publish(FIRST)
    office.write(Write(CURRENT, "current", {"digest": "sha256:" + "0" * 64, "number": 2, "previous": None}))
    assert office.releases.current.files == FIRST
    assert "not what the log proves" in office.releases.fault


@pytest.mark.requirement("policy:release:history")
def test_a_release_is_bounded() -> None:
    with pytest.raises(InvalidInputError, match="at most"):
        Office().releases.candidate({"org/a.cedar": "x" * (513 * 1024)})
    assert replace(Office().rehearsal(FIRST), tests=2).document()["tests"] == 2
