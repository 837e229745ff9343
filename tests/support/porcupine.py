"""A run as a history for Porcupine, a checker of linearizability that is not ours.

A history is a file of JSON Lines, in the order in which things happened. Each line says who
(`process`: a device, or the reader of the history) did what (`f`) in which `row` (one user in one
dialog; or a whole group, where all have one order), with which messages (id, name that the sender
gave it, digest of the text), and what became of it (`type`): invoke, ok, fail (it never happens) or
info (nobody knows).

    send     a device sends a message, from its first attempt to its first answer
    join     a device is welcomed for the first time
    deliver  it is shown a message: delivered, or its own send acknowledged
    fetch    it reads the row from the history, to fill a gap
    read     the history is read to the end, once everything has been answered
    rest     the run has come to rest, and the device is connected

`scripts/backends/pinned/porcupine/main.go` has the model, and judges.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.records import (
    Acked,
    Delivered,
    DeviceKey,
    Entry,
    GapFilled,
    Message,
    Refused,
    Sent,
    Welcomed,
    is_group,
    participants,
)
from tests.support.run import Key

READER = DeviceKey("", "reader")
UNKNOWN = 0
"""The id of a message before any is known."""
Line = dict[str, Any]


class Reading(NamedTuple):
    """A chat's history, as it was read between the entries `began` and `ended` of a record."""

    began: int
    ended: int
    chat_id: str
    messages: Sequence[Message]


def history_of(
    entries: Sequence[Entry], readings: Sequence[Reading], present: Collection[DeviceKey]
) -> Iterator[Line]:
    """The lines of a run; the devices that are `present` at its end have to be complete."""
    writer = _Writer({reading.chat_id for reading in readings})
    happened = ((at, line) for at, entry in enumerate(entries) for line in writer.take(entry))
    read = (each for reading in readings for each in _read(reading, entries))
    for _, line in heapq.merge(read, happened, key=itemgetter(0)):
        yield line
    yield from writer.end(present, entries[-1].at_s)


