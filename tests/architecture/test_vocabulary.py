"""House rules that no linter offers."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import accredit

_SOURCE = Path(accredit.__file__).parent


def _modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(_SOURCE.rglob("*.py"))}


def test_no_public_class_name_is_defined_twice() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path, tree in _modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(_SOURCE)))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_every_all_is_complete() -> None:
    wrong = []
    for path, tree in _modules().items():
        lists = [
            [str(element.value) for element in node.value.elts if isinstance(element, ast.Constant)]
            for node in tree.body
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "__all__"
            and isinstance(node.value, ast.List)
        ]
        for names in lists:
            here = {
                node.name
                for node in tree.body
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            }
            public = {name for name in here if not name.startswith("_")}
            if not public <= set(names):
                wrong.append((str(path.relative_to(_SOURCE)), sorted(public - set(names))))
    assert wrong == []


def test_nothing_promised_is_left_as_a_mark() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    found = [f"{path.relative_to(_SOURCE)}" for path in _SOURCE.rglob("*.py") if marks.search(path.read_text())]
    assert found == []


def test_no_room_imports_the_underscore_of_another() -> None:
    wrong = []
    for path, tree in _modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("accredit."):
                wrong += [f"{path.name}: {node.module}.{name.name}" for name in node.names if name.name.startswith("_")]
    assert wrong == []


def test_no_file_is_named_after_nothing() -> None:
    empty_words = {"utils", "helpers", "common", "manager", "base", "v2", "misc"}
    assert [str(path) for path in _SOURCE.rglob("*.py") if path.stem in empty_words] == []
