"""Keeps the last good version of each central document, in memory and on disk, and gives it back to
the store if the store has lost it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import httpx

from cecochat.documents.remembered import Memory
from cecochat.domain.cluster.versions import Rank, missing
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.configuration import ASSIGNMENT, Configuration, Document
from cecochat.ports.discovery import Discovery
from cecochat.runtime.asking import Asking
from cecochat.servers.control.decisions import Decisions
from cecochat.servers.control.recall import later_than
from cecochat.settings import private

log = logging.getLogger(__name__)

CHECK_EVERY_S = 2.0
RETRY_S = 1.0
SILENT_S = 10.0

Parse = Callable[[Any], Any]


class Documents:
    """Follows the documents that `parsers` names; a parser says whether a version is valid. If the
    store has an earlier version than the last good one, it has lost that and gets it back.

    What the live servers remember may be more than this control server does.
    """

    def __init__(
        self,
        configuration: Configuration,
        parsers: Mapping[str, Parse],
        folder: Path,
        decisions: Decisions,
        discovery: Discovery,
        asking: Asking,
    ) -> None:
        self.memory = Memory()
        self.newest: dict[str, int] = {}  # name -> version in the store, valid or not
        self.changed = asyncio.Event()
        self._configuration = configuration
        self._parsers = parsers
        self._folder = folder
        self._decisions = decisions
        self._discovery = discovery
        self._asking = asking
        self._judging = asyncio.Lock()
        self._refused: dict[str, Rank] = {}
        self._answered_s = -math.inf  # when the store answered last

    @property
    def good(self) -> Mapping[str, Document]:
        """Name -> the last good version of the document."""
        return self.memory.documents

    @property
    def silent(self) -> bool:
        """Whether the store has not answered for some time."""
        return time.monotonic() - self._answered_s > SILENT_S

    async def run(self) -> None:
        """Follow the documents until cancelled. The live servers are asked first: if the store is
        empty, versions would otherwise begin again with numbers that all servers have seen.
        """
        for name in self._parsers:
            await self._load(name)
        async with self._asking() as client, asyncio.TaskGroup() as group:
            await self._remember(client)
            for name in self._parsers:
                group.create_task(self._follow(name))
            group.create_task(self._check_again(client))

    async def check(self, name: str) -> None:
        """Look at a document in the store now. Raises `Unavailable`."""
        await self.judge(await self._configuration.get(name))

    async def judge(self, document: Document) -> None:
        """Keep a version that the store has, or give it back a later one that it has lost."""
        self._answered_s = time.monotonic()
        async with self._judging:
            await self._keep(document)
            if lost := self._lacking(document):
                await self._restore(lost, document)
            elif document.version != self.newest.get(document.name):
                self.newest[document.name] = document.version
                self.changed.set()

    def _lacking(self, stored: Document) -> Document | None:
        """Return what the store has to be given if it has `stored`; None if it lacks nothing."""
        if (good := self.good.get(stored.name)) is None:
            return None
        taken_over = self.memory.taken_over if stored.name == ASSIGNMENT else 0
        version = missing(stored.rank, good.rank, taken_over)
        return good._replace(version=version) if version else None

    async def _restore(self, lost: Document, stored: Document) -> None:
        if await self._configuration.restore(lost):
            self._decisions.restored(lost, stored)
            await self._keep(lost)
            self.newest[lost.name] = lost.version
            self.changed.set()

    async def _keep(self, document: Document) -> None:
        """Keep a document if it is valid and later than the last good one."""
        name, good = document.name, self.good.get(document.name)
        if (good and document.rank <= good.rank) or document.rank == self._refused.get(name):
            return
        try:
            self._parsers[name](document.value)
        except InvalidSettings as error:
            self._refused[name] = document.rank
            log.error("version %s of the %s is not kept: %s", document.version, name, error)
            return
        self.memory.keep(document)
        self.changed.set()
        try:
            await asyncio.to_thread(_write, self._file(name), document)
        except OSError as error:
            log.error("the last good %s is only in memory, not on disk: %s", name, error)

    async def _remember(self, client: httpx.AsyncClient) -> None:
        """Ask the live servers for later versions than this server has."""
        async for document in later_than(self.memory, self._discovery, client):
            async with self._judging:
                await self._keep(document)

    async def _follow(self, name: str) -> None:
        answers = True
        while True:
            try:
                async with aclosing(self._configuration.watch(name)) as documents:
                    async for document in documents:
                        answers = True
                        await self.judge(document)
            except Unavailable as error:
                if answers:
                    log.warning("the %s cannot be followed now: %s", name, error)
                answers = False
            await asyncio.sleep(RETRY_S)

    async def _check_again(self, client: httpx.AsyncClient) -> None:
        """Ask the servers, then check the store, which may lack what they remember."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await self._remember(client)
            for name in self._parsers:
                with suppress(Unavailable):
                    await self.check(name)

    # -- on disk

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    async def _load(self, name: str) -> None:
        with suppress(FileNotFoundError):
            try:
                document = Document(**json.loads(await asyncio.to_thread(_read, self._file(name))))
                self._parsers[name](document.value)
            except (ValueError, TypeError, InvalidSettings) as error:
                log.error("%s has no valid %s and is ignored: %s", self._file(name), name, error)
            else:
                self.memory.keep(document)
                self.changed.set()


def _read(path: Path) -> str:
    return path.read_text()


def _write(path: Path, document: Document) -> None:
    """Write the file so that all or nothing of it is there, even if the machine stops meanwhile."""
    private.make_folder(path.parent)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with private.opened(temporary) as file:
        json.dump({**document._asdict(), "value": dict(document.value)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
