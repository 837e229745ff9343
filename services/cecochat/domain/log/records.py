"""The five kinds of record in a partition of the log, and how they are written.

An origin record is something a user did, in that user's partition. Copy records bring it to the
partitions of its recipients, byte for byte. A takeover record starts an epoch. A state record tells
later readers what all records before it meant. A missing record asks for copies once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from cecochat.domain.errors import Undecodable
from cecochat.domain.log import headers
from cecochat.domain.log.headers import Headers
from cecochat.domain.log.ids import PARTITIONS_MAX, UserId, is_group, message_id
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.scope import is_of_group
from cecochat.v1.events_pb2 import Event
from cecochat.v1.log_pb2 import GroupMembers
from cecochat.v1.log_pb2 import State as StateValue
from cecochat.v1.log_pb2 import Takeover as TakeoverValue

FORMAT_VERSION = "1"


@dataclass(slots=True, frozen=True)
class Takeover:
    """A new owner starts. The place of this record names its epoch."""

    server_id: str
    session: str
    assignment_version: int
    # (first, below): the log dropped these offsets before they were copied. The range ends at the
    # latest before this record.
    uncopied: tuple[int, int] = (0, 0)
    keeps_clock: bool = True
    # The group `forward` had committed this place, in an end that the log has lost. `NOWHERE` if no
    # loss was seen.
    lost: Place = NOWHERE

    @property
    def is_afresh(self) -> bool:
        """Whether its owner knows nothing of the records before it."""
        return self.uncopied[1] == ALL_BEFORE


class Copied(NamedTuple):
    """An origin that is copied: the last from a partition, or the last to one, with its id."""

    origin: Place
    id: int


NOTHING = Copied(NOWHERE, 0)
ALL_BEFORE = (1 << 63) - 1
"""The end of `Takeover.uncopied` that stands for all records before the takeover."""


@dataclass(slots=True, frozen=True)
class State:
    """What the fold knew after the record at `as_of`."""

    as_of: int
    epoch: Place
    count: int
    top: int
    high: dict[int, Copied]
    last_id: int = 0
    last: dict[int, Copied] = field(default_factory=dict)  # as in `Chain`
    owed: dict[int, Place] = field(default_factory=dict)  # as in `Fold`
    unread: int = -1  # as in `Fold`
    clock_ms: int = 0
    # What is known of groups; None: this record does not say. Of a long list, this is only the part
    # `part` of `part_count`.
    groups: tuple[GroupMembers, ...] | None = None
    part: int = 0
    part_count: int = 0


@dataclass(slots=True)
class Origin:
    """Something a user did. It is valid only as the origin `number` of epoch `epoch`."""

    id: int
    epoch: Place
    number: int
    user_id: UserId
    client_message_id: str
    recipient_ids: tuple[UserId, ...]
    event: bytes
    parsed: Event  # `event`, parsed
    trace: str = ""  # the `traceparent` of its append (W3C Trace Context), or empty
    # Whether the recipients in its own partition get this record itself. Otherwise they get a copy,
    # as everybody did in the first version.
    serves_home: bool = False
    # The other partitions where members of its group lived when it was accepted; none in a dialog.
    targets: tuple[int, ...] = ()
    new_targets: tuple[int, ...] = ()  # those where none had lived before
    changed_id: int = 0  # the change of its group before it; 0: there was none
    group_event: Event | None = field(init=False)  # the event, if it happened in a group

    def __post_init__(self) -> None:
        self.group_event = self.parsed if is_of_group(self.parsed) else None


@dataclass(slots=True)
class Copy:
    """An origin, brought to the partition of some of its recipients."""

    id: int
    origin_partition: int
    origin: Place
    after: Place  # the previous origin that concerns this partition, or `NOWHERE`
    recipient_ids: tuple[UserId, ...]  # those in this partition; none in a group
    event: bytes
    trace: str = ""
    group_event: Event | None = None  # `event`, parsed, if it happened in a group
    changed_id: int = 0  # as in `Origin`; 0 as well where no members had lived before


@dataclass(slots=True, frozen=True)
class Missing:
    """The owner of the partition `target` asks for all copies of origins above `high` in the
    partition that this record is in.

    It is written as an origin of an epoch that no takeover begins. So readers of a version that
    does not know missing records step over it, as over any origin that does not count.
    """

    target: int
    high: Place


NO_EPOCH = (1 << 63) - 1

LogRecord = Takeover | State | Origin | Copy | Missing


def encode(record: LogRecord) -> tuple[bytes, bytes, Headers]:
    """Return the key, value and headers that a record is written as."""
    match record:
        case Origin():
            return record.user_id.encode(), record.event, _origin_headers(record)
        case Copy():
            return _copy_key(record), record.event, _copy_headers(record)
        case Missing():
            return b"", b"", _missing_headers(record)
        case Takeover():
            value: TakeoverValue | StateValue = _takeover_value(record)
            return b"", value.SerializeToString(), (("kind", "takeover"), ("v", FORMAT_VERSION))
        case State():
            value = _state_value(record)
            return b"", value.SerializeToString(), (("kind", "state"), ("v", FORMAT_VERSION))


def _copy_key(record: Copy) -> bytes:
    """Return the users, a line each. In a group, whoever lives there finds out for whom it is."""
    if record.group_event:
        return f"*{record.group_event.chat_id}".encode()  # no user is called that
    return "\n".join(record.recipient_ids).encode()


def _origin_headers(record: Origin) -> Headers:
    return (
        ("kind", "origin"),
        ("v", FORMAT_VERSION),
        ("id", str(record.id)),
        ("epoch", str(record.epoch.offset)),
        ("number", str(record.number)),
        ("clock", str(record.epoch.clock_ms)),
        *((("home", "1"),) if record.serves_home else ()),
        *headers.partitions("to", record.targets),
        *headers.partitions("new", record.new_targets),
        *_changed(record),
        *_trace(record),
    )


def _copy_headers(record: Copy) -> Headers:
    return (
        ("kind", "copy"),
        ("v", FORMAT_VERSION),
        ("id", str(record.id)),
        ("origin", f"{record.origin_partition}:{record.origin.offset}"),
        ("after", str(record.after.offset)),
        ("clocks", f"{record.origin.clock_ms}:{record.after.clock_ms}"),
        *_changed(record),
        *_trace(record),
    )


def _changed(record: Origin | Copy) -> Headers:
    return (("changed", str(record.changed_id)),) if record.changed_id else ()


def _missing_headers(record: Missing) -> Headers:
    return (
        ("kind", "origin"),
        ("v", FORMAT_VERSION),
        ("id", "0"),
        ("epoch", str(NO_EPOCH)),
        ("number", "0"),
        ("missing", f"{record.target}:{record.high.offset}"),
        ("clock", str(record.high.clock_ms)),
    )


def _takeover_value(record: Takeover) -> TakeoverValue:
    return TakeoverValue(
        server_id=record.server_id,
        session=record.session,
        assignment_version=record.assignment_version,
        keeps_clock=record.keeps_clock,
        uncopied_from=record.uncopied[0],
        uncopied_below=record.uncopied[1],
        lost_below=record.lost.offset + 1,
        lost_clock_ms=record.lost.clock_ms,
    )


def _state_value(record: State) -> StateValue:
    return StateValue(
        as_of=record.as_of,
        epoch=record.epoch.offset,
        epoch_clock_ms=record.epoch.clock_ms,
        count=record.count,
        top=record.top,
        copied=_copied_values(record.high),
        last_id=record.last_id,
        last=_copied_values(record.last),
        owed=_copied_values({at: Copied(place, 0) for at, place in record.owed.items()}),
        unread_before=record.unread + 1,
        clock_ms=record.clock_ms,
        lacks_groups=record.groups is None,
        groups=record.groups,
        part=record.part,
        part_count=record.part_count,
    )


def _copied_values(places: dict[int, Copied]) -> dict[int, StateValue.Copied]:
    return {
        partition: StateValue.Copied(
            offset=copied.origin.offset, clock_ms=copied.origin.clock_ms, message_id=copied.id
        )
        for partition, copied in places.items()
    }


def _trace(record: Origin | Copy) -> Headers:
    """Return the trace header, if there is a trace; the protocol ignores it (W3C Trace Context)."""
    return (("traceparent", record.trace),) if record.trace else ()


def is_state(headers: Headers) -> bool:
    """Return whether a record is a state record, without decoding it."""
    return headers[:1] == (("kind", "state"),)


def is_takeover(headers: Headers) -> bool:
    """Return whether a record is a takeover, without decoding it."""
    return headers[:1] == (("kind", "takeover"),)


def decode(key: bytes, value: bytes, headers: Headers) -> LogRecord:
    """Return the record that was written as this key, value and headers. Raises `Undecodable`."""
    try:
        return _decode(key, value, dict(headers))
    except (KeyError, ValueError, DecodeError) as error:
        raise Undecodable(
            f"this is not a record of the log ({error!r}); its headers are {headers!r}"
        ) from error


def _decode(key: bytes, value: bytes, header: dict[str, str]) -> LogRecord:
    if header["v"] != FORMAT_VERSION:
        raise ValueError(
            f"it has format version {header['v']}, and this code reads {FORMAT_VERSION}"
        )
    match header["kind"]:
        case "origin" if "missing" in header:
            return _missing(header)
        case "origin":
            return _origin(key, value, header)
        case "copy":
            return _copy(key, value, header)
        case "takeover":
            return _takeover(TakeoverValue.FromString(value))
        case "state":
            return _state(StateValue.FromString(value))
        case kind:
            raise ValueError(f"its kind {kind!r} is unknown")


def _missing(header: dict[str, str]) -> Missing:
    target, _, high = header["missing"].partition(":")
    place = Place(headers.number(header.get("clock", "0")), headers.number(high, low=-1))
    return Missing(headers.number(target, high=PARTITIONS_MAX), place)


def _origin(key: bytes, value: bytes, header: dict[str, str]) -> Origin:
    event = _event(value, header)
    return Origin(
        event.id,
        Place(headers.number(header.get("clock", "0")), headers.number(header["epoch"])),
        headers.number(header["number"]),
        UserId(key.decode()),
        event.client_message_id,
        _user_ids(event.recipient_ids),
        value,
        event,
        header.get("traceparent", ""),
        "home" in header,
        headers.partitions_in(header.get("to", "")),
        headers.partitions_in(header.get("new", "")),
        headers.number(header.get("changed", "0")),
    )


def _copy(key: bytes, value: bytes, header: dict[str, str]) -> Copy:
    origin_partition, _, origin_offset = header["origin"].partition(":")
    # the first version wrote no clocks
    origin_clock, _, after_clock = header.get("clocks", "0:0").partition(":")
    event = _event(value, header)  # clients get these bytes, and cannot skip an empty event
    if not event.id:
        raise ValueError("it contains no event")
    in_group = is_group(event.chat_id)
    return Copy(
        event.id,
        headers.number(origin_partition, high=PARTITIONS_MAX),
        Place(headers.number(origin_clock), headers.number(origin_offset)),
        Place(headers.number(after_clock), headers.number(header["after"], low=-1)),
        () if in_group else _user_ids(key.decode().split("\n")),
        value,
        header.get("traceparent", ""),
        event if in_group else None,
        headers.number(header.get("changed", "0")) if in_group else 0,
    )


def _takeover(value: TakeoverValue) -> Takeover:
    return Takeover(
        value.server_id,
        value.session,
        value.assignment_version,
        (value.uncopied_from, value.uncopied_below),
        value.keeps_clock,
        Place(value.lost_clock_ms, value.lost_below - 1),
    )


def _user_ids(texts: Iterable[str]) -> tuple[UserId, ...]:
    return tuple(map(UserId, texts))


def _event(value: bytes, header: dict[str, str]) -> Event:
    """Parse the event and compare its id with the header: bytes that are empty or cut short parse
    as an event, too.
    """
    event = Event.FromString(value)
    if event.id != headers.number(header["id"]):
        raise ValueError(f"its value is not the event {header['id']}")
    return event


def _state(value: StateValue) -> State:
    high = _copied(value.copied)
    for origin, offset in value.high.items():  # of the first version, which kept no ids
        high[origin] = Copied(Place(0, offset), message_id(value.top, origin))
    return State(
        value.as_of,
        Place(value.epoch_clock_ms, value.epoch),
        value.count,
        value.top,
        high,
        value.last_id,
        _copied(value.last),
        {origin: copied.origin for origin, copied in _copied(value.owed).items()},
        value.unread_before - 1,
        value.clock_ms,
        None if value.lacks_groups else tuple(value.groups),
        value.part,
        value.part_count,
    )


def _copied(values: Mapping[int, StateValue.Copied]) -> dict[int, Copied]:
    return {
        partition: Copied(Place(value.clock_ms, value.offset), value.message_id)
        for partition, value in values.items()
    }
