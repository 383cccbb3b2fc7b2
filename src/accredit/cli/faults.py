"""The outermost layer of the command line: what went wrong becomes a text on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from cyclopts import CycloptsError

from accredit.cli.client import ApiFault
from accredit.cli.output import plain
from accredit.cli.profile import load_profile
from accredit.kernel.errors import AccreditError

__all__ = ["reported"]


def reported(run: Callable[[], object]) -> int:
    """Run a command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal cannot show is still shown somehow
    try:
        result = run()
        sys.stdout.flush()
    except CycloptsError:
        return 2  # it has said what and why
    except ApiFault as fault:
        _say(fault.message, fault.hint, fault.code)
        for each in fault.problem.get("errors", ()):
            print(f"  - {plain(each, limit=400)}", file=sys.stderr)
        if fault.code == "unreachable" or fault.message == "you are not signed in":
            _say_where_else()
        return fault.exit_code
    except AccreditError as error:
        _say(error.message, error.hint, str(error.code))
        for each in getattr(error, "faults", ()) or getattr(error, "findings", ()):
            print(f"  - {plain(str(each), limit=400)}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # whoever read has enough; the interpreter must not try to flush once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _say(message: str, hint: str, code: str) -> None:
    print(f"error: {plain(message, limit=1000)} [{code}]", file=sys.stderr)
    if hint:
        print(f"hint: {plain(hint, limit=500)}", file=sys.stderr)


def _say_where_else() -> None:
    """A server that runs on the data directory here is most likely the one that was meant."""
    from accredit.offline import holder_of  # noqa: PLC0415 - only when lost

    directory = Path(os.environ.get("ACCREDIT_DATA", "accredit-data"))
    address = holder_of(directory)
    if address and address != load_profile(os.environ).url:
        print(f"hint: `{plain(directory.name)}` is held by the server at {plain(address)}", file=sys.stderr)
