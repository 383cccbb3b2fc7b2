"""An application that asks accredit who may do what with its documents (AuthZEN 1.0), and enforces the answer itself.

`python examples/ask.py KEY USER ACTION DOCUMENT`; KEY is the enforcement point's.
"""

from __future__ import annotations

import sys

import httpx2

ACCREDIT = "http://127.0.0.1:8700"


def main(key: str, user: str, action: str, document: str) -> None:
    question = {
        "subject": {"type": "user", "id": user},
        "action": {"name": action},
        "resource": {"type": "document", "id": document},
        "context": {"mfa": True},
    }
    answer = httpx2.post(f"{ACCREDIT}/access/v1/evaluation", json=question, headers={"authorization": f"Bearer {key}"})
    told = answer.raise_for_status().json()
    print("yes" if told["decision"] else f"no: {told['context']['reason']}", told["context"]["evaluation_id"])


if __name__ == "__main__":
    main(*sys.argv[1:5])
