"""A run's records, indexed for the oracle: who sent what, who saw what, what was accepted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from tests.support.records import (
    SERVER,
    Acked,
    Delivered,
    DeviceKey,
    Entry,
    GapFilled,
    Hello,
    Message,
    Refused,
    Sent,
    Welcomed,
)


class Key(NamedTuple):
    """Names a send for ever: the same key again is the same message."""

    user_id: str
    client_message_id: str


class FirstSend(NamedTuple):
    """The first attempt of a send. `floor`: the highest id that its device had got in that chat."""

    at_s: float
    who: DeviceKey
    what: Sent
    floor: int


@dataclass
class DeviceView:
    """What one device went through. It is owed what was sent after `since_s`, its first welcome."""

    who: DeviceKey
    since_s: float = inf
    entries: list[Entry] = field(default_factory=list)
    arrivals: list[Message] = field(default_factory=list)  # delivered, in order
    seen: set[int] = field(default_factory=set)  # delivered, acknowledged or read to fill a gap
    answered: set[Key] = field(default_factory=set)
    highest: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # by chat

    def take(self, entry: Entry) -> None:
        self.entries.append(entry)
        match entry.what:
            case Hello(None) if self.since_s < inf:
                raise ValueError(
                    f"{self.who} came back without a position: give it another device name"
                )
            case Welcomed():
                self.since_s = min(self.since_s, entry.at_s)
            case Delivered(_, message):
                self.arrivals.append(message)
                self._see(message)
                self.highest[message.chat_id] = max(
                    self.highest[message.chat_id], message.message_id
                )
            case Acked(client_message_id, message_id, _):
                self.seen.add(message_id)
                self.answered.add(Key(self.who.user_id, client_message_id))
            case GapFilled(_, messages):
                for message in messages:
                    self._see(message)
            case _:
                pass

    def _see(self, message: Message) -> None:
        self.seen.add(message.message_id)
        self.answered.add(Key(message.user_id, message.client_message_id))


@dataclass
class Run:
    """All of it. Messages are compared as each of those who saw them did."""

    history: Mapping[str, Sequence[Message]]
    devices: dict[DeviceKey, DeviceView] = field(default_factory=dict)
    sends: dict[Key, FirstSend] = field(default_factory=dict)  # in the order of first attempts
    refused: set[Key] = field(default_factory=set)  # for good
    acked: set[tuple[Key, int]] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    accepted: dict[int, Key] = field(default_factory=dict)  # stored or acknowledged
    ids_of: dict[Key, set[int]] = field(default_factory=lambda: defaultdict(set))
    keys_of: dict[int, set[Key]] = field(default_factory=lambda: defaultdict(set))
    versions_of: dict[int, set[Message]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def of(cls, entries: Iterable[Entry], history: Mapping[str, Sequence[Message]]) -> Run:
        run = cls(history)
        for rows in history.values():
            for row in rows:
                run._show(row)
                run.stored.add(row.message_id)
                run.accepted[row.message_id] = Key(row.user_id, row.client_message_id)
        for entry in entries:
            if entry.who != SERVER:
                run._take(entry)
        return run

    def _take(self, entry: Entry) -> None:
        view = self.devices.setdefault(entry.who, DeviceView(entry.who))
        match entry.what:
            case Sent(client_message_id, chat_id, _):
                key = Key(entry.who.user_id, client_message_id)
                first = FirstSend(entry.at_s, entry.who, entry.what, view.highest[chat_id])
                self.sends.setdefault(key, first)
            case Acked(client_message_id, message_id, _):
                key = Key(entry.who.user_id, client_message_id)
                self.ids_of[key].add(message_id)
                self.keys_of[message_id].add(key)
                self.acked.add((key, message_id))
                self.accepted[message_id] = key
            case Refused(client_message_id, _, False):
                self.refused.add(Key(entry.who.user_id, client_message_id))
            case Delivered(_, message):
                self._show(message)
            case GapFilled(_, messages):
                for message in messages:
                    self._show(message)
            case _:
                pass
        view.take(entry)

    def _show(self, message: Message) -> None:
        key = Key(message.user_id, message.client_message_id)
        self.versions_of[message.message_id].add(message)
        self.keys_of[message.message_id].add(key)
        self.ids_of[key].add(message.message_id)
