"""Reads recorded sessions of agents: a folder with `sessions.jsonl.zst` and `calls.jsonl.zst`, a line for each."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, Final

import zstandard

__all__ = ["ACTS", "calls_by_session", "read_lines"]

ACTS: Final = re.compile(
    r"^(send|schedule|update|create|delete|add|remove|invite|post|reserve|cancel|reschedule|share|append|transfer|pay|book"
    r"|get_webpage)",
    re.IGNORECASE,
)
"""Recorded tools with an effect; what fetches from the web has one, for it tells the web something."""


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The values of a compressed file of JSON lines."""
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    return (json.loads(line) for line in raw.splitlines() if line)


def calls_by_session(folder: Path, sessions: Container[str]) -> dict[str, list[dict[str, Any]]]:
    """The calls of these sessions, in order."""
    calls: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in read_lines(folder / "calls.jsonl.zst"):
        if call["sid"] in sessions:
            calls[call["sid"]].append(call)
    return calls
