"""Cold start of `accredit up` on an empty data directory, its memory, and what the core installation weighs.

The reference is a bare FastAPI application served by uvicorn in the same environment, started in turn with ours.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from _report import report

_BARE = """
import uvicorn, fastapi
app = fastapi.FastAPI()
@app.get("/readyz")
def ready() -> str: return "ok"
uvicorn.run(app, host="127.0.0.1", port={port}, log_level="error", loop="uvloop", http="httptools")
"""


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]  # always there on Linux


def _one_start(command: list[str], port: int) -> tuple[float, float]:
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                if process.poll() is not None or time.perf_counter() - began > 60:
                    raise SystemExit(f"{command[:3]} did not become ready")
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
                        if answer.status == 200:
                            return time.perf_counter() - began, _rss_mb(process.pid)
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    time.sleep(0.005)
        finally:
            process.terminate()


def _core() -> dict[str, Distribution]:
    """The distributions a core installation (no extras) has, by following requirements."""
    found: dict[str, Distribution] = {}
    waiting = ["accredit"]
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        found[key] = distribution(name)
        for line in found[key].requires or ():
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                waiting.append(wanted.name)
    return found


def _weight_mb() -> float:
    total = 0
    for one in _core().values():
        for file in one.files or ():
            path = Path(str(one.locate_file(file)))
            if path.suffix != ".pyc" and path.is_file():
                total += path.stat().st_size
    ours = Path(__file__).parents[1] / "src"  # an editable install lists no files of its own
    total += sum(path.stat().st_size for path in ours.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return total / 2**20


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    rounds = 3 if arguments.parse_args().quick else 9
    program = str(Path(sys.executable).with_name("accredit"))
    starts: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            port = _free_port()
            starts.append(_one_start([program, "up", "--data", f"{directory}/data", "--port", str(port)], port))
        port = _free_port()
        bare.append(_one_start([sys.executable, "-c", _BARE.format(port=port)], port))
    ready, rss = (statistics.median(column) for column in zip(*starts, strict=True))
    bare_ready, bare_rss = (statistics.median(column) for column in zip(*bare, strict=True))
    weight = _weight_mb()
    print(
        f"`accredit up` on an empty data directory, median of {rounds}: /readyz answers after {ready:.2f} s, RSS {rss:.0f} MB"
    )
    print(f"reference, bare FastAPI under uvicorn: {bare_ready:.2f} s, {bare_rss:.0f} MB")
    print(
        f"core distributions without extras, less pip, setuptools and bytecode: {weight:.0f} MB ({os.uname().machine})"
    )
    report("start", {
        "ready_s": ready, "rss_mb": rss, "install_mb": weight,
        "reference_ready_s": bare_ready, "reference_rss_mb": bare_rss,
    })  # fmt: skip


if __name__ == "__main__":
    main()
