"""Keys that namespaces were encrypted under: destroyed where they are kept, or it is said that they were not."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import KeyDestroyed, Purge, PurgeState
from accredit.registry.model import Store
from accredit.storage.stores.opening import OpenedStores
from tests.lifecycle.house import NOW_US, House, house
from tests.stores.kinds import NAMESPACE, moto_url, store
from tests.stores.test_purges import keeping, purged, run

pytestmark = pytest.mark.requirement("stores:keys:destroyed")
_KEY = b"0123456789abcdef0123456789abcdef"
_FINGERPRINT = f"sha256:{sha256(_KEY).hexdigest()}"


async def _no_headers(_: Store) -> Mapping[str, str]:
    return {}


def _opened(tmp_path: Path, **more: Any) -> OpenedStores:
    for name in ("stores", "data"):
        (tmp_path / name).mkdir(exist_ok=True)
    return OpenedStores([tmp_path / "stores"], apart_from=tmp_path / "data", **{"headers": _no_headers, **more})


def _destroyed(opened: OpenedStores, scope: str, kind: str = "files") -> KeyDestroyed:
    return asyncio.run(opened.destroy_key(store(kind, Path("/srv/stores")), scope))


async def _ended(place: House, purge: Purge) -> Purge:
    for _ in range(1_000):
        found = place.room.stores.purge_of(purge.id)
        if found.state is PurgeState.ENDED:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(found.state)


def test_a_purge_of_an_encrypted_folder_destroys_its_key_once_nothing_is_left(tmp_path: Path) -> None:
    async def story() -> None:
        shelf, key = tmp_path / "stores/shelf", tmp_path / f"stores/keys/{NAMESPACE}.key"
        for folder in (shelf / NAMESPACE, key.parent):
            folder.mkdir(parents=True)
        (shelf / NAMESPACE / "note").write_bytes(b"sealed under the key")
        os.utime(shelf / NAMESPACE / "note", (NOW_US / 1e6 - 60,) * 2)
        key.write_bytes(_KEY)
        scope = f"file:{tmp_path}/stores/keys/{{namespace}}.key"
        async with house(tmp_path) as place:
            stores = [{"kind": "memory", "adapter": "files", "store": "shelf", "namespace": NAMESPACE}]
            active = await keeping(place, stores=stores, adapter="files", location=str(shelf), keyScope=scope)
            outcome = (await _ended(place, await purged(place, active.id))).outcome
            assert outcome is not None
            assert outcome.keys == (KeyDestroyed(scope.replace("{namespace}", NAMESPACE), _FINGERPRINT, None),)
            assert not key.exists()
            assert not any("key" in one for one in outcome.open)
            # the plan of a second purge finds nothing, and what is destroyed already is no fault
            again = (await _ended(place, await purged(place, active.id))).outcome
            assert again is not None
            assert again.keys == outcome.keys

    run(story())


def test_a_key_whose_bytes_are_gone_but_whose_name_is_not_keeps_its_fingerprint(tmp_path: Path) -> None:
    opened, key = _opened(tmp_path), tmp_path / "stores/one.key"
    key.write_bytes(_KEY)
    assert _destroyed(opened, f"file:{key}").fingerprint == _FINGERPRINT
    key.write_bytes(bytes(len(_KEY)))  # as a process leaves it that is killed between the two
    assert _destroyed(opened, f"file:{key}") == KeyDestroyed(f"file:{key}", _FINGERPRINT, None)
    assert not key.exists()
    assert _KEY not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_new_key_under_the_name_of_a_destroyed_one_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    opened, key = _opened(tmp_path), tmp_path / "stores/one.key"
    key.write_bytes(_KEY)
    assert _destroyed(opened, f"file:{key}").fingerprint == _FINGERPRINT
    key.write_bytes(_KEY[::-1])
    assert _destroyed(opened, f"file:{key}").fingerprint == f"sha256:{sha256(_KEY[::-1]).hexdigest()}"
    assert not key.exists()


def test_what_is_no_key_of_its_own_is_not_touched(tmp_path: Path) -> None:
    opened, outside = _opened(tmp_path), tmp_path / "outside.key"
    outside.write_bytes(_KEY)
    (tmp_path / "data/root.key").write_bytes(_KEY)
    (tmp_path / "stores/link.key").symlink_to(outside)
    (tmp_path / "stores/folder").symlink_to(tmp_path)
    (tmp_path / "stores/second.key").hardlink_to(outside)
    (tmp_path / "stores/empty.key").touch()
    (tmp_path / "stores/directory.key").mkdir()
    places = ("outside.key", "data/root.key", "stores/link.key", "stores/folder/outside.key", "stores/second.key",
              "stores/../outside.key", "stores/empty.key", "stores/directory.key", "stores/none.key")  # fmt: skip
    for place in places:
        with pytest.raises(UnavailableError):
            _destroyed(opened, f"file:{tmp_path}/{place}")
    with pytest.raises(UnavailableError):
        _destroyed(opened, "file:relative.key")
    with pytest.raises(InvalidInputError):
        _destroyed(opened, "kms/support")
    with pytest.raises(InvalidInputError):  # a key of AWS, and no credential for it
        _destroyed(opened, "arn:aws:kms:eu-central-1:111122223333:alias/x")
    assert outside.read_bytes() == (tmp_path / "data/root.key").read_bytes() == _KEY
    assert not list(tmp_path.rglob("*.destroyed"))


def test_a_key_in_aws_kms_is_pending_until_the_service_deletes_it(tmp_path: Path) -> None:
    pytest.importorskip("moto", reason="moto is not installed: make stores")
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("kms", endpoint_url=moto_url(), region_name="eu-central-1", aws_access_key_id="k",
                          aws_secret_access_key="s")  # fmt: skip
    arn = client.create_key()["KeyMetadata"]["Arn"]
    client.create_alias(AliasName="alias/memory-support", TargetKeyId=arn)

    async def headers(_: Store) -> Mapping[str, str]:
        return {"Authorization": f"Basic {b64encode(b'k:s').decode()}"}

    opened = _opened(tmp_path, headers=headers, kms=moto_url())
    scope = arn.rpartition(":key/")[0] + ":alias/memory-support"
    found = _destroyed(opened, scope, "s3")
    assert (found.scope, found.fingerprint) == (scope, arn)
    assert found.pending_until_us is not None
    assert client.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert _destroyed(opened, scope, "s3") == found  # asked again, it says the same

    def asked(ordered: KeyDestroyed) -> KeyDestroyed:
        return asyncio.run(opened.key_gone(store("s3", Path("/srv/stores")), ordered))

    assert asked(found) == found
    client.cancel_key_deletion(
        KeyId=arn.rpartition("/")[2]
    )  # whoever takes the order back does not come to a certificate by it
    assert asked(found).pending_until_us is not None
    assert client.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    unknown = f"{arn.rpartition('/')[0]}/00000000-0000-0000-0000-000000000000"
    assert asked(replace(found, fingerprint=unknown)) == replace(found, fingerprint=unknown, pending_until_us=None)
    with pytest.raises(UnavailableError, match="NotFound"):
        _destroyed(opened, scope + "-other", "s3")