async def ask(program: Path, lines: Iterable[Line], file: Path) -> list[str]:
    """Write a history into `file`, and return what Porcupine cannot explain: "ROW: why".

    A picture of the first of these rows is then beside it (.html).
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as out:
        out.writelines(f"{json.dumps(line)}\n" for line in lines)
    picture = file.with_suffix(".html")
    picture.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        program, file, picture,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    found, said = (each.decode() for each in await process.communicate())
    if process.returncode != bool(found):
        raise RuntimeError(f"Porcupine ended with {process.returncode}: {said[-2_000:]}")
    print(said.strip(), file=sys.stderr)
    return found.splitlines()


def _read(reading: Reading, entries: Sequence[Entry]) -> Iterator[tuple[int, Line]]:
    """Its lines, each with the entry before which it comes."""
    rows = _rows(reading.chat_id, reading.messages)
    for number, kind in ((reading.began, "invoke"), (reading.ended, "ok")):
        at_s = entries[number - 1].at_s
        for row, messages in rows.items():
            yield number, _line(at_s, kind, "read", READER, row, messages)


@dataclass
class _Writer:
    """Turns the entries of a record into lines, in their order."""

    chats: set[str]
    sends: dict[Key, Message] = field(default_factory=dict)
    answers: dict[Key, set[int]] = field(default_factory=lambda: defaultdict(set))
    joined: set[DeviceKey] = field(default_factory=set)
    shown: set[tuple[DeviceKey, int]] = field(default_factory=set)

    def take(self, entry: Entry) -> Iterator[Line]:
        at_s, who, _, what = entry
        match what:
            case Welcomed() if who not in self.joined:
                self.joined.add(who)
                yield from self._in_each_chat("join", who, at_s)
            case Sent(name, chat_id, text):  # a change of a group is a message without text
                yield from self._send(
                    at_s, who, Message(UNKNOWN, who.user_id, chat_id, name, (), text)
                )
            case Refused(name, _, False):
                yield from self._refused(at_s, who, Key(who.user_id, name))
            case Acked(name, message_id, _) if sent := self.sends.get(Key(who.user_id, name)):
                message = sent._replace(message_id=message_id)
                yield from self._answered(at_s, who, message)
                # Who calls without a session is shown nothing.
                if who in self.joined and (who, message_id) not in self.shown:
                    yield from self._deliver(at_s, who, message)
            case Delivered(_, message) if message.text is not None or _key(message) in self.sends:
                yield from self._answered(at_s, who, message)
                yield from self._deliver(at_s, who, message)
            case GapFilled(_, messages):
                yield from self._fetch(at_s, who, messages)
            case _:
                pass

    def end(self, present: Collection[DeviceKey], at_s: float) -> Iterator[Line]:
        for key, sent in self.sends.items():
            if not self.answers[key]:
                yield _line(at_s, "info", "send", DeviceKey(key.user_id, ""), _row(sent), [sent])
        for who in self.joined.intersection(present):
            yield from self._in_each_chat("rest", who, at_s)

    def _in_each_chat(self, what: str, who: DeviceKey, at_s: float) -> Iterator[Line]:
        for chat_id in self.chats:
            if who.user_id in participants(chat_id):
                for row in _rows(chat_id, ()):
                    yield _line(at_s, "ok", what, who, row, ())

    def _send(self, at_s: float, who: DeviceKey, message: Message) -> Iterator[Line]:
        if self.sends.setdefault(_key(message), message) is message:  # else it is sent again
            yield _line(at_s, "invoke", "send", who, _row(message), [message])

    def _refused(self, at_s: float, who: DeviceKey, key: Key) -> Iterator[Line]:
        if not self.answers[key]:
            self.answers[key].add(UNKNOWN)
            sent = self.sends[key]
            yield _line(at_s, "fail", "send", who, _row(sent), [sent])

    def _answered(self, at_s: float, who: DeviceKey, message: Message) -> Iterator[Line]:
        """Its sender knows by now, on whichever device, that the message was accepted."""
        answers = self.answers[_key(message)]
        if who.user_id == message.user_id and message.message_id not in answers:
            answers.add(message.message_id)
            yield _line(at_s, "ok", "send", who, _row(message), [message])

    def _deliver(self, at_s: float, who: DeviceKey, message: Message) -> Iterator[Line]:
        self.shown.add((who, message.message_id))
        yield _line(at_s, "ok", "deliver", who, _row(message), [message])

    def _fetch(self, at_s: float, who: DeviceKey, messages: Sequence[Message]) -> Iterator[Line]:
        for message in messages:
            self.shown.add((who, message.message_id))
            yield from self._answered(at_s, who, message)
        for chat_id in {message.chat_id for message in messages}:
            own = [message for message in messages if message.chat_id == chat_id]
            for row, shown in _rows(chat_id, own).items():
                yield _line(at_s, "ok", "fetch", who, row, shown)


def _rows(chat_id: str, messages: Iterable[Message]) -> dict[str, list[Message]]:
    """The rows of a chat, those too of which there is no message."""
    rows: dict[str, list[Message]] = {_row_of(user, chat_id): [] for user in participants(chat_id)}
    for message in messages:
        rows.setdefault(_row_of(message.user_id, chat_id), []).append(message)
    return rows


def _row(message: Message) -> str:
    return _row_of(message.user_id, message.chat_id)


def _row_of(user_id: str, chat_id: str) -> str:
    return chat_id if is_group(chat_id) else f"{user_id} in {chat_id}"


def _name(message: Message) -> str:
    """What its sender called it; in a group, others may use the same names."""
    name = message.client_message_id
    return f"{message.user_id}/{name}" if is_group(message.chat_id) else name


def _key(message: Message) -> Key:
    return Key(message.user_id, message.client_message_id)


def _line(
    at_s: float, kind: str, what: str, who: DeviceKey, row: str, messages: Iterable[Message]
) -> Line:
    shown = [{"id": m.message_id, "send": _name(m), "text": _digest(m.text)} for m in messages]
    process = f"{who.user_id}/{who.device}"
    return {
        "at_s": at_s,
        "type": kind,
        "f": what,
        "process": process,
        "row": row,
        "messages": shown,
    }


def _digest(text: str | None) -> str:
    return hashlib.sha256((text or "").encode()).hexdigest()[:8]
