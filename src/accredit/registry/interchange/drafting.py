"""A draft of a manifest from what somebody else wrote.

What is claimed is taken over only where a manifest has a place for it and its form accepts it; the rest is said. A
draft is for development, has no owner, and grants nothing. Whatever is needed and was not claimed is left out, never
filled in: a default here could only say too little.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from pydantic import ValidationError

from accredit.kernel.legible import visible
from accredit.registry.interchange.facts import GOVERNANCE, PEOPLE, ExchangeForm
from accredit.registry.manifest import AgentManifest
from accredit.registry.writing import manifest_yaml

__all__ = ["Draft", "Drafting", "Missing", "claimed_text"]

_NAMED: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_LONGEST: Final = 2_000
_SHORTEST: Final = 200
_MOST: Final = 200
_STANDS_IN: Final[Mapping[str, Any]] = {
    "purpose": "-",
    "owner": "somebody@example.com",
    "tools": [],
    "data": [],
    "models": [],
    "prompt": {"digest": "sha256:" + "0" * 64},
    "autonomy": "self-starting",
    "audience": "public",
    "inputs": ["public"],
    "reach": "cross-tenant",
    "use": {"annex3": True, "decidesOnPeople": True},
}
"""What a manifest needs, so that the rest of a draft can be checked; nothing of it is ever in one."""
_ASKED: Final[Mapping[str, str]] = {
    "purpose": "what it is for, in your own words",
    "owner": "the e-mail address of a registered person who answers for it",
    "tools": "the tools it may use, by registered server, each with its conditions",
    "data": "the data classes it may touch",
    "models": "the models it uses, each with its agreement",
    "prompt": "the digest of its prompt",
    "autonomy": "suggests, each-act-approved, acts-with-approval, acts-unattended or self-starting",
    "audience": "who it speaks to",
    "inputs": "who or what can put text in front of it",
    "reach": "how far what it does reaches",
    "use": "whether it is listed in Annex III, and whether it decides on people",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """What the owner has to write."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest to be completed."""

    form: ExchangeForm
    manifest: Mapping[str, Any]
    claimed: tuple[str, ...]
    """Keys that say what the document claims."""
    missing: tuple[Missing, ...]
    unsaid: tuple[str, ...]
    """What the document says and no manifest can."""

    def text(self, signature: str) -> str:
        """The file that the owner completes; `signature` says what is known of who wrote the document."""
        lines = [
            f"A draft from a document of the form {self.form}. Signature: {signature}.",
            "It grants nothing. What stands here are claims of whoever wrote that document: check each of them.",
            "",
            "To be written by you, or `accredit apply` refuses it:",
            *(f"  {one.path}: {one.why}" for one in self.missing),
        ]
        if self.unsaid:
            lines += ["", "Not taken over:", *(f"  {one}" for one in self.unsaid)]
        return manifest_yaml([self.manifest], above=lines)


def claimed_text(value: Any, *, longest: int = _LONGEST) -> str:
    """A text of somebody else: bounded, on one line, and with nothing in it that deceives the eye."""
    if not isinstance(value, str):
        return ""
    told = unicodedata.normalize("NFC", value[: longest * 2].encode("utf-8", "replace").decode())
    shown = visible(_CONTROLS.sub(" ", told)).strip()
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


