"""Clients in TypeScript as the devices of a run: what an application shows its user goes into the
record, and the oracle judges it as what any device got.

A driver runs the clients. It takes calls and says what happens, a JSON object a line: see
clients/typescript/test/driver.ts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import override

from cecochat.v1.messaging_pb2 import Position, ReadToken
from tests.support.crowd import AnyCrowd
from tests.support.porcupine import Reading
from tests.support.rawclient import RawConnection, find, opened
from tests.support.records import (
    Acked,
    CaughtUp,
    Closed,
    Delivered,
    DeviceKey,
    Entry,
    Message,
    Place,
    Record,
    Refused,
    Sent,
    Welcomed,
    participants,
)

Said = dict[str, Any]


class Driver(Protocol):
    """What runs applications. When it dies, it calls `App.died`, and `App.open` once it is there
    again.
    """

    folder: Path
    """Where applications keep their files."""
    apps: dict[str, App]
    """Those that are open. What the driver hears of one, it gives to `App.hear`."""

    async def tell(self, call: Said) -> None:
        """Raises `Gone` if nobody is there to be told."""


class Gone(Exception):
    """The driver has died, or is not there yet."""


class App:
    """A device of a user, which an application runs; it has the shape of `device.Device`."""

    def __init__(
        self,
        who: DeviceKey,
        record: Record,
        connect_url: Callable[[], str],
        token: Callable[[], str],
        chats: tuple[str, ...],
        driver: Driver,
    ) -> None:
        self.who = who
        self.chats = chats
        self.unanswered: dict[str, str] = {}  # client message id -> text
        self.queued: set[str] = set()  # sends that the client has stored: they must arrive
        self.forgotten: set[str] = set()  # sends that it had not stored when it died
        self.caught_up = asyncio.Event()
        self.name = f"{who.user_id}-{who.device}"
        self._record, self._connect_url, self._token = record, connect_url, token
        self._driver = driver
        self.ends = 0  # how often it lost its connection
        self._chats_of_sends: dict[str, str] = {}
        self._told: dict[str, int] = {}  # acks that were told, but not stored: they come again
        self._visits = 0
        self._welcomed = False
        self._steps = count()  # what stands for offsets: an application sees none
        self._sends = count()
        self._to_pass_on: asyncio.Queue[Sent] = asyncio.Queue()

    def say(self, chat_id: str, text: str, client_message_id: str = "") -> str:
        """Send, now or once there is a connection. Returns the client message id."""
        key = client_message_id or f"{self.who.device}-{next(self._sends)}"
        self.unanswered[key] = text
        self._chats_of_sends[key] = chat_id
        sent = Sent(key, chat_id, text)
        self._add(sent)
        self._to_pass_on.put_nowait(sent)
        return key

    async def run(self) -> None:
        """Be there until cancelled."""
        self._driver.apps[self.name] = self
        try:
            await self.open()
            while True:
                await self._pass_on(await self._to_pass_on.get())
        finally:
            del self._driver.apps[self.name]
            self._end("")
            with suppress(Gone):
                await self._call("close")

    async def open(self) -> None:
        """Open the client, with what its storage has kept."""
        self._visits += 1
        options = {
            "url": self._connect_url(),
            "token": self._token(),
            "file": str(self._driver.folder / f"{self.name}.json"),
            "device": self.name,
            "chats": self.chats,
        }
        with suppress(Gone):  # it is opened when the driver is there again
            await self._call("open", options)

    async def _pass_on(self, sent: Sent) -> None:
        key = sent.client_message_id
        try:
            await self._call("send", sent.chat_id, sent.text, {"clientMessageId": key})
        except Gone:
            self._forget(key)

    async def _call(self, name: str, *args: Any) -> None:
        """Call a method. The events say what comes of it."""
        await self._driver.tell({"client": self.name, "call": name, "args": args})

    def died(self) -> None:
        """Its driver was killed. What was not stored may be lost, as the user can see."""
        self._end("")
        for key in self.unanswered.keys() - self.queued:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self.unanswered.pop(key, None)
        self.forgotten.add(key)

    # -- what the driver says

    def hear(self, said: Said) -> None:
        """Take a line of the driver."""
        match said:
            case {"event": "stored", "value": messages}:
                self._show_stored([_message(each) for each in messages])
            case {"event": "message", "value": message}:
                self._add(Delivered(next(self._steps), _message(message)))
            case {"event": "queued", "value": key}:
                self.queued.add(key)
            case {"event": "sent", "value": {"clientMessageId": key, "id": id_}}:
                self._answered(key, Acked(key, int(id_), next(self._steps)))
            case {"event": "rejected", "value": {"clientMessageId": key, "error": error}}:
                self._answered(key, Refused(key, error["code"], retriable=False))
            case {"event": "caughtup"}:
                self._add(CaughtUp(next(self._steps)))
                self.caught_up.set()
            case {"event": "status", "value": {"state": "waiting", "error": error}}:
                self._end(error["code"])
            case {"event": "status", "value": {"state": "closed", "error": error}}:
                raise AssertionError(f"{self.who}: {error}")

    def _answered(self, key: str, what: Acked | Refused) -> None:
        self.unanswered.pop(key, None)
        told = self._told.pop(key, None)
        if told is not None and isinstance(what, Acked) and what.message_id != told:
            self._add(Acked(key, told, next(self._steps)))  # the oracle says what that is
        self._add(what)

    def _end(self, code: str) -> None:
        if self.caught_up.is_set():
            self.caught_up.clear()
            self.ends += 1
            self._add(Closed(code, ""))

    def _show_stored(self, messages: Sequence[Message]) -> None:
        """What is on its screen from now on: what it had shown or been told besides was not stored,
        and is owed again.
        """
        if not self._welcomed:
            self._welcomed = True
            self._add(Welcomed(Place("", 0, -1)))
        stored = {each.message_id: each for each in messages}
        first: dict[str, int] = {}  # chat -> the oldest that is stored: what is older was let go
        for each in messages:
            first[each.chat_id] = min(each.message_id, first.get(each.chat_id, each.message_id))
        shown: set[int] = set()

        def stays(entry: Entry) -> bool:
            if entry.who != self.who:
                return True
            match entry.what:
                case Delivered(_, Message(id_, _, chat_id)):
                    shown.add(id_)
                case Acked(key, id_):
                    chat_id = self._chats_of_sends[key]
                    if id_ not in stored and id_ >= first.get(chat_id, 0):
                        self._told[key] = id_
                        self.unanswered[key] = chat_id
                case _:
                    return True
            return id_ in stored or id_ < first.get(chat_id, 0)

        self._record.entries[:] = filter(stays, self._record.entries)
        for id_ in sorted(stored.keys() - shown):
            self._show_late(stored[id_])

    def _show_late(self, message: Message) -> None:
        """Its line was cut off when the driver was killed."""
        if message.user_id != self.who.user_id:
            self._add(Delivered(next(self._steps), message))
        elif message.client_message_id in self.unanswered:
            key = message.client_message_id
            self._answered(key, Acked(key, message.message_id, next(self._steps)))

    def _add(self, what: Any) -> None:
        self._record.add(self.who, self._visits, what)


class AppCrowd(AnyCrowd[App]):
    """A crowd of applications, which one driver runs."""

    def __init__(
        self,
        connect_url: Callable[[], str],
        secret_file: Path,
        record: Record,
        driver: Driver,
    ) -> None:
        super().__init__(connect_url, secret_file, record)
        self._driver = driver

    @override
    def _made(self, who: DeviceKey, own: tuple[str, ...]) -> App:
        return App(
            who, self.record, self._connect_url, lambda: self.token(who.user_id), own,
            self._driver,
        )  # fmt: skip

    @override
    async def _token_for_all(self) -> ReadToken:
        return await ends_of({who.user_id for who in self.devices}, self._connect_url(), self.token)

    @override
    def _left(self, readings: Sequence[Reading]) -> tuple[Sequence[Entry], list[Reading]]:
        """What was said to a client that died before it had stored it counts only if it came."""
        entries, left = super()._left(readings)
        return without_forgotten(entries, left, lambda who: self.devices[who].forgotten)


async def ends_of(users: Iterable[str], connect_url: str, token: Callable[[str], str]) -> ReadToken:
    """Where the partition of each user ends now."""
    found = ReadToken()
    for user_id in users:
        position = await _end_of(user_id, connect_url, token(user_id))
        found.log_id = position.log_id
        if position.offset > found.offsets.get(position.partition, -1):
            found.offsets[position.partition] = position.offset
            found.clocks[position.partition] = position.clock_ms
    return found


async def _end_of(user_id: str, connect_url: str, token: str) -> Position:
    """Where a device begins that comes for the first time."""
    route = await find(connect_url, token)
    pipe = await opened("grpc", route, token, ())
    connection = RawConnection(pipe, Record(), DeviceKey(user_id, "judge"), 1)
    try:
        await connection.hello(None)
        while True:
            for item in await connection.read():
                if item.HasField("welcome"):
                    return item.welcome.position
    finally:
        await connection.close()


def without_forgotten(
    entries: Sequence[Entry],
    readings: Sequence[Reading],
    forgotten: Callable[[DeviceKey], Collection[str]],
) -> tuple[list[Entry], list[Reading]]:
    """A record without the sends that their clients had not stored when they died, unless they
    came; and the readings, which count its entries. All of it was said before they were read.
    """
    came = {(row.user_id, row.client_message_id) for each in readings for row in each.messages}

    def counts(entry: Entry) -> bool:
        if not isinstance(entry.what, Sent):
            return True
        key = entry.what.client_message_id
        return (entry.who.user_id, key) in came or key not in forgotten(entry.who)

    counted = list(filter(counts, entries))
    gone = len(entries) - len(counted)
    moved = [each._replace(began=each.began - gone, ended=each.ended - gone) for each in readings]
    return counted, moved


def _message(said: Said) -> Message:
    others = participants(said["chatId"]) - {said["userId"]}
    return Message(
        int(said["id"]), said["userId"], said["chatId"], said["clientMessageId"], tuple(others),
        said["text"],
    )  # fmt: skip
