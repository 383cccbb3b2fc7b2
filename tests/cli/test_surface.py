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


_REASON = ["--reason", "r"]
_VERBS: dict[tuple[str, str], list[str]] = {
    ("POST", "login"): ["login", "http://127.0.0.1:1/login#accl_x"],
    ("POST", "token_issue"): ["token", "issue", "ci", "--to", "ci.json"],
    ("DELETE", "token_revoke"): ["token", "revoke", "tok_x"],
    ("POST", "apply"): ["apply", "-f", "a.yaml"],
    ("POST", "invitation"): ["person", "invite", "a@example.com"],
    ("DELETE", "invitation_withdraw"): ["person", "uninvite"],
    ("POST", "sign_in_link"): ["person", "link", "psn_x"],
    ("POST", "person_leave"): ["person", "leave", "psn_x", *_REASON],
    ("POST", "person_sign_out"): ["person", "sign-out", "psn_x", *_REASON],
    ("POST", "role_grant"): ["role", "grant", "security", "--person", "psn_x"],
    ("POST", "role_revoke"): ["role", "revoke", "rol_x", *_REASON],
    ("POST", "delegation_add"): ["delegation", "add", "psn_x", "--role", "security", "--days", "3"],
    ("POST", "delegation_end"): ["delegation", "end", "dlg_x"],
    ("POST", "monitoring_rebuild"): ["monitor", "rebuild"],
    ("POST", "agent_submit"): ["agent", "submit", "production/x"],
    ("POST", "agent_activate"): ["agent", "activate", "production/x"],
    ("POST", "join_token"): ["agent", "enrol", "development/x"],
    ("POST", "agent_key"): ["agent", "key", "development/x"],
    ("POST", "agent_adopt"): ["agent", "adopt", "x", *_REASON],
    ("POST", "agent_suspend"): ["agent", "suspend", "x", *_REASON],
    ("POST", "agent_resume"): ["agent", "resume", "x", *_REASON],
    ("POST", "agent_quarantine"): ["agent", "quarantine", "x", *_REASON],
    ("POST", "agent_lift"): ["agent", "lift", "x", *_REASON],
    ("POST", "agent_restrict"): ["agent", "restrict", "x", "read-only", "--minutes", "5", "--cause", "c"],
    ("POST", "restriction_lift"): ["restriction", "lift", "rst_x", *_REASON],
    ("POST", "break_glass_open"): [
        "break-glass",
        "open",
        "x",
        "--tool",
        "crm/a",
        "--policy",
        "p",
        "--minutes",
        "5",
        *_REASON,
    ],
    ("POST", "break_glass_confirm"): ["break-glass", "confirm", "bgl_x", "--digest", "d"],
    ("POST", "break_glass_end"): ["break-glass", "end", "bgl_x"],
    ("POST", "break_glass_review"): ["break-glass", "review", "bgl_x"],
    ("POST", "agent_revoke"): ["agent", "revoke", "x", *_REASON],
    ("POST", "agent_retire"): ["agent", "retire", "x", *_REASON],
    ("POST", "incident_open"): ["incident", "open", "x", *_REASON],
    ("POST", "incident_freeze"): ["incident", "freeze", "inc_x"],
    ("POST", "incident_close"): ["incident", "close", "inc_x", *_REASON],
    ("POST", "discoveries"): ["discover", ".", "--match"],
    ("POST", "findings_look"): ["finding", "look"],
    ("POST", "finding_answer"): ["finding", "answer", "fnd_x", "dismiss", *_REASON],
    ("POST", "alert_ack"): ["alert", "ack", "alr_x"],
    ("POST", "alert_resolve"): ["alert", "resolve", "alr_x", "--as", "false-positive"],
    ("POST", "approval_vote"): ["approval", "vote", "apr_x", "--role", "admin", "--reject", "--view-digest", "d"],
    ("POST", "approval_assess"): ["approval", "assess", "apr_x", "a.yaml"],
    ("POST", "approval_withdraw"): ["approval", "withdraw", "apr_x"],
    ("POST", "hold_answer"): ["hold", "deny", "hld_x"],
    ("POST", "enforcement_point_key"): ["enforcement-point", "key", "x"],
    ("POST", "enforcement_point_key_revoke"): ["enforcement-point", "revoke-key", "x", "pky_x", *_REASON],
    ("POST", "enforcement_point_revoke"): ["enforcement-point", "revoke", "x", *_REASON],
    ("POST", "chat_declare"): ["chat", "declare", "x", "--kind", "slack", "--credential", "c"],
    ("POST", "chat_remove"): ["chat", "remove", "x"],
    ("POST", "chat_link"): ["chat", "link", "x"],
    ("POST", "chat_unlink"): ["chat", "unlink", "chl_x"],
    ("POST", "directory_key"): ["directory", "key", "x"],
    ("POST", "directory_key_revoke"): ["directory", "revoke-key", "x", "dky_x", *_REASON],
    ("POST", "issuer_revoke"): ["issuer", "revoke", "x", *_REASON],
    ("POST", "legal_hold_place"): ["legal-hold", "place", "m", "--since", "2026-01-01T00:00:00Z"],
    ("POST", "legal_hold_lift"): ["legal-hold", "lift", "lgh_x", *_REASON],
    ("POST", "erasure_ask"): ["audit", "erase", "alice", "--basis", "b", "--as", "user"],
    ("POST", "server_repin"): ["server", "repin", "x"],
    ("POST", "store_scan"): ["store", "scan", "x", "support"],
    ("POST", "store_plan"): ["store", "plan", "production/x", "shelf", "support"],
    ("POST", "store_purge"): ["store", "purge", "prg_x"],
    ("POST", "store_verify"): ["store", "verify", "prg_x"],
    ("POST", "store_review_begin"): ["store", "review", "begin", "production/x", "shelf", "support"],
    ("POST", "store_review_decide"): ["store", "review", "decide", "srv_x", "it", "keep", "--digest", "d"],
    ("POST", "store_review_clean"): ["store", "review", "clean", "srv_x", "keep"],
    ("POST", "credential_confirm"): ["credential", "confirm", "crd_x", "--thumbprint", "t"],
    ("POST", "credential_revoke"): ["credential", "revoke", "crd_x", *_REASON],
    ("PUT", "upstream_credential"): ["credential", "set", "x", "--origin", "http://127.0.0.1:1"],
    ("DELETE", "upstream_credential_remove"): ["credential", "unset", "x"],
    ("POST", "account_disconnect"): ["credential", "disconnect", "x"],
    ("POST", "policy_lint"): ["policy", "lint", "policies"],
    ("POST", "policy_publish"): ["policy", "publish", "policies"],
    ("POST", "policy_test"): ["policy", "test", "policies"],
    ("POST", "policy_simulate"): ["policy", "simulate", "--candidate", "policies"],
    ("POST", "policy_replay"): ["policy", "replay"],
    ("POST", "policy_diff"): ["policy", "diff", "policies"],
    ("POST", "policy_rollback"): ["policy", "rollback", "3"],
    ("POST", "policy_mode"): ["policy", "mode", "org/a.cedar", "enforce"],
    ("POST", "clock_confirm"): ["doctor", "--confirm-clock"],
    ("POST", "manifests_diff"): ["diff", "-f", "a.yaml"],
    ("POST", "manifests_prune"): ["apply", "-f", "a.yaml", "--prune"],
    ("POST", "agent_card"): ["agent", "export", "x", "--format", "a2a"],
    ("POST", "agent_draft"): ["agent", "import", "a.yaml"],
    ("POST", "review_decide"): ["review", "decide", "rvw_x", "crm/a=keep", "--view", "v"],
    ("POST", "review_need"): ["review", "need", "rvw_x", "--statement", "s"],
    ("POST", "review_simulate"): ["review", "simulate", "rvw_x", "crm/a"],
    ("POST", "campaign_start"): ["review", "start", "--tier", "high", *_REASON],
    ("POST", "campaign_close"): ["review", "close", "rvc_x"],
    ("POST", "campaign_accept"): ["review", "accept", "rvc_x", "agt_x", *_REASON],
    ("POST", "baseline_learn"): ["baseline", "learn", "x", "--from", "recorded", "--since", "30d", "--sessions", "40"],
    ("POST", "baseline_accept"): ["baseline", "accept", "x", "sha256:" + "0" * 64],
    ("POST", "baseline_reset"): ["baseline", "reset", "x", *_REASON],
    ("POST", "campaign_include"): ["review", "include", "rvc_x", "production/x"],
}
_READS: dict[str, list[str]] = {
    "whoami": ["whoami"],
    "tokens": ["token", "list"],
    "published_schema": ["schema", "agent"],
    "teams": ["team", "list"],
    "agreements": ["agreement", "list"],
    "issuers": ["issuer", "list"],
    "context_providers": ["context-provider", "list"],
    "enforcement_points": ["enforcement-point", "list"],
    "chat_channels": ["chat", "list"],
    "chat_links": ["chat", "links"],
    "directories_list": ["directory", "list"],
    "servers": ["server", "list"],
    "server": ["server", "get", "x"],
    "persons": ["person", "list"],
    "roles": ["role", "list"],
    "groups": ["group", "list"],
    "delegations": ["delegation", "list"],
    "agents": ["agent", "list"],
    "agent": ["agent", "get", "production/x", "-o", "json"],
    "agent_timeline": ["agent", "timeline", "x"],
    "agent_tier": ["agent", "tier", "x", "-o", "json"],
    "agent_validation": ["agent", "validation", "x"],
    "agent_plan": ["agent", "plan", "x"],
    "manifests": ["export", "-f", "there"],
    "agent_export": ["agent", "export", "x", "--format", "oasf"],
    "agent_receipt": ["agent", "receipt", "x"],
    "agent_baseline": ["baseline", "show", "x"],
    "baseline_list": ["baseline", "list"],
    "agent_behaviour": ["baseline", "show", "x", "--behaviour", "-o", "json"],
    "agent_behaviour_sessions": ["baseline", "show", "x", "--of", "proposal", "-o", "json"],
    "agent_behaviour_diff": ["baseline", "diff", "x", "-o", "json"],
    "agent_reported": ["agent", "reported", "x"],
    "agent_unused": ["agent", "unused", "x"],
    "agent_envelope": ["agent", "envelope", "x"],
    "agent_usage": ["agent", "usage", "x"],
    "agent_suggestion": ["agent", "suggest", "x"],
    "agent_sessions": ["agent", "sessions", "x"],
    "agent_session": ["agent", "sessions", "x", "--session", "ses_x"],
    "monitoring": ["monitor", "show"],
    "costs": ["cost", "show"],
    "monitoring_accuracy": ["monitor", "accuracy"],
    "agent_limits": ["limits", "show", "x"],
    "credentials": ["credential", "list"],
    "upstream_credentials": ["credential", "upstream"],
    "accounts": ["credential", "accounts"],
    "approvals": ["approval", "list"],
    "approval": ["approval", "get", "apr_x"],
    "holds": ["hold", "list"],
    "store_list": ["store", "list"],
    "store_namespaces": ["store", "list", "shelf"],
    "store_scans": ["store", "scans"],
    "store_purges": ["store", "purges"],
    "store_purge_get": ["store", "purge", "prg_x"],
    "store_reviews": ["store", "review", "list"],
    "store_review_items": ["store", "review", "items", "srv_x"],
    "retention": ["retention", "show"],
    "retention_plan": ["retention", "plan"],
    "erasures": ["audit", "erasures"],
    "legal_holds": ["legal-hold", "list"],
    "hold": ["hold", "get", "hld_x"],
    "policy_release": ["policy", "show"],
    "policy_history": ["policy", "history"],
    "policy_texts": ["policy", "show", "3"],
    "successions_list": ["agent", "ownerless"],
    "findings": ["finding", "list"],
    "finding_get": ["finding", "get", "fnd_x"],
    "alerts": ["alert", "list"],
    "restrictions": ["restriction", "list"],
    "break_glass": ["break-glass", "list"],
    "incidents": ["incident", "list"],
    "incident_get": ["incident", "get", "inc_x"],
    "agent_certificate": ["agent", "certificate", "x"],
    "agent_credentials": ["agent", "credentials", "x"],
    "records": ["audit", "tail"],
    "decision": ["policy", "explain", "dec_x", "--record"],
    "explanation": ["policy", "explain", "dec_x"],
    "policy_simulation": ["policy", "simulate", "--candidate", "policies"],
    "prove": ["audit", "prove", "1"],
    "reviews_list": ["review", "list"],
    "review_get": ["review", "get", "rvw_x"],
    "campaigns_list": ["review", "campaigns"],
    "campaign_report": ["review", "report", "rvc_x"],
}


