"""A test run as others take it: plain data, and JUnit XML, the form that CI systems read."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict
from typing import Any
from xml.sax.saxutils import quoteattr

from accredit.policy.testing import CaseResult, TestRun

__all__ = ["junit_xml", "test_document"]

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def test_document(run: TestRun) -> dict[str, Any]:
    """The run as plain data, its JUnit XML included."""
    return {
        "passed": run.passed and not run.survivors,
        "cases": [asdict(one) for one in run.cases],
        "coverage": [asdict(one) for one in run.coverage],
        "determined": run.determined,
        "policies": len(run.coverage),
        "branch_share": run.branch_share,
        "survivors": None if run.survivors is None else list(run.survivors),
        "junit": junit_xml(run),
    }


def junit_xml(run: TestRun, *, seconds: float = 0.0) -> str:
    """The run as one `testsuites` element, a suite for each file; survivors of mutation are failures of a suite."""
    files: defaultdict[str, list[CaseResult]] = defaultdict(list)
    for one in run.cases:
        files[one.path].append(one)
    for survivor in run.survivors or ():
        why = "no case fails without this policy"
        files["mutation"].append(CaseResult("mutation", survivor, passed=False, why=why))
    total = sum(map(len, files.values()))
    failed = sum(not one.passed for cases in files.values() for one in cases)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="accredit policy test" tests="{total}" failures="{failed}" errors="0" time="{seconds:.3f}">',
    ]
    for path, cases in sorted(files.items()):
        wrong = sum(not one.passed for one in cases)
        lines.append(f'  <testsuite name={_attribute(path)} tests="{len(cases)}" failures="{wrong}" errors="0">')
        for one in cases:
            head = f"    <testcase classname={_attribute(path)} name={_attribute(one.name)}"
            if one.passed:
                lines.append(f"{head}/>")
            else:
                lines += [f"{head}>", f"      <failure message={_attribute(one.why)}/>", "    </testcase>"]
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def _attribute(text: str) -> str:
    return quoteattr(_FORBIDDEN.sub("\ufffd", text))
