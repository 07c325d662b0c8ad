"""The collections and aliases of one data directory, kept in one JSON file that is replaced atomically."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from deploy.embedded.data_directory import keep_private
from deploy.embedded.qdrant.collection import Build, Collection
from deploy.embedded.qdrant.config import check_name, engine_config
from deploy.embedded.qdrant.errors import already_exists, internal, no_collection, not_found, wrong_input
from streams.store.messages import grpc as pb

READER_THREADS = 4


class Registry:
    """Names to collections, through aliases. Only one process may hold a data directory."""

    def __init__(self, data_dir: Path, *, flush_each: bool = False) -> None:
        keep_private(data_dir, ("shards", "collections.json", "lock"))  # payloads are about people
        self._lock_file = _lock(data_dir / "lock")
        self._file = data_dir / "collections.json"
        self._shards = data_dir / "shards"
        self._shards.mkdir(exist_ok=True)
        self._flush_each = flush_each
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="read")
        self._changing = asyncio.Lock()
        self._turn = asyncio.Semaphore(1)
        self._saving = threading.Lock()
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}
        self._load()

    def get(self, name: str) -> Collection:
        """Return the collection of a name or alias. Raises QdrantError where there is none."""
        collection = self.collections.get(self.aliases.get(name, name))
        if collection is None:
            raise no_collection(name)
        return collection

    async def create(self, request: Any) -> None:
        """Make a collection from a CreateCollection message."""
        name = request.collection_name
        check_name(name)
        async with self._changing:
            if name in self.collections:
                raise already_exists(f"Collection `{name}` already exists!")
            if name in self.aliases:
                raise wrong_input(f"Can't create collection with name {name}. Alias with the same name already exists")
            engine_config(request)
            config = pb.CreateCollection()
            config.CopyFrom(request)
            path = self._shards / uuid.uuid4().hex
            self.collections[name] = await asyncio.to_thread(self._open, name, config, path)
            self._save()

    async def delete(self, name: str) -> bool:
        """Remove a collection, its files and its aliases; False where there was none."""
        async with self._changing:
            collection = self.collections.pop(name, None)
            if collection is None:
                return False
            self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}
            self._save()
        await collection.close()
        await asyncio.to_thread(shutil.rmtree, collection.path, ignore_errors=True)
        return True

    async def change_aliases(self, actions: Iterable[Any]) -> None:
        """Apply AliasOperations as one step: all of them or none."""
        async with self._changing:
            aliases = dict(self.aliases)
            for action in actions:
                self._change_alias(aliases, action)
            self.aliases = aliases
            self._save()

    def _change_alias(self, aliases: dict[str, str], action: Any) -> None:
        kind = action.WhichOneof("action")
        if kind == "create_alias":
            change = action.create_alias
            if change.collection_name not in self.collections:
                raise no_collection(change.collection_name)
            if change.alias_name in self.collections:
                raise wrong_input(f"Collection with the name `{change.alias_name}` exists: an alias cannot have it")
            check_name(change.alias_name)
            aliases[change.alias_name] = change.collection_name
        elif kind == "rename_alias":
            change = action.rename_alias
            if change.old_alias_name not in aliases:
                raise not_found(f"Alias {change.old_alias_name} does not exists!")
            if change.new_alias_name in self.collections:
                raise wrong_input(f"Collection with the name `{change.new_alias_name}` exists: an alias cannot have it")
            aliases[change.new_alias_name] = aliases.pop(change.old_alias_name)
        elif kind == "delete_alias":
            aliases.pop(action.delete_alias.alias_name, None)
        else:
            raise wrong_input("Malformed alias operation: expected create, rename or delete")

    async def maintain(self) -> None:
        """Bring to disk every collection that changed, and index those that are due."""
        for collection in list(self.collections.values()):
            await collection.maintain()

    async def close(self) -> None:
        """Flush and close everything."""
        for collection in self.collections.values():
            await collection.close()
        self._readers.shutdown(wait=True)
        os.close(self._lock_file)

    async def reconfigure(self, name: str, config: Any, build: Build | None = None) -> None:
        """Give a collection new parameters and write them down."""
        async with self._changing:
            await self.get(name).reconfigure(config, build)
            self._save()

    def _open(self, name: str, config: Any, path: Path) -> Collection:
        return Collection(
            name, config, path, self._readers, flush_each=self._flush_each, moved=self._save, turn=self._turn
        )

    def _load(self) -> None:
        if self._file.exists():
            saved = json.loads(self._file.read_text("utf-8"))
            for name, entry in saved["collections"].items():
                config = json_format.ParseDict(entry["config"], pb.CreateCollection())
                path = self._shards / entry["shard"]
                if not path.exists():
                    raise internal(f"files of collection `{name}` are missing: expected {path}")
                self.collections[name] = self._open(name, config, path)
            self.aliases = dict(saved["aliases"])
        known = {collection.path.name for collection in self.collections.values()}
        for path in self._shards.iterdir():
            if path.name not in known:  # made or removed by a process that died before it wrote the file
                # What is left, since somebody still wrote there, goes at the next start.
                shutil.rmtree(path, ignore_errors=True)

    def _save(self) -> None:
        with self._saving:
            self._write_file()

    def _write_file(self) -> None:
        content = {
            "collections": {
                name: {"shard": item.path.name, "config": json_format.MessageToDict(item.config)}
                for name, item in list(self.collections.items())
            },
            "aliases": self.aliases,
        }
        fresh = self._file.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise internal(f"data directory {path.parent} is in use by another process: stop it first") from error
    return handle
