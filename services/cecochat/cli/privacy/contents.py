"""Streams the contents of a user's files into an archive, and compares their checksums."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from cecochat.domain.log.ids import UserId
from cecochat.ports.files import Files, Key, key_of, owner_of

FOLDER: Final = "files"
NAME_MAX: Final = 100
_UNSAFE: Final = re.compile(r"[^\w.() -]")


class Contents:
    """Adds files to an archive. One is in memory by a piece at a time."""

    def __init__(self, files: Files | None, user_id: UserId, archive: ZipFile) -> None:
        self._files = files
        self._user = user_id
        self._archive = archive
        self._seen: set[str] = set()
        self.count = 0
        self.size_bytes = 0
        self.missing: list[str] = []
        self.damaged: list[str] = []

    async def add(self, messages: Path) -> None:
        """Add the files that these messages of the user name, and then what else of theirs the
        store has: uploads that no message names. Raises `Unavailable`.
        """
        for each in _attachments(messages):
            if each["id"] not in self._seen:
                await self._add_named(each)
        for key in await self._files.of(owner_of(self._user)) if self._files else ():
            if key.id not in self._seen:
                await self._copy(key, key.id)

    def as_json(self) -> dict[str, Any]:
        """Return what became of them, with ids of attachments."""
        return {
            "count": self.count,
            "size_bytes": self.size_bytes,
            "missing": self.missing,
            "damaged": self.damaged,
        }

    async def _add_named(self, described: dict[str, Any]) -> None:
        name = f"{described['id']}-{_UNSAFE.sub('_', described['name'])[:NAME_MAX]}"
        found = await self._copy(key_of(self._user, described["id"]), name)
        if found is None:
            self.missing.append(described["id"])
        elif found != described["sha256"]:
            self.damaged.append(described["id"])

    async def _copy(self, key: Key, name: str) -> str | None:
        """Copy a file into the archive, and return its SHA-256; None: it is not there."""
        self._seen.add(key.id)
        pieces = await self._files.read(key) if self._files else None
        if pieces is None:
            return None
        digest = sha256()
        info = ZipInfo(f"{FOLDER}/{name}", time.localtime()[:6])
        info.compress_type = ZIP_STORED  # pictures and the like are compressed
        with self._archive.open(info, "w", force_zip64=True) as file:
            async with aclosing(pieces):
                async for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
                    self.size_bytes += len(piece)
        self.count += 1
        return digest.hexdigest()


def _attachments(messages: Path) -> Iterator[dict[str, Any]]:
    with messages.open() as lines:
        for line in lines:
            yield from json.loads(line).get("attachments", ())
