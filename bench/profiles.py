"""How fast session profiles are made again from the log: all of it, as `accredit monitor rebuild` does (issue 7).

The data directory is the one of `bench/replay.py`: calls of 1,000 agents as the gateway records them, arguments sealed, and
their outcomes. Every record is read, arguments are opened and classed, sessions folded, and profiles kept in SQLite, by one
process and one thread. Reference, in the same run: reading the same records and parsing header and body, nothing else.

- `rebuild_s`: the whole, scaled to 1,000,000 calls where fewer were read (`--quick`: 100,000);
- `us_per_call`, `vs_reading`: of each call, and in multiples of the reference;
- `bytes_per_session`: in the file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from _report import report
from accredit.audit.records import body_of, header_of, stored_record
from accredit.kernel.ids import RandomIds
from accredit.kernel.sealing import AesGcmSealer
from accredit.monitoring.profiles.following import SessionProfiles
from accredit.offline import look_at
from accredit.storage.sqlite.profiles import SqliteProfileStore
from replay import _installation

_IDLE_US = 30 * 60_000_000
_MUCH = 10**16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    calls = 100_000 if asked.quick else 1_000_000
    with (
        _installation(1_000 if asked.quick else 10_000, calls) as data,
        look_at(data) as offline,
        tempfile.TemporaryDirectory(prefix="accredit-bench-") as folder,
    ):
        records = offline.records()
        begun = time.perf_counter()
        for row in records.rows(0, records.size()):
            record = stored_record(records.stream, row, {})
            header_of(record), body_of(record)
        reading = time.perf_counter() - begun
        store = SqliteProfileStore(Path(folder) / "profiles.db")
        profiles = SessionProfiles(
            records, store, keys=offline.part_keys, sealer=AesGcmSealer(bytes(32), RandomIds()), idle_us=_IDLE_US,
            definition=lambda _: None,
        )  # fmt: skip
        begun = time.perf_counter()
        kept = profiles.read(records.size(), _MUCH)
        took = time.perf_counter() - begun
        size = (Path(folder) / "profiles.db").stat().st_size
        print(
            f"{records.size():,} records of {calls:,} calls: {kept:,} sessions in {took:.1f} s, reading alone {reading:.1f} s; "
            f"{size / max(kept, 1):.0f} bytes a session"
        )
        scale = 1_000_000 / calls
        report("profiles", {
            "rebuild_s": took * scale, "us_per_call": 1e6 * took / calls, "vs_reading": took / reading,
            "sessions": kept, "bytes_per_session": size / max(kept, 1),
        })  # fmt: skip


if __name__ == "__main__":
    main()
