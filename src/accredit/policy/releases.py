"""Releases as control state: what was published, by whom, shown to whom before, and which one is in force.

A release is immutable and signed (C2SP signed note) by the installation. What does not verify is not loaded: a process
that runs keeps the release it has and says so, one that starts has none and decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from accredit.audit.model import Facts
from accredit.audit.notes import NoteSigner, NoteVerifier
from accredit.audit.ports import Actor, Change, ControlLog, Row, StateView, Write
from accredit.kernel.canonical import Digest, canonical, digest_value
from accredit.kernel.clearance import Clearance
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, InvalidInputError, NotFoundError
from accredit.policy.config import CONFIG_FILE
from accredit.policy.ports import Engine
from accredit.policy.publish import Installation, examine, publish
from accredit.policy.rehearsal import Rehearsal
from accredit.policy.release import PolicyFinding, PolicyInvalidError, Release, read_release

__all__ = [
    "CURRENT",
    "LONGEST_OBSERVATION_US",
    "PUBLICATION",
    "RELEASE",
    "PolicyReleases",
    "release_from",
    "release_statement",
    "release_subject",
]

RELEASE = "policy_release"
"""Row kind: key = digest, document {files, agents, engine}. Never changed."""
PUBLICATION = "policy_publication"
"""Row kind: key = number, document {number, release, previous, by, approved_by, basis, published_us, rehearsal, note}.
One for each time that a release was put in force; a rollback is one more."""
CURRENT = "policy_current"
"""Row kind: key = `current`, document {digest, number, previous}."""
LONGEST_OBSERVATION_US = 90 * 86_400_000_000
_DAY_US = 86_400_000_000
_CURRENT_KEY = "current"
_MAX_BYTES = 512 * 1024
_BRIEF = 6
_log = logging.getLogger(__name__)


def release_subject(files: Mapping[str, str]) -> Digest:
    """What a clearance for publishing these texts names."""
    return digest_value("policy-release-subject", dict(files))


def release_statement(release: Mapping[str, Any], publication: Mapping[str, Any]) -> str:
    """What is signed of a publication and the release it puts in force: everything, the texts by their digest.

    One line of canonical JSON.
    """
    stated = {key: value for key, value in publication.items() if key != "note"}
    stated |= {"agents": release["agents"], "engine": release["engine"], "files": release_subject(release["files"])}
    return canonical(stated).decode() + "\n"


def release_from(
    release: Mapping[str, Any], publication: Mapping[str, Any], engine: Engine, verifier: NoteVerifier
) -> Release:
    """The release that these rows hold, once the signature is verified.

    Raises:
        InvalidInputError: it is not signed, by another key, or over something else; or its texts do not read.
    """
    note = publication.get("note")
    if not isinstance(note, str) or verifier.verify(note.encode()) != release_statement(release, publication):
        raise InvalidInputError(Code.STATE_UNPROVEN, "the release is not signed as it stands", hint="publish it again")
    # the digest covers the engine's version: after an upgrade the same texts are a release of another digest, which is
    # what the records of its decisions then name
    return read_release(release["files"], engine, agents=release["agents"])


class PolicyReleases:
    """Publishes releases and knows the one in force."""

    def __init__(
        self,
        control: ControlLog,
        engine: Engine,
        clock: Clock,
        installation: Callable[[], Installation],
        signer: NoteSigner,
    ) -> None:
        self._control = control
        self._engine = engine
        self._clock = clock
        self._installation = installation
        self._signer = signer
        self._verifier = signer.verifier()
        self.fault = ""
        """Why the release that was published last is not the one in force; empty if it is."""
        self._current, self._loaded = read_release({}, engine, agents={}), False
        self._take_over()
        control.subscribe(self._follow)

    @property
    def proven(self) -> bool:
        """Whether the log bears out what is in force, and its signature; if not, nothing may be decided by it."""
        current = self._control.view.get(CURRENT, _CURRENT_KEY)
        if current is not None and not self._loaded:
            return False
        unproven = self._control.unproven
        if not unproven:
            return True
        if current is None:
            return (CURRENT, _CURRENT_KEY) not in unproven
        rests_on = {(CURRENT, _CURRENT_KEY), (RELEASE, current.doc["digest"]), _publication_of(current)}
        return not rests_on & unproven

    @property
    def number(self) -> int:
        """Of the publication in force; 0 before the first."""
        row = self._control.view.get(CURRENT, _CURRENT_KEY)
        return 0 if row is None else int(row.doc["number"])

    @property
    def current(self) -> Release:
        """The release in force; without policies until one is published."""
        return self._current

    @property
    def vkey(self) -> str:
        """The key that releases are verified with, as C2SP writes it."""
        return self._signer.vkey

    def lint(self, files: Mapping[str, str]) -> tuple[PolicyFinding, ...]:
        """Everything that publishing these texts would refuse, and what it would warn of."""
        try:
            release, found = examine(_bounded(files), self._engine, self._installation())
        except PolicyInvalidError as error:
            return error.findings
        return (*self._overlong(release), *found)

    def candidate(self, files: Mapping[str, str]) -> Release:
        """The release that publishing these texts now would make.

        Raises:
            PolicyInvalidError: with every finding that refuses it.
            InvalidInputError: the texts are too many or too large.
        """
        release = publish(_bounded(files), self._engine, self._installation())
        if overlong := self._overlong(release):
            raise PolicyInvalidError(overlong)
        return release

    def _overlong(self, release: Release) -> tuple[PolicyFinding, ...]:
        latest_us = self._clock.now().wall_us + LONGEST_OBSERVATION_US
        return tuple(
            PolicyFinding(
                CONFIG_FILE,
                "",
                f"`{name[:120]}` is observed for longer than {LONGEST_OBSERVATION_US // _DAY_US} days",
                "name an earlier moment; it can be moved when it comes near",
                "observed-long",
            )
            for name, until_us in release.config.observe.items()
            if until_us > latest_us
        )

    def find(self, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """A release and its latest publication, by number, digest or the beginning of one.

        Raises:
            NotFoundError: there is no such release, or more than one begins so.
        """
        found = [row for row in self._publications() if name in {str(row.doc["number"]), row.doc["release"]}]
        found = found or [row for row in self._publications() if len(name) >= _BRIEF and name in _beginnings(row, name)]
        release = self._control.view.get(RELEASE, found[0].doc["release"]) if found else None
        if release is None or len({row.doc["release"] for row in found}) != 1:
            raise NotFoundError(
                Code.NOT_FOUND, f"`{name[:80]}` names no release, or several", hint="see `accredit policy history`"
            )
        return release.doc, found[0].doc

    def read(self, name: str) -> Release:
        """The release that was published under a number or digest, as this engine reads it.

        Raises:
            NotFoundError: there is no such release, or more than one begins so.
            PolicyInvalidError: this engine does not read it any more.
        """
        texts, _ = self.find(name)
        return read_release(texts["files"], self._engine, agents=texts["agents"])

    async def publish(
        self, files: Mapping[str, str], *, clearance: Clearance, actor: Actor, rehearsal: Rehearsal, author: str | None
    ) -> Release:
        """Check these texts and put them in force as a new release. `author` is who asked for it.

        Raises:
            PolicyInvalidError: with every finding.
            ForbiddenError: the clearance is not for these texts.
            ConflictError: this release is in force already, what was rehearsed is another one, or it was compared with
                a release that is not in force any more.
            UnavailableError: it could not be made durable, and is not in force.
        """
        clearance.covers("policy-release", release_subject(files))
        release = self.candidate(files)
        if rehearsal.release != release.digest:
            raise ConflictError(
                Code.REHEARSAL_REQUIRED,
                "what was tested and simulated is not this release: an agent it names was registered or renamed since",
                hint="propose it again",
            )

        def build(view: StateView) -> Change:
            before = view.get(CURRENT, _CURRENT_KEY)
            previous = before.doc["digest"] if before else None
            if previous == release.digest and self._loaded:
                raise ConflictError(Code.CONFLICT, "exactly this release is in force already")
            if rehearsal.base != self._current.digest:
                raise ConflictError(
                    Code.CONFLICT, "another release was published meanwhile", hint="look at it, and propose yours again"
                )
            content = {"agents": dict(release.agents), "engine": release.engine, "files": dict(release.files)}
            number = 1 + max((row.doc["number"] for row in view.scan(PUBLICATION)), default=0)
            publication: dict[str, Any] = {
                "approved_by": sorted(clearance.by),
                "basis": clearance.basis.value,
                "by": author,
                "number": number,
                "previous": previous,
                "published_us": self._clock.now().wall_us,
                "rehearsal": rehearsal.document(),
                "release": release.digest,
            }
            publication["note"] = self._signer.sign(release_statement(content, publication)).decode()
            return Change(
                facts=Facts(kind="policy.published"),
                writes=(
                    Write(RELEASE, release.digest, content),
                    Write(PUBLICATION, f"{number:06d}", publication),
                    Write(CURRENT, _CURRENT_KEY, {"digest": release.digest, "number": number, "previous": previous}),
                ),
                actor=actor,
                body={
                    "release": release.digest,
                    "previous": previous,
                    "policies": [one.id for one in release.policies],
                    "rehearsal": digest_value("policy-rehearsal", rehearsal.document()),
                },
            )

        await self._control.transact(build)
        return release

    def history(self) -> list[dict[str, Any]]:
        """Every time a release was put in force, newest first."""
        current = self._control.view.get(CURRENT, _CURRENT_KEY)
        return [
            {
                "number": row.doc["number"],
                "digest": row.doc["release"],
                "published": datetime.fromtimestamp(row.doc["published_us"] / 1_000_000, UTC).isoformat(),
                "by": row.doc["by"],
                "approved_by": list(row.doc["approved_by"]),
                "basis": row.doc["basis"],
                "in_force": current is not None and row.doc["number"] == current.doc["number"] and not self.fault,
            }
            for row in self._publications()
        ]

    def _publications(self) -> list[Row]:
        return sorted(self._control.view.scan(PUBLICATION), key=lambda row: row.doc["number"], reverse=True)

    def _take_over(self) -> None:
        """Put the stored release in force, whole; whatever is wrong with it leaves the one that is."""
        view = self._control.view
        current = view.get(CURRENT, _CURRENT_KEY)
        if current is None:
            return
        # unproven rows are not there: enforcement refuses every call while the log contradicts one
        release, publication = view.get(RELEASE, current.doc["digest"]), view.get(*_publication_of(current))
        try:
            if release is None or publication is None:
                raise InvalidInputError(Code.STATE_UNPROVEN, "the release in force is not what the log proves")
            self._current = release_from(release.doc, publication.doc, self._engine, self._verifier)
            self._loaded, self.fault = True, ""
        except AccreditError as error:
            self.fault = error.message
            _log.error("release %s is not taken over: %s", current.doc["digest"], error.message)

    def _follow(self, change: Change) -> None:
        if any(write.kind == CURRENT for write in change.writes):
            self._take_over()


def _publication_of(current: Row) -> tuple[str, str]:
    return PUBLICATION, f"{current.doc.get('number', 0):06d}"


def _beginnings(row: Row, name: str) -> tuple[str, str]:
    digest: str = row.doc["release"]
    return digest[: len(name)], digest.removeprefix("sha256:")[: len(name)]


def _bounded(files: Mapping[str, str]) -> Mapping[str, str]:
    if sum(len(path) + len(text.encode("utf-8", "surrogatepass")) for path, text in files.items()) > _MAX_BYTES:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"a release has at most {_MAX_BYTES // 1024} KiB of policies")
    return files
