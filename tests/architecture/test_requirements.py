"""The manifest and the tests agree in both directions."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.requirements import all_requirements

_TESTS = Path(__file__).parents[1]


def _named_by_tests() -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for path in sorted(_TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant), f"{path}:{node.lineno} names a requirement indirectly"
                    named.setdefault(str(argument.value), []).append(f"{path.name}:{node.lineno}")
    return named


def test_every_requirement_has_a_test() -> None:
    missing = sorted(set(all_requirements()) - set(_named_by_tests()))
    assert missing == []


def test_every_requirement_a_test_names_exists() -> None:
    named = _named_by_tests()
    unknown = {key: named[key] for key in sorted(set(named) - set(all_requirements()))}
    assert unknown == {}
