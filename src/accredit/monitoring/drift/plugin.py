"""The process of one detector plug-in: `python -m accredit.monitoring.drift.plugin NAME`.

It reads requests from its standard input and answers on its standard output, each a length in four bytes and as many of
MessagePack; `apart.py` is the other side. What the plug-in prints goes to standard error. Processor time, memory and
files are bounded before any of its code is loaded.
"""

from __future__ import annotations

import contextlib
import os
import resource
import struct
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, BinaryIO, Final

import msgspec

from accredit.monitoring.drift.ports import DriftDetector, Reading
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["GROUP", "MOST_BYTES", "answered", "main", "read_message", "write_message"]

GROUP: Final = "accredit.detectors"
"""The entry points that plug-ins are found by."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one message."""
_LENGTH: Final = struct.Struct(">I")
_KEPT: Final = 512
"""Detectors at a time; of others the other side gives the state again."""
_MEMORY: Final = 2 * 1024**3
_CPU_S: Final = 3_600
_PARENT_S: Final = 2.0
_VIEWS: Final = 16


def write_message(stream: BinaryIO, message: Any) -> None:
    """Write one message and let it go."""
    encoded = msgspec.msgpack.encode(message, enc_hook=dict)
    stream.write(_LENGTH.pack(len(encoded)) + encoded)
    stream.flush()


def read_message(read: Callable[[int], bytes]) -> Any:
    """Read one message; `read` gives so many bytes or fewer at the end.

    Raises:
        EOFError: the other side is gone, or says more than a message may be.
    """
    head = read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(head)
    body = read(size) if size <= MOST_BYTES else b""
    if len(body) < size or size > MOST_BYTES:
        raise EOFError
    return msgspec.msgpack.decode(body)


def answered(request: list[Any], detectors: OrderedDict[int, DriftDetector], make: Callable[[], DriftDetector]) -> Any:
    """Do what is asked: `[what, handle, payload]`. The answer is `[true, …]`; `[null]` if the handle is not known."""
    what, handle, payload = request
    match what:
        case "fit":
            detector = make()
            detector.fit(msgspec.convert(payload, tuple[SessionProfile, ...]))
            detectors[handle] = detector
        case "restore":
            detector = make()
            detector.restore(payload)
            detectors[handle] = detector
        case "update":
            found = detectors.get(handle)
            if found is None:
                return [None]
            detectors.move_to_end(handle)
            reading = found.update(msgspec.convert(payload, SessionProfile))
            return [True, _plain(reading), float(found.threshold), found.state()]
        case _:
            raise ValueError("nothing of that name can be asked")
    while len(detectors) > _KEPT:
        detectors.popitem(last=False)
    return [True, float(detector.threshold), detector.state()]


def _plain(reading: Reading | Mapping[str, Any]) -> list[Any]:
    if isinstance(reading, Mapping):
        return [float(reading["score"]), float(reading["stat"]), [], reading.get("since")]
    views = [[str(one.view), float(one.stat), float(one.score)] for one in reading.views[:_VIEWS]]
    return [float(reading.score), float(reading.stat), views, reading.since]


def _bound() -> None:
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_with(parent: int) -> None:
    waiting = threading.Event()
    while os.getppid() == parent:
        waiting.wait(_PARENT_S)
    os._exit(1)


def main(name: str) -> None:
    """Serve one plug-in until the other side is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "rb")
    _bound()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    (found,) = entry_points(group=GROUP, name=name)
    make = found.load()
    detectors: OrderedDict[int, DriftDetector] = OrderedDict()
    write_message(answers, [True])
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request = read_message(requests.read)
            try:
                answer = answered(request, detectors, make)
            except Exception as error:  # noqa: BLE001 - whatever it raises is its own failure, and told by its kind alone
                answer = [False, type(error).__name__[:80]]
            write_message(answers, answer)


if __name__ == "__main__":
    main(sys.argv[1])
