"""The command line, its document and the API are one surface: nothing stands in one of them alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from starlette.routing import Route

from accredit.api.control import control_api
from accredit.cli.client import ApiClient
from accredit.cli.commands import app
from tests.api.installation import Installation
from tests.cli.conftest import Cli

_ROOT = Path(__file__).parents[2]


def _commands(one: App, words: tuple[str, ...] = ("accredit",)) -> Iterator[tuple[str, str]]:
    for name in one:
        if name.startswith("-"):
            continue
        command = one[name]
        if command.default_command is not None:
            yield " ".join((*words, name)), command.help.strip().split("\n")[0]
        yield from _commands(command, (*words, name))


@pytest.mark.requirement("cli:documented:all")
def test_every_command_is_documented_as_it_describes_itself() -> None:
    lines = (_ROOT / "docs/cli.md").read_text().splitlines()
    documented = [tuple(line.strip("| ").split(" | ")) for line in lines if line.startswith("| `accredit")]
    assert documented == [(f"`{words}`", said) for words, said in _commands(app)]


_VERBS: dict[tuple[str, str], list[str]] = {
    ("POST", "login"): ["login", "http://127.0.0.1:1/login#accl_x"],
    ("POST", "token_issue"): ["token", "issue", "ci", "--to", "ci.json"],
    ("DELETE", "token_revoke"): ["token", "revoke", "tok_x"],
    ("POST", "apply"): ["apply", "-f", "a.yaml"],
    ("POST", "join_token"): ["agent", "enrol", "development/x"],
    ("POST", "agent_revoke"): ["agent", "revoke", "x", "--reason", "r"],
    ("POST", "issuer_revoke"): ["issuer", "revoke", "x", "--reason", "r"],
    ("POST", "server_repin"): ["server", "repin", "x"],
    ("POST", "credential_revoke"): ["credential", "revoke", "crd_x", "--reason", "r"],
    ("PUT", "upstream_credential"): ["credential", "set", "x", "--origin", "http://127.0.0.1:1"],
    ("POST", "hold_answer"): ["hold", "deny", "hld_x"],
    ("POST", "policy_lint"): ["policy", "lint", "policies"],
    ("POST", "policy_publish"): ["policy", "publish", "policies"],
    ("POST", "clock_confirm"): ["doctor", "--confirm-clock"],
}


@pytest.mark.requirement("cli:parity:api")
def test_whatever_the_api_can_change_a_command_can(
    cli: Cli, place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accredit.approvals.requests import view_digest

    asked: list[tuple[str, str]] = []
    answer: dict[str, Any] = {"view": "{}", "view_digest": view_digest("{}"), "state": "open", "items": [],
                              "token": "t", "person": "p", "expires": "e"}  # fmt: skip

    def called(_: ApiClient, method: str, path: str, **__: object) -> Any:
        asked.append((method, path))
        return dict(answer)

    monkeypatch.setattr(ApiClient, "_call", called)
    (tmp_path / "a.yaml").write_text("a: 1")
    (tmp_path / "policies/org").mkdir(parents=True)
    (tmp_path / "policies/org/a.cedar").write_text("")
    changing = {}
    for route in control_api(place.plane).routes:
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"GET", "HEAD"}:
            changing[method, route.name] = route
    assert set(changing) == set(_VERBS)
    for key, words in _VERBS.items():
        asked.clear()
        ran = cli(*words, stdin="value\n")
        assert ran.code == 0, (words, ran)
        route = changing[key]
        matched = [
            path for method, path in asked if method == key[0] and route.path_regex.match(path.replace("%2F", "/"))
        ]
        assert matched, (words, asked)
