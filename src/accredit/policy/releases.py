"""Releases as control state: what was published, by whom, and which one is in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.clearance import Clearance
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError
from accredit.policy.ports import Engine
from accredit.policy.publish import Installation, publish
from accredit.policy.release import PolicyFinding, PolicyInvalidError, Release, read_release

__all__ = ["CURRENT", "RELEASE", "PolicyReleases", "release_subject"]

RELEASE = "policy_release"
"""Row kind: key = digest, document {files, agents, engine, published_us, by}."""
CURRENT = "policy_current"
"""Row kind: key = `current`, document {digest, previous}."""
_CURRENT_KEY = "current"
_MAX_BYTES = 512 * 1024


def release_subject(files: Mapping[str, str]) -> Digest:
    """What a clearance for publishing these texts names."""
    return digest_value("policy-release-subject", dict(files))


class PolicyReleases:
    """Publishes releases and knows the one in force."""

    def __init__(
        self, control: ControlLog, engine: Engine, clock: Clock, installation: Callable[[], Installation]
    ) -> None:
        self._control = control
        self._engine = engine
        self._clock = clock
        self._installation = installation
        self._current = self._load()
        control.subscribe(self._follow)

    @property
    def proven(self) -> bool:
        """Whether the log bears out what is in force; if not, nothing may be decided by it."""
        unproven = self._control.unproven
        if not unproven:
            return True
        current = self._control.view.get(CURRENT, _CURRENT_KEY)
        return (CURRENT, _CURRENT_KEY) not in unproven and (
            current is None or (RELEASE, current.doc["digest"]) not in unproven
        )

    @property
    def current(self) -> Release:
        """The release in force; without policies until one is published."""
        return self._current

    def lint(self, files: Mapping[str, str]) -> tuple[PolicyFinding, ...]:
        """Everything that publishing these texts would refuse."""
        try:
            publish(_bounded(files), self._engine, self._installation())
        except PolicyInvalidError as error:
            return error.findings
        return ()

    async def publish(self, files: Mapping[str, str], *, clearance: Clearance, actor: Actor) -> Release:
        """Check these texts and put them in force as a new release.

        Raises:
            PolicyInvalidError: with every finding.
            ForbiddenError: the clearance is not for these texts.
            ConflictError: this release is in force already.
            UnavailableError: it could not be made durable, and is not in force.
        """
        clearance.covers("policy-release", release_subject(files))
        release = publish(_bounded(files), self._engine, self._installation())

        def build(view: StateView) -> Change:
            before = view.get(CURRENT, _CURRENT_KEY)
            previous = before.doc["digest"] if before else None
            if previous == release.digest:
                raise ConflictError(Code.CONFLICT, "exactly this release is in force already")
            now_us = self._clock.now().wall_us
            document = {
                "files": dict(release.files),
                "agents": dict(release.agents),
                "engine": release.engine,
                "published_us": now_us,
                "by": actor.person,
                "basis": clearance.basis.value,
            }
            return Change(
                facts=Facts(kind="policy.published"),
                writes=(
                    Write(RELEASE, release.digest, document),
                    Write(CURRENT, _CURRENT_KEY, {"digest": release.digest, "previous": previous}),
                ),
                actor=actor,
                body={
                    "release": release.digest,
                    "previous": previous,
                    "policies": [one.id for one in release.policies],
                },
            )

        await self._control.transact(build)
        return release

    def history(self) -> list[dict[str, str | int | bool | None]]:
        """Every release, newest first."""
        rows = sorted(self._control.view.scan(RELEASE), key=lambda row: row.doc["published_us"], reverse=True)
        return [
            {
                "digest": row.key,
                "published": datetime.fromtimestamp(row.doc["published_us"] / 1_000_000, UTC).isoformat(),
                "by": row.doc["by"],
                "basis": row.doc["basis"],
                "files": len(row.doc["files"]),
                "in_force": row.key == self._current.digest,
            }
            for row in rows
        ]

    def _load(self) -> Release:
        current = self._control.view.get(CURRENT, _CURRENT_KEY)
        if current is None:
            return read_release({}, self._engine, agents={})
        row = self._control.view.get(RELEASE, current.doc["digest"])
        if row is None:  # unproven: enforcement refuses every call while the log contradicts this row
            return read_release({}, self._engine, agents={})
        # the digest covers the engine's version: after an upgrade the same texts are a release of another digest,
        # which is what the records of its decisions then name
        return read_release(row.doc["files"], self._engine, agents=row.doc["agents"])

    def _follow(self, change: Change) -> None:
        if any(write.kind == CURRENT for write in change.writes):
            documents = {write.kind: write.doc for write in change.writes}
            release = documents.get(RELEASE)
            if release is not None:
                self._current = read_release(release["files"], self._engine, agents=release["agents"])


def _bounded(files: Mapping[str, str]) -> Mapping[str, str]:
    if sum(len(path) + len(text.encode("utf-8", "surrogatepass")) for path, text in files.items()) > _MAX_BYTES:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"a release has at most {_MAX_BYTES // 1024} KiB of policies")
    return files
