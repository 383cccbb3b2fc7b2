"""A folder of manifests, and policies beside them: applied, compared with what is live, and written out."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from accredit.cli.asking import TABLE, Out, changing, client, read_text, shown, write_text
from accredit.cli.client import ApiFault
from accredit.cli.output import plain, show
from accredit.cli.policies import policy_files, simulated, wait_for
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from accredit.policy.report import text_report
from accredit.registry.reading import read_documents

__all__ = ["app"]

app = App()
_CHANGES: Final = 3
_FAILED: Final = 1
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_SET: Final = "PolicySet"
_SET_FILE: Final = "policy-set.yaml"
_SET_TEXT: Final = (
    "apiVersion: accredit/v1\nkind: PolicySet\nmetadata:\n  name: policies\nspec:\n  directory: policies\n"
)
_BELOW: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}/){0,8}[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_Paths = Annotated[list[Path], Parameter(name=["-f", "--file"])]
_Manager = Annotated[str | None, Parameter(help="Under which name: it manages the fields that the files write.")]


@dataclass(frozen=True, slots=True)
class _Folder:
    """What is sent of files and directories."""

    files: list[dict[str, str]]
    policies: dict[str, str] | None

    def body(self, **more: Any) -> dict[str, Any]:
        policies = {} if self.policies is None else {"policies": self.policies}
        return {"files": self.files, **policies, **{key: one for key, one in more.items() if one is not None}}


def _folder(paths: Iterable[Path]) -> _Folder:
    """Every manifest in some files and directories; a PolicySet names the directory of policies beside it."""
    texts: list[tuple[Path, str]] = []
    for path in paths:
        found = sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES and each.is_file())
        if path.is_dir() and not found:
            raise NotFoundError(Code.NOT_FOUND, f"`{path}` holds no *.yaml, *.yml or *.json")
        texts += [(each, read_text(each)) for each in (found if path.is_dir() else [path])]
    sets = {path: directory for path, text in texts if (directory := _policy_directory(path, text)) is not None}
    if len(sets) > 1:
        raise InvalidInputError(Code.MANIFEST_INVALID, "there is one set of policies, and more are named here")
    policies = None
    for path, directory in sets.items():
        policies = policy_files(directory)
        texts = [(each, text) for each, text in texts if each != path and not each.is_relative_to(directory)]
    return _Folder([{"name": str(path)[-255:], "text": text} for path, text in texts], policies)


def _policy_directory(path: Path, text: str) -> Path | None:
    """The directory that a file's PolicySet names; None if it has none."""
    if _SET not in text:
        return None
    try:
        documents = [one.value for one in read_documents(text.encode())]
    except InvalidInputError:
        return None  # the server says what is wrong with it
    if not any(isinstance(one, dict) and one.get("kind") == _SET for one in documents):
        return None
    spec = documents[0].get("spec") if len(documents) == 1 else None
    named = spec.get("directory") if isinstance(spec, dict) else None
    if not isinstance(named, str) or not _BELOW.fullmatch(named):
        raise InvalidInputError(
            Code.MANIFEST_INVALID, f"`{path}` does not say where its policies are",
            hint="a PolicySet stands alone in its file, with `spec: {directory: policies}` below it",
        )  # fmt: skip
    return path.parent / named


@app.command(name="apply")
def _apply(
    *,
    file: _Paths,
    manager: _Manager = None,
    force: bool = False,
    prune: bool = False,
    confirm_prune: bool = False,
    output: Out = TABLE,
) -> int:
    """Register or update what YAML or JSON files declare; exit 3 if some of it waits for a second person.

    Kinds: Person, Group, Team, Agreement, Issuer, ContextProvider, ToolServer, ModelProvider, EnforcementPoint, Store,
    Agent, and PolicySet for a directory of policies.

    Args:
        file: A file, or a directory of *.yaml, *.yml and *.json.
        force: Take over fields that another manages.
        prune: Also list what is live and not in the files, of the kinds that they have.
        confirm_prune: With --prune: end those of it that can be ended.
    """
    folder = _folder(file)
    if confirm_prune and not prune:
        raise InvalidInputError(Code.SETTING_INVALID, "`--confirm-prune` belongs to `--prune`")
    body = folder.body(manager=manager, force=force or None)
    with changing() as api:
        try:
            answer = api.post("/api/v1/apply", body)
        except ApiFault as fault:
            if fault.code != str(Code.REHEARSAL_REQUIRED) or folder.policies is None:
                raise
            simulated(api, folder.policies, "30d", ())
            answer = api.post("/api/v1/apply", body)
        code = shown(api, answer, output, "kind", "name", "result", "id", "approval", "flagged", "why")
        if any(one.get("result") == "failed" for one in answer["items"]):
            code = _FAILED
        if prune:
            code = code or _pruned(api.post("/api/v1/prune", {"files": folder.files, "confirm": confirm_prune}), output)
    return code