_REPORT: dict[str, Any] = {
    "base": "b", "candidate": "c", "since_us": 0, "until_seq": 0, "calls": 0, "untouched": 0, "replayed": 0,
    "denied": 0, "held": 0, "failing": 0, "allowed": 0, "breaking": 0, "slices_total": 0, "unrepeatable": {},
    "missing": {}, "impacts": [], "workflows": [], "agents": [], "slices": [], "unused": [], "breaks": False,
    "denies_everything": False,
}  # fmt: skip
_TRIED: dict[str, Any] = {
    "id": "sim_x", "state": "done", "report": _REPORT, "proof": {"exact": True, "differences": []}, "files": [],
    "rules": [], "passed": True, "cases": [{"passed": True}], "coverage": [], "determined": 0, "policies": 0,
    "branch_share": 1.0, "survivors": None,
}  # fmt: skip


@pytest.mark.requirement("cli:parity:api")
def test_whatever_the_api_can_change_or_show_a_command_can(
    cli: Cli, place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accredit.approvals.requests import view_digest

    asked: list[tuple[str, str]] = []
    answer: dict[str, Any] = {"view": "{}", "view_digest": view_digest("{}"), "state": "open", "items": [],
                              "token": "t", "person": "p", "expires": "e", "link": "l", "proof": "p",
                              "objects": [], "live_only": [], "pending": False, "policies": {},
                              "text": "t", "unsaid": [], "signature": "s", "missing": [], "files": {}}  # fmt: skip

    def called(_: ApiClient, method: str, path: str, **__: object) -> Any:
        asked.append((method, path))
        return answer | (_TRIED if path.startswith("/api/v1/policy/") or path.endswith("/simulate") else {})

    monkeypatch.setattr(ApiClient, "_call", called)
    (tmp_path / "a.yaml").write_text("a: 1")
    (tmp_path / "policies/org").mkdir(parents=True)
    (tmp_path / "policies/org/a.cedar").write_text("")
    there: dict[tuple[str, str], Route] = {}
    for route in control_api(place.plane).routes:
        assert isinstance(route, Route)
        if not route.path.startswith("/api/v1/"):
            continue  # the description itself
        for method in (route.methods or set()) - {"HEAD"}:
            there[method, route.name] = route
    verbs = _VERBS | {("GET", name): words for name, words in _READS.items()}
    assert set(there) == set(verbs)
    for key, words in verbs.items():
        asked.clear()
        ran = cli(*words, stdin="value\n")
        assert ran.code == 0, (words, ran)
        matched = [
            path for method, path in asked if method == key[0] and there[key].path_regex.match(path.replace("%2F", "/"))
        ]
        assert matched, (words, asked)
