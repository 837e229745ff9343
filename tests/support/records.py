"""What the clients of a run did and saw, in the order in which it happened (monotonic times)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from cecochat.v1 import events_pb2, messaging_pb2


class Place(NamedTuple):
    """A position in the log of one partition."""

    log_id: str
    partition: int
    offset: int


class Message(NamedTuple):
    """An event as a client or the history shows it."""

    message_id: int
    user_id: str
    chat_id: str
    client_message_id: str
    recipient_ids: tuple[str, ...]
    text: str | None  # None: not a message but, for instance, a receipt


class At(NamedTuple):
    """How far a device is in its partition: the log's clock there, and the offset. A log that has
    lost its end gives offsets again, under later clocks.
    """

    clock_ms: int  # 0: not known
    offset: int

    def is_beyond(self, other: At) -> bool:
        if self.clock_ms and other.clock_ms:
            return self > other
        return self.offset > other.offset


@dataclass(frozen=True, slots=True)
class Hello:
    position: Place | None
    clock_ms: int = 0


@dataclass(frozen=True, slots=True)
class Welcomed:
    position: Place
    clock_ms: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """Written to the connection, as far as the client can tell; it may never have arrived."""

    client_message_id: str
    chat_id: str
    text: str | None  # None: not a message


@dataclass(frozen=True, slots=True)
class Acked:
    client_message_id: str
    message_id: int
    offset: int
    clock_ms: int = 0
    home: At | None = None  # of a group: where its home has it, if that is another partition


@dataclass(frozen=True, slots=True)
class Delivered:
    offset: int
    message: Message
    clock_ms: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    client_message_id: str
    code: str
    retriable: bool


@dataclass(frozen=True, slots=True)
class CaughtUp:
    offset: int
    clock_ms: int = 0


@dataclass(frozen=True, slots=True)
class GapTold:
    from_offset: int
    to_offset: int


@dataclass(frozen=True, slots=True)
class GapFilled:
    """What the history gave for the gap that ends at `to_offset`."""

    to_offset: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class TokenExpiring:
    expires_in_ms: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of a connection. `code` is the typed reason; empty: none came (the server died)."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ServerReady:
    pid: int


@dataclass(frozen=True, slots=True)
class ServerSignalled:
    """Just before the signal goes out: what the clients notice comes after this."""

    pid: int
    signal: str


@dataclass(frozen=True, slots=True)
class ServerDied:
    """The process is gone. A negative return code is the signal that ended it."""

    pid: int
    return_code: int


Happening = (
    Hello
    | Welcomed
    | Sent
    | Acked
    | Delivered
    | Refused
    | CaughtUp
    | GapTold
    | GapFilled
    | TokenExpiring
    | Closed
    | ServerReady
    | ServerSignalled
    | ServerDied
)


class DeviceKey(NamedTuple):
    user_id: str
    device: str


SERVER = DeviceKey("", "server")


class Entry(NamedTuple):
    """One line of a record. `connection` counts from 1 for each device; 0 for the server."""

    at_s: float
    who: DeviceKey
    connection: int
    what: Happening


@dataclass
class Record:
    """Appended to by every client of a run and by what kills the server; read by the oracle."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, who: DeviceKey, connection: int, what: Happening) -> None:
        self.entries.append(Entry(time.monotonic(), who, connection, what))

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def dump(self) -> str:
        """One line an entry, for a person who looks into a failed run."""
        return "\n".join(
            f"{at_s:.6f} {who.user_id}/{who.device}#{connection} {what}"
            for at_s, who, connection, what in self.entries
        )


def message_of(event: events_pb2.Event) -> Message:
    return Message(
        message_id=event.id,
        user_id=event.user_id,
        chat_id=event.chat_id,
        client_message_id=event.client_message_id,
        recipient_ids=tuple(event.recipient_ids),
        text=event.message.text if event.HasField("message") else None,
    )


def place_of(position: messaging_pb2.Position) -> Place:
    return Place(position.log_id, position.partition, position.offset)


def participants(chat_id: str) -> frozenset[str]:
    """The users of a dialog, by the definition of its id: `d:` + two user ids joined by `~`. Those
    of a group whose members stay the same: its id names them, as `group` makes it.
    """
    if is_group(chat_id):
        return frozenset(chat_id[2:].split("+"))
    if not chat_id.startswith("d:") or chat_id.count("~") != 1:
        raise ValueError(f"not a dialog: {chat_id!r}")
    return frozenset(chat_id[2:].split("~"))


def is_group(chat_id: str) -> bool:
    return chat_id.startswith("g:")


def group(*members: str) -> str:
    """The id of a group with these members, the founder first."""
    return f"g:{'+'.join(members)}"


def founder(chat_id: str) -> str:
    return chat_id[2:].partition("+")[0]


def home_in(message_id: int) -> int:
    """The partition that accepted a message, as its id says: bits 10 to 21."""
    return message_id >> 10 & 0xFFF


def dialog(one: str, other: str) -> str:
    first, second = sorted((one, other), key=str.encode)
    return f"d:{first}~{second}"
