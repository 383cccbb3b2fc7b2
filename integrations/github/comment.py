"""Keep one comment on a pull request that says what the last simulation found. Standard library only."""  # noqa: INP001 - a script of its own

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARK = "<!-- accredit policy simulation -->"
MOST = 60_000
"""A comment may have 65,536 characters."""


def ask(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One request to the API of the repository's forge."""
    base = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    request = urllib.request.Request(  # noqa: S310 - the forge's own address
        f"{base}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={
            "accept": "application/vnd.github+json",
            "authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        return json.load(answer)


def comments(number: int) -> Iterator[dict[str, Any]]:
    """Every comment of a pull request, within reason."""
    for page in range(1, 31):
        found = ask("GET", f"issues/{number}/comments?per_page=100&page={page}")
        yield from found
        if len(found) < 100:
            return


def main(report: Path) -> int:
    """Write the report into the comment that is there, or a new one."""
    if not report.is_file():
        sys.stderr.write("there is no report: lint or tests failed before\n")
        return 0
    number = int(os.environ["NUMBER"])
    text = report.read_text(encoding="utf-8")
    body = {"body": f"{MARK}\n{text[:MOST]}{'' if len(text) <= MOST else chr(10) + 'It goes on in the summary.'}"}
    ours = next((one for one in comments(number) if str(one.get("body", "")).startswith(MARK)), None)
    if ours is None:
        ask("POST", f"issues/{number}/comments", body)
    else:
        ask("PATCH", f"issues/comments/{int(ours['id'])}", body)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