@dataclass
class Drafting:
    """Collects what a document claims."""

    form: ExchangeForm
    name: str = ""
    team: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    unsaid: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def not_taken(self, what: str) -> None:
        """Say something that the draft has no place for; texts of others in it must be `claimed_text`."""
        if len(self.unsaid) < _MOST and what not in self.unsaid:
            self.unsaid.append(what)

    def called(self, name: Any) -> None:
        """Take over a name, as a manifest can spell it."""
        told = claimed_text(name, longest=_SHORTEST)
        raw = name[:_SHORTEST] if isinstance(name, str) else ""
        folded = unicodedata.normalize("NFKD", raw).encode("ascii", "ignore").decode().lower()
        plain = re.sub(r"[^a-z0-9]+", "-", folded).strip("-")
        self.name = re.sub(r"^[^a-z]+", "", plain)[:63].strip("-")
        if told and self.name != told:
            self.not_taken(f"its name `{told}` as it is spelled there")

    def governed(self, block: Any, *, but: frozenset[str] = frozenset()) -> bool:
        """Take over what a block of ours says; whether it is one."""
        if not isinstance(block, Mapping) or block.get("schema") != GOVERNANCE:
            return False
        manifest = block.get("manifest")
        metadata, spec = (
            (manifest.get(key) if isinstance(manifest, Mapping) else None) for key in ("metadata", "spec")
        )
        if isinstance(metadata, Mapping):
            self.called(metadata.get("name"))
            team = metadata.get("team")
            self.team = team if isinstance(team, str) and _NAMED.fullmatch(team) else self.team
            if metadata.get("environment") not in {None, "development"}:
                self.not_taken("the environment it was exported from: a draft is for development")
        if isinstance(spec, Mapping):
            self.spec |= {key: value for key, value in spec.items() if key not in PEOPLE | but}
        for key, what in (("tier", "its risk tier there"), ("state", "its state there"), ("signedOff", "approvals")):
            if block.get(key):
                self.not_taken(f"{what}: here it is judged anew")
        return True

    def draft(self) -> Draft:
        """What came of it."""
        self._check()
        missing = [
            Missing("metadata.name", "how it is to be called here") if not self.name else None,
            Missing("metadata.team", "the team it belongs to") if not self.team else None,
            *(
                Missing(f"spec.{key}", " ".join(filter(None, [why, self.refused.get(key, "")])))
                for key, why in _ASKED.items()
                if key not in self.spec
            ),
        ]
        for key, why in self.refused.items():
            if key not in _ASKED:
                self.not_taken(f"`{key}`: {why}")
        named = {"name": self.name, "team": self.team}
        return Draft(
            form=self.form,
            manifest={
                "apiVersion": "accredit/v1",
                "kind": "Agent",
                "metadata": {**{key: value for key, value in named.items() if value}, "environment": "development"},
                "spec": dict(self.spec),
            },
            claimed=tuple(f"spec.{key}" for key in self.spec),
            missing=tuple(one for one in missing if one is not None),
            unsaid=tuple(self.unsaid),
        )

    def _check(self) -> None:
        """Take out what the form of a manifest refuses, key by key."""
        known = {field.alias or name for name, field in _spec_fields().items()}
        for key in [key for key in self.spec if key not in known]:
            del self.spec[key]
            self.not_taken(f"`{claimed_text(key, longest=80)}`, which a manifest does not have")
        for _ in range(len(self.spec) + 1):
            faults = self._faults()
            if not faults:
                return
            for key, why in faults.items():
                if self.spec.pop(key, None) is None:
                    self.spec.clear()  # it fits only without what stands beside it
                self.refused[key] = f"(what the document says of it is refused: {why})"

    def _faults(self) -> dict[str, str]:
        metadata = {"name": "draft", "team": "draft", "environment": "development"}
        whole = {"apiVersion": "accredit/v1", "kind": "Agent", "metadata": metadata,
                 "spec": {**_STANDS_IN, **self.spec}}  # fmt: skip
        try:
            AgentManifest.model_validate_json(orjson.dumps(whole))
        except ValidationError as error:
            found: dict[str, str] = {}
            for each in error.errors(include_url=False, include_input=False):
                at = each["loc"][1] if len(each["loc"]) > 1 else ""
                # of the whole: tools or delegates named twice
                key = str(at) if at in self.spec else "delegates" if "delegate" in each["msg"] else "tools"
                found.setdefault(key, claimed_text(each["msg"], longest=_SHORTEST))
            return found
        except (TypeError, ValueError):
            return dict.fromkeys(self.spec, "a text of it is not Unicode")
        return {}


def _spec_fields() -> Mapping[str, Any]:
    spec = AgentManifest.model_fields["spec"].annotation
    return getattr(spec, "model_fields", {})
