"""An S3 bucket whose first folders are the namespaces and whose objects are the items.

Not verified against a real service: tests run against moto. Deleting an object of a bucket that keeps versions only
hides it, so every version is deleted by its id, and what is left of them is what is looked for afterwards.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.stored import (
    Capabilities,
    Finished,
    Holding,
    Item,
    ItemPage,
    ResidualBytes,
    Residue,
)
from accredit.registry.model import Store
from accredit.storage.stores.reading import basic_pair, bounded, missing, moment_us

__all__ = ["BucketStore"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}")
_MOST_READ: Final = 1_048_576
_AT_ONCE: Final = 1_000


class BucketStore:
    """`s3://BUCKET` at Amazon, or `s3://HOST/BUCKET` of another service; the credential is a pair of keys."""

    def __init__(self, store: Store, headers: Mapping[str, str], *, endpoint: str | None = None) -> None:
        try:
            import boto3  # noqa: PLC0415 - an extra
            import botocore.exceptions  # noqa: PLC0415
            from botocore.config import Config  # noqa: PLC0415
        except ImportError as error:
            raise missing("store-s3", "boto3") from error
        there, pair = urlsplit(store.location), basic_pair(headers)
        below = there.path.strip("/")
        self._bucket = below or there.netloc
        where = endpoint or (f"https://{there.netloc}" if below else None)
        self._errors, self._version = botocore.exceptions, boto3.__version__
        key, secret = pair or (None, None)
        self._client: Any = boto3.client(
            "s3", endpoint_url=where, aws_access_key_id=key, aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 2}),
        )  # fmt: skip
        with self._said():
            self._client.head_bucket(Bucket=self._bucket)

    @property
    def version(self) -> str:
        return f"s3, boto3 {self._version}"

    def capabilities(self) -> Capabilities:
        return Capabilities(filter_by=("time",), drop=True, residual_probe=True, versions=True)

    def inventory(self) -> Sequence[Holding]:
        with self._said():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Delimiter="/")
            names = [one["Prefix"].rstrip("/") for page in pages for one in page.get("CommonPrefixes", ())]
            return [self._holding(name) for name in sorted(names) if _NAME.fullmatch(name)]

    def _holding(self, name: str) -> Holding:
        count = size = 0
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{name}/")
        for page in pages:
            for one in page.get("Contents", ()):
                count, size = count + 1, size + int(one["Size"])
        return Holding(name, count, size)

    def items(self, namespace: str, after: str | None, limit: int) -> ItemPage:
        prefix = _prefix(namespace)
        start = {} if after is None else {"StartAfter": prefix + after}
        with self._said():
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=limit, **start)
            listed = [one["Key"] for one in found.get("Contents", ())]
            items = [item for key in listed if (item := self._item(prefix, key)) is not None]
        following = listed[-1].removeprefix(prefix) if found.get("IsTruncated") and listed else None
        return ItemPage(tuple(items), following)

    def get(self, namespace: str, ids: Sequence[str]) -> Sequence[Item]:
        prefix = _prefix(namespace)
        with self._said():
            return tuple(item for one in ids if (item := self._item(prefix, prefix + one)) is not None)

    def delete(self, namespace: str, ids: Sequence[str]) -> None:
        prefix = _prefix(namespace)
        with self._said():
            for one in ids:
                doomed = [
                    {"Key": version["Key"], "VersionId": version["VersionId"]}
                    for version in self._versions(prefix + one)
                    if version["Key"] == prefix + one
                ]
                for start in range(0, len(doomed), _AT_ONCE):
                    answer = self._client.delete_objects(
                        Bucket=self._bucket, Delete={"Objects": doomed[start : start + _AT_ONCE], "Quiet": True}
                    )
                    if answer.get("Errors"):
                        raise UnavailableError(Code.STORE_UNREACHABLE, "the bucket refuses to delete a version")

    def assign(self, namespace: str, ids: Sequence[str], field: str, value: str) -> None:
        del namespace, ids, field, value
        raise InvalidInputError(Code.BODY_MALFORMED, "an object cannot be given to another agent")

    def finish(self, namespace: str, *, empty: bool) -> Finished:
        """Also deletes what is hidden below the prefix already: versions whose object was deleted before."""
        del empty
        prefix = _prefix(namespace)
        with self._said():
            for version in self._versions(prefix):
                if not version["IsLatest"] or "Size" not in version:
                    self._client.delete_object(Bucket=self._bucket, Key=version["Key"], VersionId=version["VersionId"])
        return Finished(("delete-versions",), ("replicas and backups of the bucket",))

    def residue(self, namespace: str, markers: Sequence[bytes]) -> Residue:
        del markers  # the service's disks cannot be read; its versions can be listed
        with self._said():
            hidden = [
                one["Key"] for one in self._versions(_prefix(namespace)) if not one["IsLatest"] or "Size" not in one
            ]
        if hidden:
            return Residue(ResidualBytes.FOUND, f"{len(hidden)} versions of deleted objects are left")
        return Residue(ResidualBytes.NONE, "no version of a deleted object is left")

    def close(self) -> None:
        self._client.close()

    def _versions(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Every version and delete marker whose key begins so; a marker has no size."""
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix):
            yield from page.get("Versions", ())
            yield from page.get("DeleteMarkers", ())

    def _item(self, prefix: str, key: str) -> Item | None:
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=key)
        except self._errors.ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey"}:
                return None
            raise
        data = found["Body"].read(_MOST_READ + 1)
        text, whole = bounded(data[:_MOST_READ].decode("utf-8", "replace"))
        fields = {str(name): str(value)[:1_000] for name, value in found.get("Metadata", {}).items()}
        when = moment_us(found.get("LastModified"))
        return Item(key.removeprefix(prefix), text, fields, when, whole and len(data) <= _MOST_READ)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (self._errors.BotoCoreError, self._errors.ClientError) as error:
            raise UnavailableError(Code.STORE_UNREACHABLE, f"the bucket refuses: {type(error).__name__}") from error


def _prefix(namespace: str) -> str:
    if not _NAME.fullmatch(namespace):
        raise InvalidInputError(Code.STORE_UNKNOWN, f"`{namespace[:80]}` is no folder of a bucket")
    return f"{namespace}/"
