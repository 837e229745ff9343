"""The devices of a run, their common record, and how a run is brought to rest and judged."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Generic, TypeVar

from typing_extensions import override

from cecochat.v1.events_pb2 import GroupOptions, Membership
from cecochat.v1.messaging_pb2 import ReadToken, Send
from scripts.backends import porcupine
from tests.support import kept
from tests.support.device import Device
from tests.support.eventually import eventually
from tests.support.oracle import Kind, Violation, judge
from tests.support.pipes import TRANSPORTS, TransportName
from tests.support.porcupine import Reading, ask, history_of
from tests.support.rawclient import RawHistory, find, history, mint
from tests.support.records import (
    Acked,
    At,
    Delivered,
    DeviceKey,
    Entry,
    GapFilled,
    Message,
    Record,
    Sent,
    founder,
    home_in,
    is_group,
    participants,
)
from tests.support.taken import Taken
from tests.support.traffic import Talker

NOT_YET = {Kind.LOST_ON_DEVICE, Kind.UNANSWERED}
"""What may still mend itself while deliveries are under way."""

MOVES = (Sent, Acked, Delivered, GapFilled)
"""What happens while a run is not at rest: a history that was read meanwhile may lack it."""


D = TypeVar("D", bound=Talker)


class AnyCrowd(ABC, Generic[D]):
    """Devices of many users, on the server that `connect_url` names at the moment."""

    def __init__(
        self,
        connect_url: Callable[[], str],
        secret_file: Path,
        record: Record | None = None,
    ) -> None:
        self.record = record or Record()
        kept.watch(self.record)
        self.devices: dict[DeviceKey, D] = {}
        self.chats: set[str] = set()
        self.online: set[DeviceKey] = set()
        self.taken: Taken | None = None  # what a log has lost: the run is judged without it
        self._connect_url, self.secret_file = connect_url, secret_file

    @abstractmethod
    def _made(self, who: DeviceKey, own: tuple[str, ...]) -> D:
        """A new device, which takes part in its own chats."""

    def device(self, who: DeviceKey, chats: Iterable[str]) -> D:
        """The device of that name: it keeps its position and unanswered sends over connections."""
        self.chats.update(chats)
        own = tuple(chat for chat in chats if who.user_id in participants(chat))
        if who not in self.devices:
            self.devices[who] = self._made(who, own)
        return self.devices[who]

    def token(self, user_id: str) -> str:
        return mint(self.secret_file, user_id)

    @asynccontextmanager
    async def connected(
        self, who: Iterable[DeviceKey], chats: Collection[str]
    ) -> AsyncIterator[None]:
        """Keep these devices connected, from when all of them have caught up."""
        async with asyncio.TaskGroup() as group:
            keys = dict.fromkeys(who)  # in order: so each has the same transport in every run
            devices = [self.device(each, chats) for each in keys]
            tasks = [group.create_task(device.run()) for device in devices]
            for device in devices:
                async with asyncio.timeout(120):
                    await device.caught_up.wait()
            self.online |= keys.keys()
            await self._found(chat for chat in chats if is_group(chat))
            yield
            self.online -= keys.keys()
            for task in tasks:
                task.cancel()

    async def _found(self, groups: Iterable[str]) -> None:
        """Have groups founded that are not there yet."""
        assert not list(groups), "these devices cannot found a group"

    async def answered(self, within_s: float = 120.0) -> None:
        """Wait until all who are online are caught up and answered; no longer than `within_s`."""
        with suppress(AssertionError):  # whoever is not answered by then is told by the oracle
            await eventually(lambda: all(map(self._at_rest, self.online)), within_s)

    async def answered_by(self, who: DeviceKey) -> None:
        await eventually(lambda: self._at_rest(who))

    def _at_rest(self, who: DeviceKey) -> bool:
        device = self.devices[who]
        return device.caught_up.is_set() and not device.unanswered

    async def settle(
        self, within_s: float = 120.0, absent: Collection[DeviceKey] = ()
    ) -> list[Violation]:
        """Let everything arrive, read the final history, judge. Waits no longer than `within_s`
        for answers, and as long again for what may still mend itself.

        The history is read with a token, so that it must hold all that was acknowledged before;
        where messages were still under way meanwhile, it is read again. What comes late and should
        not come at all is waited for too: a last word goes through every chat, and frames of one
        sender arrive in order.
        """
        self._say_last_words()
        await self.answered(within_s)
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            mark = len(self.record.entries)
            readings = [each async for each in self._read()]
            overtaken = self._moved_since(mark)
            entries, readings = self._left(readings)
            found = judge(entries, _forward(readings), absent)
            late = asyncio.get_running_loop().time() > deadline
            if late or not (overtaken or any(each.kind in NOT_YET for each in found)):
                break
            await asyncio.sleep(0.2)
        if overtaken:
            found.insert(0, Violation(Kind.UNANSWERED, "the run", f"no rest within {within_s} s"))
        found += await self._second_opinion(entries, readings, self.online.difference(absent))
        for each in found[:20]:
            print(each, file=sys.stderr)
        kept.write("violations.txt", found)
        return found

    def _left(self, readings: Sequence[Reading]) -> tuple[Sequence[Entry], list[Reading]]:
        """What is to be judged."""
        if (taken := self.taken) is None:
            return self.record.entries, list(readings)
        left = [each._replace(messages=taken.rows(each.messages)) for each in readings]
        return taken.without(self.record.entries), left

    async def _second_opinion(
        self,
        entries: Sequence[Entry],
        readings: Sequence[Reading],
        present: Collection[DeviceKey],
    ) -> list[Violation]:
        """What Porcupine says of the same run, where it is here."""
        if (program := porcupine.here()) is None:
            return []
        lines = history_of(entries, readings, present)
        unexplained = await ask(program, lines, kept.folder() / "history.jsonl")
        return [Violation(Kind.UNEXPLAINED, *each.split(": ", 1)) for each in unexplained]

    def _say_last_words(self) -> None:
        for device in map(self.devices.__getitem__, self.online):
            for chat in device.chats:
                device.say(chat, "that is all")

    async def histories(self) -> dict[str, list[Message]]:
        """Every chat of a run at rest."""
        return _forward([each async for each in self._read()])

    async def _read(self) -> AsyncIterator[Reading]:
        """Every chat, forward with a token that names all acks so far, and backward without; both
        must be the same, unless messages were still under way.
        """
        token = await self._token_for_all()
        for chat_id in sorted(self.chats):
            bearer = self.token(min(participants(chat_id)))
            route = await find(self._connect_url(), bearer)
            async with history(route.history, bearer) as pages:
                forward, backward = await self._both_ways(pages, chat_id, token)
            yield forward
            yield backward

    async def _both_ways(
        self, pages: RawHistory, chat_id: str, token: ReadToken
    ) -> tuple[Reading, Reading]:
        """A send whose ack was cut off may land in between, and nobody hears of it: so they are
        read a second time.
        """
        for _ in range(2):
            began = len(self.record.entries)
            forward = await pages.whole(chat_id, token)
            between = len(self.record.entries)
            backward = await pages.backward(chat_id, limit=37)
            readings = (
                Reading(began, between, chat_id, forward),
                Reading(between, len(self.record.entries), chat_id, backward),
            )
            if backward == forward or self._moved_since(began):
                return readings
        raise AssertionError(f"{chat_id} has other messages backward than forward")

    def _moved_since(self, mark: int) -> bool:
        return any(isinstance(entry.what, MOVES) for entry in self.record.entries[mark:])

    @abstractmethod
    async def _token_for_all(self) -> ReadToken:
        """What holds all acks of the devices so far."""


def _forward(readings: Iterable[Reading]) -> dict[str, list[Message]]:
    """The first reading of each chat."""
    found: dict[str, list[Message]] = {}
    for reading in readings:
        found.setdefault(reading.chat_id, list(reading.messages))
    return found


class Crowd(AnyCrowd[Device]):
    """Raw clients. They take the transports in turn, unless one is given."""

    def __init__(
        self,
        connect_url: Callable[[], str],
        secret_file: Path,
        record: Record | None = None,
        transport: TransportName | None = None,
    ) -> None:
        super().__init__(connect_url, secret_file, record)
        self._transports = cycle([transport] if transport else TRANSPORTS)
        self._founded: set[str] = set()

    @override
    def _made(self, who: DeviceKey, own: tuple[str, ...]) -> Device:
        return Device(
            who, self.record, self._connect_url, lambda: self.token(who.user_id), own,
            next(self._transports),
        )  # fmt: skip

    @override
    async def _found(self, groups: Iterable[str]) -> None:
        """By the device that is named first, of the member that the group's id names first."""
        new = [chat for chat in groups if chat not in self._founded]
        devices = {who.user_id: device for who, device in reversed(self.devices.items())}
        for chat in new:
            others = sorted(participants(chat) - {founder(chat)})
            begins = Membership(options=GroupOptions(name="a group"), added_ids=others)
            devices[founder(chat)].put(Send(chat_id=chat, membership=begins))
        self._founded.update(new)
        for user_id in set(map(founder, new)):
            await self.answered_by(devices[user_id].who)

    @override
    async def _token_for_all(self) -> ReadToken:
        """Everything up to where the devices are, which is beyond all their acks, and up to where
        the homes of groups have what was acknowledged.
        """
        token = ReadToken()
        for device in self.devices.values():
            if place := device.position:
                token.log_id = place.log_id
                _ask_for(token, place.partition, At(device.clock_ms, place.offset))
        for entry in self.record:
            if isinstance(entry.what, Acked) and (home := entry.what.home):
                _ask_for(token, home_in(entry.what.message_id), home)
        return token


def _ask_for(token: ReadToken, partition: int, at: At) -> None:
    known = At(token.clocks[partition], token.offsets[partition])
    if not known.is_beyond(at):
        token.clocks[partition], token.offsets[partition] = at
