"""The four kinds of record in a partition of the log, and how they are written.

An origin record is something a user did, in that user's partition. Copy records bring it to the
partitions of those concerned, byte for byte. A takeover record starts an epoch; a state record
tells later readers what all before it meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import DecodeError

from cecochat.domain.errors import Undecodable
from cecochat.domain.ids import PARTITIONS_MAX, message_id
from cecochat.v1.events_pb2 import Event
from cecochat.v1.log_pb2 import State as StateValue
from cecochat.v1.log_pb2 import Takeover as TakeoverValue

FORMAT_VERSION = "1"

Headers = tuple[tuple[str, str], ...]


@dataclass(slots=True, frozen=True)
class Takeover:
    """A new owner starts; its offset is the epoch."""

    server_id: str
    session: str
    assignment_version: int
    uncopied: tuple[int, int] = (0, 0)  # from this offset to below that: dropped before copied


class Copied(NamedTuple):
    """The last copy from an origin partition that counted."""

    offset: int  # of its origin
    id: int


NOTHING = Copied(-1, 0)


@dataclass(slots=True, frozen=True)
class State:
    """What the fold knew after the record at `as_of`."""

    as_of: int
    epoch: int
    count: int
    top: int
    high: dict[int, Copied]
    last_id: int = 0


@dataclass(slots=True)
class Origin:
    """Something a user did, valid only as number `number` of epoch `epoch`."""

    id: int
    epoch: int
    number: int
    user_id: str
    client_message_id: str
    recipient_ids: tuple[str, ...]
    event: bytes
    parsed: Event  # what `event` says
    trace: str = ""  # the `traceparent` of its append; empty: it has no trace


@dataclass(slots=True)
class Copy:
    """An origin brought to the partition of some of its recipients."""

    id: int
    origin_partition: int
    origin_offset: int
    after: (
        int  # the origin offset that its producer session copied to this partition before; -1: none
    )
    recipient_ids: tuple[str, ...]  # those in this partition
    event: bytes
    trace: str = ""


LogRecord = Takeover | State | Origin | Copy


def encode(record: LogRecord) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of a record."""
    match record:
        case Origin():
            return (
                record.user_id.encode(),
                record.event,
                (
                    ("kind", "origin"),
                    ("v", FORMAT_VERSION),
                    ("id", str(record.id)),
                    ("epoch", str(record.epoch)),
                    ("number", str(record.number)),
                    *_trace(record),
                ),
            )
        case Copy():
            return (
                "\n".join(record.recipient_ids).encode(),
                record.event,
                (
                    ("kind", "copy"),
                    ("v", FORMAT_VERSION),
                    ("id", str(record.id)),
                    ("origin", f"{record.origin_partition}:{record.origin_offset}"),
                    ("after", str(record.after)),
                    *_trace(record),
                ),
            )
        case Takeover():
            takeover = TakeoverValue(
                server_id=record.server_id,
                session=record.session,
                assignment_version=record.assignment_version,
                uncopied_from=record.uncopied[0],
                uncopied_below=record.uncopied[1],
            )
            return b"", takeover.SerializeToString(), (("kind", "takeover"), ("v", FORMAT_VERSION))
        case State():
            state = StateValue(
                as_of=record.as_of,
                epoch=record.epoch,
                count=record.count,
                top=record.top,
                copied={
                    origin: StateValue.Copied(offset=copied.offset, message_id=copied.id)
                    for origin, copied in record.high.items()
                },
                last_id=record.last_id,
            )
            return b"", state.SerializeToString(), (("kind", "state"), ("v", FORMAT_VERSION))


def _trace(record: Origin | Copy) -> Headers:
    """Whether it is there means nothing to the protocol (W3C Trace Context)."""
    return (("traceparent", record.trace),) if record.trace else ()


def is_state(headers: Headers) -> bool:
    """Whether a record is a state record, without decoding it."""
    return headers[:1] == (("kind", "state"),)


def decode(key: bytes, value: bytes, headers: Headers) -> LogRecord:
    """The record that was written as these. Raises `Undecodable`."""
    try:
        return _decode(key, value, dict(headers))
    except (KeyError, ValueError, DecodeError) as error:
        raise Undecodable(f"not a record of this log ({error!r}): headers {headers!r}") from error


def _decode(key: bytes, value: bytes, header: dict[str, str]) -> LogRecord:
    if header["v"] != FORMAT_VERSION:
        raise ValueError(f"format version {header['v']}, this code reads {FORMAT_VERSION}")
    match header["kind"]:
        case "origin":
            event = Event.FromString(value)
            return Origin(
                _number(header["id"]),
                _number(header["epoch"]),
                _number(header["number"]),
                key.decode(),
                event.client_message_id,
                tuple(event.recipient_ids),
                value,
                event,
                header.get("traceparent", ""),
            )
        case "copy":
            origin_partition, _, origin_offset = header["origin"].partition(":")
            Event.FromString(value)  # goes out as it is: no client could read past what is none
            return Copy(
                _number(header["id"]),
                _number(origin_partition, high=PARTITIONS_MAX),
                _number(origin_offset),
                _number(header["after"], low=-1),
                tuple(key.decode().split("\n")),
                value,
                header.get("traceparent", ""),
            )
        case "takeover":
            takeover = TakeoverValue.FromString(value)
            return Takeover(
                takeover.server_id,
                takeover.session,
                takeover.assignment_version,
                (takeover.uncopied_from, takeover.uncopied_below),
            )
        case "state":
            return _state(StateValue.FromString(value))
        case kind:
            raise ValueError(f"unknown kind {kind!r}")


def _state(value: StateValue) -> State:
    high = {origin: Copied(c.offset, c.message_id) for origin, c in value.copied.items()}
    for origin, offset in value.high.items():  # of a first version, which kept no ids
        high[origin] = Copied(offset, message_id(value.top, origin))
    return State(value.as_of, value.epoch, value.count, value.top, high, value.last_id)


def _number(text: str, low: int = 0, high: int = 1 << 63) -> int:
    """A number from `low` to below `high`: what is out of range could not be written again."""
    number = int(text)
    if not low <= number < high:
        raise ValueError(f"{text} is out of range")
    return number