def _pruned(answer: dict[str, Any], output: Any) -> int:
    show(answer, output, columns=("kind", "name", "environment", "does", "done"))
    waits = [one for one in answer["items"] if not one["done"]]
    if waits:
        print("what is not done is a list: --confirm-prune ends what can be ended", file=sys.stderr)
    return _CHANGES if waits else 0


@app.command(name="diff")
def _diff(
    *,
    file: _Paths,
    manager: _Manager = None,
    force: bool = False,
    simulate: int | None = None,
    output: Out = TABLE,
) -> int:
    """Show what applying files would do, and what is live and not in them; exit 3 if anything differs.

    For each object: which fields and facets change, whose approval that takes and which votes can be carried over, and
    the tier before and after. Nothing is changed, and no tool server is asked.

    Args:
        file: A file, or a directory of *.yaml, *.yml and *.json.
        force: As if fields that another manages were taken over.
        simulate: Also judge the calls of so many days by what the files declare.
    """
    folder = _folder(file)
    with client() as api:
        found = api.post("/api/v1/diff", folder.body(manager=manager, force=force or None, simulate=simulate))
        report = None
        if found.get("simulation"):
            report = wait_for(api, {"id": found["simulation"]})["report"]
    if output is not TABLE:
        show({**found, "report": report} if report is not None else found, output)
    else:
        _told(found)
        if report is not None:
            print(text_report(report, {}), end="")
    return _CHANGES if found["pending"] else 0


def _told(found: dict[str, Any]) -> None:
    differing = [one for one in found["objects"] if one["action"] != "unchanged"]
    rows = [
        {**one, "fields": [each["field"] for each in one["changes"]],
         "tier": f"{one['tier_before'] or '-'} -> {one['tier_after'] or '-'}" if one["kind"] == "Agent" else ""}
        for one in differing
    ]  # fmt: skip
    show(
        {"items": rows}, TABLE,
        columns=("action", "kind", "environment", "name", "fields", "facets", "approvals", "carried", "tier"),
    )  # fmt: skip
    for one in differing:
        named = plain(f"{one['kind']} {one['name']}")
        for fault in one["faults"]:
            print(f"{named}: refused: {plain(fault, limit=400)}")
        for each in one["changes"]:
            if one["kind"] == _SET:
                print("\n".join(plain(line, limit=2000) for line in str(each["after"]).split("\n")))
            else:
                print(f"{named}: {plain(each['field'])}: {plain(each['before'])} -> {plain(each['after'])}")
        for each in one["needs"]:
            what = f"{each['facet']}: {each['what']} {each['why']}"
            print(f"{named}: {plain(what)}: {plain(each['rule'])}")
        for field, manager in one["taken_over"]:
            print(f"{named}: {plain(field)} is taken over from {plain(manager)}")
    for one in found["live_only"]:
        print(f"live and not in the files: {plain(one['kind'])} {plain(one['environment'] or '')} {plain(one['name'])}")


@app.command(name="export")
def _export(*, file: Annotated[Path, Parameter(name=["-f", "--file"])], overwrite: bool = False) -> None:
    """Write all that is registered, and the policies in force, into a directory that `apply` takes without a change.

    Args:
        file: The directory; it must be new or empty.
        overwrite: Write into a directory that is not; what is in it and not live stays.
    """
    if file.exists() and not overwrite and (not file.is_dir() or any(file.iterdir())):
        raise ConflictError(Code.CONFLICT, f"`{file}` is not an empty directory", hint="name a new one, or --overwrite")
    with client() as api:
        found = api.get("/api/v1/manifests")
    texts = dict(found["files"])
    if found["policies"]:
        texts |= {_SET_FILE: _SET_TEXT} | {f"policies/{name}": text for name, text in found["policies"].items()}
    for name in texts:
        if not _BELOW.fullmatch(name):
            raise InvalidInputError(Code.NAME_INVALID, f"the server named a file `{plain(name)}`")
    for name, text in sorted(texts.items()):
        target = file / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
        print(plain(str(target)))
    for one in found["unsaid"]:
        print(f"not in it: {plain(one)}", file=sys.stderr)
