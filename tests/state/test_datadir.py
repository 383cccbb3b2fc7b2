"""Who may hold a data directory, and what must be true of the files in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from accredit.audit.reserve import RESERVE_BYTES
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, NotFoundError
from accredit.kernel.ids import RandomIds
from accredit.storage.datadir import DataDirectory, DataDirectoryHeldError, read_address

IDS = RandomIds()
ADDRESS = "http://127.0.0.1:8700"

_HOLD = """
import sys
from pathlib import Path
from accredit.kernel.ids import RandomIds
from accredit.storage.datadir import DataDirectory
held = DataDirectory.open(Path(sys.argv[1]), ids=RandomIds(), address=sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "data"


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.requirement("state:directory:private")
def test_a_new_directory_and_all_in_it_are_the_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        directory = DataDirectory.open(path, ids=IDS)
        directory.signing_key()
    finally:
        os.umask(before)
    assert _mode(path) == 0o700
    names = {file.name: _mode(file) for file in path.iterdir()}
    assert names == dict.fromkeys(["root.key", "signing.key", "server.lock", "narrowing.reserve"], 0o600)
    assert (path / "root.key").stat().st_size == 32
    reserve = (path / "narrowing.reserve").stat()
    assert reserve.st_size == RESERVE_BYTES
    assert reserve.st_blocks * 512 >= RESERVE_BYTES  # taken, not sparse
    directory.close()


def test_what_one_life_sealed_the_next_one_opens(path: Path) -> None:
    directory = DataDirectory.open(path, ids=IDS)
    sealed = directory.sealer.seal(b"text", belongs_to=b"x")
    public = directory.signing_key().public_key().public_bytes_raw()
    directory.close()
    directory = DataDirectory.open(path, ids=IDS)
    assert directory.sealer.open(sealed, belongs_to=b"x") == b"text"
    assert directory.signing_key().public_key().public_bytes_raw() == public
    directory.close()
    reader = DataDirectory.read(path, ids=IDS)
    assert reader.signing_key().public_key().public_bytes_raw() == public
    assert not reader.held


@pytest.mark.requirement("state:directory:one-holder")
def test_a_held_directory_names_its_holder_and_a_killed_holder_lets_go(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), ADDRESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert read_address(path) == ADDRESS
            with pytest.raises(DataDirectoryHeldError) as refused:
                DataDirectory.open(path, ids=IDS)
            assert refused.value.code is Code.DATA_DIRECTORY_HELD
            assert refused.value.address == ADDRESS
            assert ADDRESS in refused.value.message
            DataDirectory.read(path, ids=IDS).close()
        finally:
            holder.kill()
            holder.communicate(timeout=20)
    assert read_address(path) is None
    DataDirectory.open(path, ids=IDS).close()


def test_the_address_can_be_said_once_it_is_known(path: Path) -> None:
    directory = DataDirectory.open(path, ids=IDS)
    assert read_address(path) == ""
    with pytest.raises(DataDirectoryHeldError) as refused:
        DataDirectory.open(path, ids=IDS)
    assert refused.value.address == ""
    directory.announce(ADDRESS + "0")
    directory.announce(ADDRESS)
    assert read_address(path) == ADDRESS
    directory.close()
    assert read_address(path) is None


def test_a_directory_that_is_not_there_is_held_by_nobody(path: Path) -> None:
    assert read_address(path) is None
    with pytest.raises(NotFoundError):
        DataDirectory.read(path, ids=IDS)
    assert not path.exists()


@pytest.mark.requirement("state:directory:refuses-unsafe")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
@pytest.mark.parametrize("name", ["root.key", "signing.key", "."])
def test_a_key_or_directory_open_to_others_refuses_to_start(path: Path, name: str, mode: int) -> None:
    directory = DataDirectory.open(path, ids=IDS)
    directory.signing_key()
    directory.close()
    (path / name).chmod(mode | (0o100 if name == "." else 0))
    with pytest.raises(InvalidInputError) as refused:
        DataDirectory.open(path, ids=IDS).signing_key()
    assert refused.value.code is Code.SETTING_INVALID
    assert "chmod" in refused.value.hint
    with pytest.raises(InvalidInputError):
        DataDirectory.read(path, ids=IDS).signing_key()


def test_a_directory_or_key_of_another_user_refuses_to_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DataDirectory.open(path, ids=IDS).close()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InvalidInputError, match="belongs to user"):
        DataDirectory.open(path, ids=IDS)


def test_a_link_or_a_pipe_in_place_of_the_key_refuses(path: Path) -> None:
    DataDirectory.open(path, ids=IDS).close()
    key = path / "root.key"
    key.rename(path / "elsewhere")
    key.symlink_to(path / "elsewhere")
    with pytest.raises(AccreditError):
        DataDirectory.open(path, ids=IDS)
    key.unlink()
    os.mkfifo(key, 0o600)
    with pytest.raises(InvalidInputError, match="regular file"):
        DataDirectory.open(path, ids=IDS)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_refuses(path: Path, size: int) -> None:
    DataDirectory.open(path, ids=IDS).close()
    (path / "root.key").write_bytes(bytes(size))
    with pytest.raises(InvalidInputError, match="32 bytes"):
        DataDirectory.open(path, ids=IDS)


@pytest.mark.requirement("state:directory:no-second-key")
def test_a_missing_key_beside_data_is_never_made_anew(path: Path) -> None:
    directory = DataDirectory.open(path, ids=IDS)
    directory.signing_key()
    directory.close()
    (path / "control.db").touch(0o600)
    (path / "root.key").unlink()
    with pytest.raises(InvalidInputError, match="missing beside data"):
        DataDirectory.open(path, ids=IDS)
    assert not (path / "root.key").exists()


def test_a_missing_signing_key_beside_a_log_is_never_made_anew(path: Path) -> None:
    directory = DataDirectory.open(path, ids=IDS)
    (path / "audit.db").write_bytes(b"log")
    with pytest.raises(InvalidInputError, match="was signed with it"):
        directory.signing_key()
    directory.close()


def test_a_signing_key_of_another_installation_refuses(path: Path, tmp_path: Path) -> None:
    directory, other = (DataDirectory.open(where, ids=IDS) for where in (path, tmp_path / "other"))
    other.signing_key()
    (tmp_path / "other" / "signing.key").rename(path / "signing.key")
    with pytest.raises(InvalidInputError):
        directory.signing_key()
    directory.close()
    other.close()


def test_what_a_crash_left_of_a_new_key_is_written_over(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True)
    (path / "root.key.new").write_bytes(b"half")
    DataDirectory.open(path, ids=IDS).close()
    assert (path / "root.key").stat().st_size == 32
    assert not (path / "root.key.new").exists()


def test_no_key_shows_in_a_repr(path: Path) -> None:
    directory = DataDirectory.open(path, ids=IDS)
    key = (path / "root.key").read_bytes()
    assert repr(key) not in repr(directory) + repr(directory.sealer) + repr(vars(directory))
    directory.close()
