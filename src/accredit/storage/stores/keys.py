"""Destroys the keys that namespaces were encrypted under, where they are kept: in files, or in AWS KMS.

Erasing a key erases what it opens (NIST SP 800-88 Rev. 2, cryptographic erase) only if everything was always encrypted
under it and no copy of it is left; whoever registers a store says the first, and nobody can see the second from here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.lifecycle.stored import KeyDestroyed
from accredit.storage.stores.reading import basic_pair, missing

__all__ = ["FILE_KEYS", "destroy_file", "destroy_in_kms", "gone_from_kms", "kms_region"]

FILE_KEYS: Final = "file:"
_KMS: Final = re.compile(
    r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]{1,32}):\d{12}:(?:key|alias)/[A-Za-z0-9/_.:@-]{1,256}"
)
_MOST: Final = 65_536
_DESTROYED: Final = ".destroyed"
_WAIT_DAYS: Final = 7
"""The least that AWS KMS allows between the order and the deletion."""


def destroy_file(path: Path, scope: str) -> KeyDestroyed:
    """Overwrite and remove a key that is a file. A file beside it keeps its fingerprint, so this can be repeated.

    Raises:
        UnavailableError: there is no such key, it is none, or it cannot be changed.
    """
    told = path.with_name(path.name + _DESTROYED)
    try:
        if not os.path.lexists(path):
            if told.is_file() and not told.is_symlink():
                return KeyDestroyed(scope, told.read_text("ascii")[:128], None)
            raise UnavailableError(Code.STORE_UNREACHABLE, "there is no such key")
        if path.is_symlink() or not path.is_file() or not 0 < (size := path.stat().st_size) <= _MOST:
            raise UnavailableError(Code.STORE_UNREACHABLE, "the file is no key")
        if path.stat().st_nlink > 1:
            raise UnavailableError(Code.STORE_UNREACHABLE, "the key has other names, under which it would stay")
        key = path.read_bytes()
        if any(key) or not told.is_file():  # a kill between overwriting and removing must not change the fingerprint
            _written(told, f"sha256:{sha256(key).hexdigest()}".encode())
        with path.open("r+b") as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        _settled(path.parent)
        return KeyDestroyed(scope, told.read_text("ascii")[:128], None)
    except OSError as error:
        raise UnavailableError(Code.STORE_UNREACHABLE, f"the key cannot be destroyed: {error.strerror}") from error


def _written(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _settled(path.parent)


def _settled(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kms_region(scope: str) -> str | None:
    """Where AWS KMS keeps a key, if the scope is the ARN of one or of an alias of one."""
    found = _KMS.fullmatch(scope)
    return None if found is None else found["region"]


def gone_from_kms(
    ordered: KeyDestroyed, region: str, headers: Mapping[str, str], *, endpoint: str | None = None
) -> KeyDestroyed:
    """What AWS KMS says by now of a key that it was ordered to delete: a key that it does not know any more is gone.

    Asked for by its own name, since aliases go before their keys. An order that was taken back is given anew.

    Raises:
        UnavailableError: the service cannot be reached, or refuses for another reason.
    """
    try:
        return replace(destroy_in_kms(ordered.fingerprint, region, headers, endpoint=endpoint), scope=ordered.scope)
    except _NoSuchKeyError:
        return replace(ordered, pending_until_us=None)


class _NoSuchKeyError(UnavailableError):
    """The service knows no key of that name."""


def destroy_in_kms(scope: str, region: str, headers: Mapping[str, str], *, endpoint: str | None = None) -> KeyDestroyed:
    """Order AWS KMS to delete a key, with the pair of keys of the store's credential.

    The service deletes it only after a time of waiting, in which the order could be taken back: until then it is said
    to be pending. Can be repeated meanwhile.

    Raises:
        UnavailableError: the service cannot be reached, refuses, or has no such key.
    """
    try:
        import boto3  # noqa: PLC0415 - an extra
        import botocore.exceptions  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
    except ImportError as error:
        raise missing("store-s3", "boto3") from error
    key, secret = basic_pair(headers) or (None, None)
    client: Any = boto3.client(
        "kms", endpoint_url=endpoint, region_name=region, aws_access_key_id=key, aws_secret_access_key=secret,
        config=Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 2}),
    )  # fmt: skip
    try:
        told = client.describe_key(KeyId=scope)["KeyMetadata"]
        if told["KeyState"] != "PendingDeletion":
            client.schedule_key_deletion(KeyId=told["KeyId"], PendingWindowInDays=_WAIT_DAYS)
            told = client.describe_key(KeyId=told["KeyId"])["KeyMetadata"]
        if told["KeyState"] != "PendingDeletion":
            raise UnavailableError(Code.STORE_UNREACHABLE, f"the key is {str(told['KeyState'])[:40]} after the order")
        return KeyDestroyed(scope, str(told["Arn"]), int(told["DeletionDate"].timestamp() * 1_000_000))
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        why = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
        kind = _NoSuchKeyError if why == "NotFoundException" else UnavailableError
        raise kind(Code.STORE_UNREACHABLE, f"AWS KMS refuses: {str(why)[:80]}") from error
    finally:
        client.close()
