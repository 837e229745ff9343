"""The central documents as control keeps them: the last good ones, in memory and on disk, stored
again where the store has lost them.
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

from cecochat.control.decisions import Decisions
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.configuration import Configuration, Document

log = logging.getLogger(__name__)

CHECK_EVERY_S = 2.0
RETRY_S = 1.0
SILENT_S = 10.0

Parse = Callable[[Any], Any]


class Documents:
    """Follows the documents that `parsers` names. What is valid is told by these, and a version
    lower than the last good one is never news: the store has lost it, and gets it back.
    """

    def __init__(
        self,
        configuration: Configuration,
        parsers: Mapping[str, Parse],
        folder: Path,
        decisions: Decisions,
    ) -> None:
        self.good: dict[str, Document] = {}
        self.newest: dict[str, int] = {}  # version in the store, valid or not; absent: not seen
        self.changed = asyncio.Event()
        self._configuration = configuration
        self._parsers = parsers
        self._folder = folder
        self._decisions = decisions
        self._judging = asyncio.Lock()
        self._heard_s = -math.inf

    @property
    def silent(self) -> bool:
        """Whether the store has not answered for some time."""
        return time.monotonic() - self._heard_s > SILENT_S

    async def run(self) -> None:
        """Follow them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in self._parsers:
                await self._load(name)
                group.create_task(self._follow(name))
                group.create_task(self._check_again(name))

    async def check(self, name: str) -> None:
        """Look at the store now. Raises `Unavailable`."""
        await self.judge(await self._configuration.get(name))

    async def judge(self, document: Document) -> None:
        """Keep a version that the store holds, or give it back the one that it has lost."""
        self._heard_s = time.monotonic()
        async with self._judging:
            good = self.good.get(document.name)
            if good and document.version < good.version:
                await self._restore(good, document.version)
            elif document.version != self.newest.get(document.name):
                self.newest[document.name] = document.version
                if good is None or document.version > good.version:
                    await self._keep(document)
                self.changed.set()

    async def _restore(self, good: Document, found: int) -> None:
        if await self._configuration.restore(good):
            self._decisions.restored(good, found)
        self.newest[good.name] = good.version
        self.changed.set()

    async def _keep(self, document: Document) -> None:
        try:
            self._parsers[document.name](document.value)
        except InvalidSettings as error:
            log.error("%s version %s is not kept: %s", document.name, document.version, error)
            return
        self.good[document.name] = document
        try:
            await asyncio.to_thread(_write, self._file(document.name), document)
        except OSError as error:
            log.error("the last good %s is in memory only: %s", document.name, error)

    async def _follow(self, name: str) -> None:
        known = True
        while True:
            try:
                async with aclosing(self._configuration.watch(name)) as documents:
                    async for document in documents:
                        known = True
                        await self.judge(document)
            except Unavailable as error:
                if known:
                    log.warning("the %s cannot be followed just now: %s", name, error)
                known = False
            await asyncio.sleep(RETRY_S)

    async def _check_again(self, name: str) -> None:
        """A watch tells nothing of a version that went back."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
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
                log.error("%s holds no %s and is not used: %s", self._file(name), name, error)
            else:
                self.good[name] = document
                self.changed.set()


def _read(path: Path) -> str:
    return path.read_text()


def _write(path: Path, document: Document) -> None:
    """All or nothing, also when the machine stops in the middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with beside.open("w") as file:
        json.dump({**document._asdict(), "value": dict(document.value)}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
