"""Loaded by Python itself when `accredit run` started it: what the program imports of known frameworks is governed.

Python goes on after a `sitecustomize` that fails; this one ends the process instead.
"""

import importlib.machinery
import importlib.util
import os
import sys


def _govern() -> None:
    from accredit.sdk.adapters.importing import govern_on_import  # noqa: PLC0415 - its absence is told below
    from accredit.sdk.guarded import GuardedTools  # noqa: PLC0415

    govern_on_import(GuardedTools.from_environment(os.environ))


def _go_on() -> None:
    """Load the `sitecustomize` that Python would have loaded without this one, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - before every program: nothing is loaded
    path = [each for each in sys.path if os.path.abspath(each) != here]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


try:
    _govern()
except BaseException as error:  # noqa: BLE001 - whatever it is: nothing runs ungoverned
    sys.stderr.write(
        f"accredit: this program cannot be governed, so it is not started: {error!r}\n"
        f"accredit: {sys.executable} needs accredit's SDK, and what `accredit run` sets (see docs/sdk.md)\n"
    )
    sys.stderr.flush()
    os._exit(78)
_go_on()
