"""The outermost layer of the command line: what went wrong becomes a text on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from accredit.cli.client import ApiFault
from accredit.cli.output import plain
from accredit.kernel.errors import AccreditError

__all__ = ["reported"]


def reported(run: Callable[[], object]) -> int:
    """Run a command; returns its exit code."""
    try:
        result = run()
    except ApiFault as fault:
        _say(fault.message, fault.hint, fault.code)
        for each in fault.problem.get("errors", ()):
            print(f"  - {plain(each, limit=400)}", file=sys.stderr)
        return fault.exit_code
    except AccreditError as error:
        _say(error.message, error.hint, str(error.code))
        return error.exit_code
    except BrokenPipeError:
        return 1
    return result if isinstance(result, int) else 0


def _say(message: str, hint: str, code: str) -> None:
    print(f"error: {plain(message, limit=1000)} [{code}]", file=sys.stderr)
    if hint:
        print(f"hint: {plain(hint, limit=500)}", file=sys.stderr)
