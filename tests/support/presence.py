"""Devices that look who is online, and a judge who knows who is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from cecochat.v1.messaging_pb2 import ClientFrame, Hello, ServerItem, Signal, Watch
from tests.support.pipes import Pipe, PipeClosed, TransportName
from tests.support.rawclient import NotFound, code_name, find, opened
from tests.support.records import DeviceKey, dialog

BACK_OFF_S = 0.1


class Word(NamedTuple):
    """What a device was told of a user. `at_s` is by the monotonic clock."""

    at_s: float
    user_id: str
    online: bool
    last_seen_ms: int


class Phone:
    """A device of a user. What it is told to do holds for the judge at once; its session follows as
    soon as it can.
    """

    def __init__(
        self,
        who: DeviceKey,
        connect_url: Callable[[], str],
        token: Callable[[], str],
        transport: TransportName,
    ) -> None:
        self.who = who
        self.hidden = False
        self.watched: frozenset[str] = frozenset()
        self.seen: dict[str, Word] = {}  # the last word in this session of each who is watched
        self.heard: list[Word] = []  # in all sessions
        self.refused: list[str] = []
        self.server_id = ""  # of the session, once it has caught up
        self._connect_url, self._token, self._transport = connect_url, token, transport
        self._here, self._leaves, self._changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._told: frozenset[str] = frozenset()  # whom it has said that it watches

    @property
    def here(self) -> bool:
        return self._here.is_set()

    def comes(self) -> None:
        self._here.set()
        self._leaves.clear()

    def leaves(self) -> None:
        self._here.clear()
        self._leaves.set()

    def vanishes(self) -> None:
        """Do not come back after this session, which goes on until something ends it."""
        self._here.clear()

    def hides(self, hidden: bool) -> None:
        self.hidden = hidden
        self._changed.set()

    def watches(self, users: Iterable[str]) -> None:
        self.watched = frozenset(users)
        self._changed.set()

    async def run(self) -> None:
        """Be here whenever it should be, until cancelled."""
        while True:
            await self._here.wait()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._session()),
                    group.create_task(self._until_it_leaves()),
                ]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
            self.server_id = ""
            self.seen.clear()
            await asyncio.sleep(BACK_OFF_S)

    async def _until_it_leaves(self) -> None:
        await self._leaves.wait()

    async def _session(self) -> None:
        with suppress(NotFound, PipeClosed):
            token = self._token()
            pipe = await opened(self._transport, await find(self._connect_url(), token), token)
            try:
                await self._follow(pipe)
            finally:
                await pipe.close()

    async def _follow(self, pipe: Pipe) -> None:
        """One session, from its hello to its end."""
        self._told = frozenset()
        hello = Hello(device=self.who.device)
        await pipe.write(ClientFrame(hello=hello, invisible=self.hidden))
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self._write(pipe))
            with suppress(PipeClosed):
                while True:
                    for item in (await pipe.read()).items:
                        self._take(item)
            writing.cancel()

    async def _write(self, pipe: Pipe) -> None:
        """Say what is new, from when the session has caught up."""
        with suppress(PipeClosed):
            while True:
                await self._changed.wait()
                if not self.server_id:
                    self._changed.clear()
                    continue
                self._changed.clear()
                self._told, before = self.watched, self._told
                for user_id in self._told ^ before:
                    self.seen.pop(user_id, None)
                chats = [dialog(self.who.user_id, each) for each in sorted(self._told)]
                await pipe.write(ClientFrame(invisible=self.hidden, watch=Watch(chat_ids=chats)))

    def _take(self, item: ServerItem) -> None:
        match item.WhichOneof("item"):
            case "welcome":
                self._welcomed_by = item.welcome.server_id
            case "caught_up" if not self.server_id:
                self.server_id = self._welcomed_by
                self._changed.set()
            case "signal":
                self._hear(item.signal)
            case "signal_refused":
                self.refused.append(code_name(item.signal_refused.error.code))

    def _hear(self, said: Signal) -> None:
        now = said.presence
        word = Word(time.monotonic(), said.user_id, now.online, now.last_seen_ms)
        self.heard.append(word)
        if said.user_id in self._told:
            self.seen[said.user_id] = word


def judge(phones: Sequence[Phone]) -> list[str]:
    """What is wrong once all is quiet: who is not told how somebody is, or is told something else.

    A user is online who has a device that is here, and none that is here and hides the user.
    """
    here: dict[str, list[Phone]] = {each.who.user_id: [] for each in phones}
    for each in phones:
        if each.here:
            here[each.who.user_id].append(each)
    found = []
    for phone in phones:
        if phone.here and not phone.server_id:
            found.append(f"{phone.who} is not back")
        elif phone.here:
            for user_id in sorted(phone.watched):
                found += _wrong(phone, user_id, here[user_id])
    return found


def _wrong(phone: Phone, user_id: str, here: Sequence[Phone]) -> Iterator[str]:
    hidden = any(each.hidden for each in here)
    online = bool(here) and not hidden
    word = phone.seen.get(user_id)
    if word is None:
        yield f"{phone.who} was told nothing of {user_id}"
    elif word.online != online:
        yield f"{phone.who} was told at last: {word}, and {[each.who for each in here]} are here"
    elif word.last_seen_ms and here:
        yield f"{phone.who} was told when {user_id} was last seen, who is here: {word}"
