"""Opens registered stores: which adapter, within which bounds, with which credential.

A store that is files of this machine is opened only below a directory that the operator of the machine set aside for
stores (`store_directories`): whoever registers one must not choose what is read and deleted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.lifecycle.ports import StoreAdapter
from accredit.lifecycle.stored import KeyDestroyed
from accredit.registry.declarations import LOCAL_ADAPTERS
from accredit.registry.model import Store
from accredit.storage.stores.chroma import ChromaStore
from accredit.storage.stores.files import FolderStore
from accredit.storage.stores.keys import FILE_KEYS, destroy_file, destroy_in_kms, gone_from_kms, kms_region
from accredit.storage.stores.lancedb import LanceStore
from accredit.storage.stores.mem0 import Mem0Store
from accredit.storage.stores.postgres import PostgresItemStore
from accredit.storage.stores.qdrantlocal import QdrantFolderStore
from accredit.storage.stores.qdrantserver import QdrantServerStore
from accredit.storage.stores.s3 import BucketStore
from accredit.storage.stores.sqlite import SqliteItemStore

__all__ = ["OpenedStores"]


def _local(store: Store, path: Path) -> StoreAdapter:
    match store.adapter:
        case "chroma":
            return ChromaStore(store, path)
        case "files":
            return FolderStore(store, path)
        case "lancedb":
            return LanceStore(store, path)
        case "qdrant-local":
            return QdrantFolderStore(store, path)
        case "sqlite":
            return SqliteItemStore(store, path)
        case _:
            raise _none(store)


def _remote(store: Store, headers: Mapping[str, str]) -> StoreAdapter:
    match store.adapter:
        case "mem0":
            return Mem0Store(store, headers)
        case "postgres":
            return PostgresItemStore(store, headers)
        case "qdrant":
            return QdrantServerStore(store, headers)
        case "s3":
            return BucketStore(store, headers)
        case _:
            raise _none(store)


def _none(store: Store) -> UnavailableError:
    return UnavailableError(Code.STORE_UNREACHABLE, f"there is no adapter `{store.adapter[:40]}`")


class OpenedStores:
    """The `StoreAdapters` of one installation; `headers` lends a store's brokered credential."""

    def __init__(
        self,
        directories: Sequence[Path],
        *,
        apart_from: Path,
        headers: Callable[[Store], Awaitable[Mapping[str, str]]],
        kms: str | None = None,
    ) -> None:
        """`apart_from` is the data directory: no store is in it or around it. `kms` is another AWS KMS."""
        self._directories = tuple(each.resolve() for each in directories)
        self._apart_from = apart_from.resolve()
        self._headers = headers
        self._kms = kms

    async def open(self, store: Store) -> StoreAdapter:
        """Raises UnavailableError (`store_unreachable`): it cannot be opened; the hint says what is missing."""
        if store.adapter in LOCAL_ADAPTERS:
            return await asyncio.to_thread(lambda: _local(store, self._allowed(store, Path(store.location).resolve())))
        headers = await self._headers(store)
        return await asyncio.to_thread(_remote, store, headers)

    async def destroy_key(self, store: Store, scope: str) -> KeyDestroyed:
        """Destroy the key that everything in a scope was encrypted under: a file beside stores, or one of AWS KMS.

        Raises:
            InvalidInputError: it is kept where nothing can be destroyed from here.
            UnavailableError: it is not there, or cannot be destroyed now.
        """
        if scope.startswith(FILE_KEYS):
            place = scope.removeprefix(FILE_KEYS)
            if not place.startswith("/") or ".." in place.split("/"):
                raise UnavailableError(Code.STORE_UNREACHABLE, "this is no path of a key")
            # a key that is itself a link is refused as one, not followed
            path = Path(place)
            return await asyncio.to_thread(
                lambda: destroy_file(self._allowed(store, path.parent.resolve() / path.name), scope)
            )
        if store.adapter == "s3" and (region := kms_region(scope)) is not None:
            headers = await self._headers(store)
            return await asyncio.to_thread(destroy_in_kms, scope, region, headers, endpoint=self._kms)
        raise InvalidInputError(Code.BODY_MALFORMED, "nothing here can destroy it")

    async def key_gone(self, store: Store, ordered: KeyDestroyed) -> KeyDestroyed:
        """What became of a key whose destruction was ordered; only AWS KMS takes its time. Raises as `destroy_key`."""
        if store.adapter == "s3" and (region := kms_region(ordered.scope)) is not None:
            headers = await self._headers(store)
            return await asyncio.to_thread(gone_from_kms, ordered, region, headers, endpoint=self._kms)
        return await self.destroy_key(store, ordered.scope)

    def _allowed(self, store: Store, path: Path) -> Path:
        """The path, if it is below a directory set aside. Its links have been followed by whoever asks."""
        if not any(path.is_relative_to(each) for each in self._directories):
            raise UnavailableError(
                Code.STORE_UNREACHABLE, f"`{store.name}` is in no directory that is set aside for stores",
                hint="name its directory in the setting `store_directories`",
            )  # fmt: skip
        if path.is_relative_to(self._apart_from) or self._apart_from.is_relative_to(path):
            raise UnavailableError(Code.STORE_UNREACHABLE, f"`{store.name}` would be the data directory itself")
        return path
