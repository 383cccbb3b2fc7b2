"""Archives of retired agents as files and folders beside the databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from accredit.audit.archive import Archived, seal_agent_archive, write_archive
from accredit.audit.checkpoint import CheckpointVerifier
from accredit.audit.sealed_archive import ArchiveFolder, Columnar
from accredit.kernel.ids import AgentId
from accredit.storage.sqlite.records import SqliteRecordReader

__all__ = ["FileArchive", "FolderArchive"]


class FileArchive:
    """The lifecycle's `Archive` in a directory: `AGENT.jsonl`, readable by whoever runs the server alone.

    `checkpoint` gives one over everything appended so far.
    """

    def __init__(
        self,
        directory: Path,
        audit_db: Path,
        *,
        checkpoint: Callable[[], Awaitable[bytes]],
        verifier: CheckpointVerifier,
    ) -> None:
        self._directory = directory
        self._audit_db = audit_db
        self._checkpoint = checkpoint
        self._verifier = verifier

    def name(self, agent: AgentId) -> str:
        return f"{agent}.jsonl"

    async def write(self, agent: AgentId) -> Archived:
        return await asyncio.to_thread(self._write, agent, await self._checkpoint())

    def _write(self, agent: AgentId, checkpoint: bytes) -> Archived:
        with closing(SqliteRecordReader(self._audit_db)) as reader:
            path = self._directory / self.name(agent)
            return write_archive(reader, path, agent, checkpoint=checkpoint, verifier=self._verifier)


class FolderArchive:
    """The same as a folder for each agent, sealed and columnar. `opened` gives a folder and the form of its files."""

    def __init__(
        self,
        directory: Path,
        audit_db: Path,
        *,
        opened: Callable[[Path], tuple[ArchiveFolder, Columnar]],
        checkpoint: Callable[[], Awaitable[bytes]],
        verifier: CheckpointVerifier,
    ) -> None:
        self._directory = directory
        self._audit_db = audit_db
        self._opened = opened
        self._checkpoint = checkpoint
        self._verifier = verifier

    def name(self, agent: AgentId) -> str:
        return str(agent)

    async def write(self, agent: AgentId) -> Archived:
        return await asyncio.to_thread(self._write, agent, await self._checkpoint())

    def _write(self, agent: AgentId, checkpoint: bytes) -> Archived:
        folder, form = self._opened(self._directory / self.name(agent))
        with closing(SqliteRecordReader(self._audit_db)) as reader:
            return seal_agent_archive(
                reader, folder, form, agent, name=self.name(agent), checkpoint=checkpoint, verifier=self._verifier
            )
