"""Agents in the forms of others: what `agent export` writes and `agent import` reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from accredit.cli.agents import agent
from accredit.cli.asking import changing, client, read_text, segment, write_text
from accredit.cli.output import plain
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["app"]

app = App()
_File = Annotated[Path | None, Parameter(name=["-f", "--file"])]


@agent.command(name="export")
def _agent_export(
    name: str,
    *,
    form: Annotated[Literal["a2a", "oasf", "cyclonedx", "annex-iv"], Parameter(name=["--format", "--form"])],
    file: _File = None,
    unsigned: bool = False,
    interface: str | None = None,
    spec_version: Literal["1.6", "1.7"] = "1.6",
    json_form: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Write an agent as an A2A card, OASF record, CycloneDX bill of materials or Annex IV documentation.

    What is on record and does not stand in it is said on stderr.

    Args:
        name: The agent.
        form: a2a (signed by this installation), oasf, cyclonedx or annex-iv (Markdown).
        file: Where to; stdout if left out.
        unsigned: A card without a signature: who may read the agent can have one.
        interface: Of a card: where the agent answers to A2A.
        spec_version: Of a bill of materials.
        json_form: Of annex-iv: JSON instead of Markdown.
    """
    path, signed = f"/api/v1/agents/{segment(name)}", form == "a2a" and not unsigned
    if interface is not None and not signed:
        raise InvalidInputError(Code.SETTING_INVALID, "only a signed card says where an agent answers")
    if signed:
        with changing() as api:
            made = api.post(f"{path}/card", {"interface": interface} if interface else {})
    else:
        with client() as api:
            version = {"spec_version": spec_version} if form == "cyclonedx" else {}
            made = api.get(f"{path}/export", form=form, **version)
    text = made["text"] if made["text"] is not None and not json_form else _json(made["document"])
    if file is None:
        print(text, end="" if text.endswith("\n") else "\n")
    else:
        write_text(file, text)
    for one in made["unsaid"]:
        print(f"not in it: {plain(one)}", file=sys.stderr)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


@agent.command(name="import")
def _agent_import(
    document: Path,
    *,
    file: _File = None,
    form: Annotated[Literal["a2a", "oasf", "cyclonedx"] | None, Parameter(name=["--format", "--form"])] = None,
    keys: Path | None = None,
) -> None:
    """Make a draft of a manifest from an A2A card, OASF record or CycloneDX file; it grants nothing until completed.

    Args:
        document: The file.
        file: Where the draft goes; stdout if left out.
        form: a2a, oasf or cyclonedx; told by the document itself, if left out.
        keys: A JWKS file: whose signatures on a card count, beside this installation's.
    """
    body: dict[str, Any] = {"text": read_text(document)}
    if form is not None:
        body["form"] = form
    if keys is not None:
        try:
            body["keys"] = json.loads(read_text(keys))
        except ValueError as error:
            raise InvalidInputError(Code.BODY_MALFORMED, f"`{keys}` is not JSON", hint="name a JWKS file") from error
    with client() as api:
        made = api.post("/api/v1/agent-drafts", body)
    if file is None:
        print(made["text"], end="")
    else:
        write_text(file, made["text"])
    print(f"signature: {plain(made['signature'])}", file=sys.stderr)
    for one in made["missing"]:
        print(f"to be written: {plain(one['path'])}: {plain(one['why'])}", file=sys.stderr)
