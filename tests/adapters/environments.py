"""`make adapters`: the suite for each framework in an environment of its own, as locked, and one table of it all.

`python -m tests.adapters.environments [NAME…]`. Environments stand in `.venv-adapters/`, and are made anew when their
lock changes. Exit 1 unless every case of every framework passed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from accredit.sdk.adapters import FRAMEWORKS

_ROOT: Final = Path(__file__).parents[2]
_LOCKS: Final = _ROOT / "requirements/adapters"
_PLACE: Final = _ROOT / ".venv-adapters"
_UV: Final = Path(sys.executable).parent / "uv"
_CASES: Final = ("allow", "deny", "hold", "timeout", "raise", "stream")
_TIMEOUT_S: Final = 900


def _environment(name: str) -> Path:
    """The Python of an environment that holds what the lock says, and nothing else."""
    lock, place = _LOCKS / f"{name}.txt", _PLACE / name
    stamp, wanted = place / "lock", sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    python = place / "bin/python"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        _do(_UV, "venv", "--quiet", "--python", sys.executable, place)
        _do(_UV, "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock)
        stamp.write_text(wanted)
    return python


def _do(*command: object) -> None:
    subprocess.run([str(word) for word in command], cwd=_ROOT, check=True, timeout=_TIMEOUT_S)


def _version(python: Path, name: str) -> str:
    code = f"from importlib.metadata import version; print(version({FRAMEWORKS[name][1]!r}))"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return asked.stdout.strip()


def _cases(python: Path, name: str) -> dict[str, str]:
    """What came of each case. Nothing of this checkout's environment is seen, and no framework reports home."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": scratch,
            "PYTHONPATH": f"{_ROOT / 'src'}{os.pathsep}{_ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "ADAPTERS": name,
            "OTEL_SDK_DISABLED": "true",
            "CREWAI_DISABLE_TELEMETRY": "true",
            "CREWAI_TRACING_ENABLED": "false",
            "ANONYMIZED_TELEMETRY": "false",
        }
        ran = subprocess.run(
            [
                python, "-m", "pytest", "-q", "-c", _ROOT / "tests/adapters/pytest.ini", f"--rootdir={_ROOT}",
                f"--confcutdir={_ROOT / 'tests/adapters'}", f"--junitxml={report}", "--tb=short",
                _ROOT / "tests/adapters/test_conformance.py",
            ],
            cwd=scratch, env=environ, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        found = dict.fromkeys(_CASES, "missing")
        if report.exists():
            for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
                of = str(case.get("name")).removeprefix("test_").partition("[")[0]
                found[of] = "FAILED" if case.find("failure") is not None or case.find("error") is not None else "ok"
        if ran.returncode != 0 or set(found.values()) != {"ok"}:
            print(ran.stdout[-8_000:], ran.stderr[-2_000:], file=sys.stderr)
    return found


def _main(names: list[str]) -> int:
    rows = []
    for name in names or sorted(FRAMEWORKS):
        print(f"{name} …", flush=True)
        python = _environment(name)
        rows.append((name, FRAMEWORKS[name][1], _version(python, name), *_cases(python, name).values()))
    table = [("adapter", "distribution", "version", *_CASES), *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    for row in table:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(set(row[3:]) == {"ok"} for row in rows) else 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
