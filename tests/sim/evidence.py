"""What the judge gets to see: what each device sent, saw on the wire and showed, and what the
history holds.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import NamedTuple

from cecochat.domain.log.ids import partition_in
from cecochat.v1.messaging_pb2 import ServerItem


class Shown(NamedTuple):
    """A message as a person sees it; `number` is its client message id."""

    sender: str
    number: int
    chat: str
    id: int


class Row(NamedTuple):
    """A message in the history."""

    id: int
    sender: str
    number: int
    chat: str
    recipients: tuple[str, ...]


class Change(NamedTuple):
    """An edit, a deletion or a reaction."""

    id: int
    message_id: int
    user: str
    kind: str
    text: str = ""  # the new one, or an emoji
    flag: bool = False  # of a deletion: as admin; of a reaction: taken back


class Now(NamedTuple):
    """A message as somebody sees it."""

    text: str
    is_deleted: bool
    reactions: frozenset[tuple[str, str]]  # (emoji, user)


class View(NamedTuple):
    """A message as a user sees it in the history."""

    user: str
    message_id: int
    now: Now


class Range(NamedTuple):
    """Ids of an origin partition of which readers are told that messages may be missing."""

    partition: int
    first_id: int
    last_id: int

    def has(self, row: Row) -> bool:
        """Whether that is one of them."""
        return self.partition == partition_in(row.id) and self.first_id <= row.id <= self.last_id


class SendRecord(NamedTuple):
    """A send as the person wrote it; numbers grow over all devices. `seen_id` is the highest id of
    that chat that was shown.
    """

    number: int
    chat: str
    seen_id: int


@dataclass
class CallRecord:
    """A send of the back end, and what it was answered."""

    number: int
    sender: str
    chat: str
    id: int = 0  # of the message
    refused: bool = False
    unclear: bool = False  # the history lacks something, and cannot tell
    hurries: bool = False  # tried again, while earlier tries were under way that had not landed


class Delivery(NamedTuple):
    """An event on the wire."""

    offset: int
    sender: str
    number: int
    chat: str
    id: int


class Acknowledgement(NamedTuple):
    """An ack on the wire."""

    offset: int
    number: int
    id: int


class GapTold(NamedTuple):
    """A gap on the wire."""

    offset: int


class Resumed(NamedTuple):
    """The device comes back, with this position."""

    offset: int


WireItem = Delivery | Acknowledgement | GapTold | Resumed


@dataclass
class DeviceRecord:
    """Everything that one device sent and saw, in order."""

    name: str
    user: str
    wire: list[WireItem] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    sends: list[SendRecord] = field(default_factory=list)
    rejected: set[int] = field(default_factory=set)
    sent_away: list[str] = field(default_factory=list)  # by servers, with these codes
    unanswered: set[int] = field(default_factory=set)  # when all was at rest
    told: set[int] = field(default_factory=set)  # ids that the history is known to lack
    told_ranges: set[tuple[str, Range]] = field(default_factory=set)  # of the chat that it read
    filling: set[str] = field(default_factory=set)  # chats that it has read of the gap it fills
    unnamed: list[tuple[frozenset[str], Range]] = field(default_factory=list)
    """Ranges of which the history told operators when a gap was filled, and the chats that were
    read: others of which all is missing are in no list.
    """
    gap_expected: bool = False  # something was done that may cause a gap
    messages: dict[int, Now] = field(default_factory=dict)  # by id, as they look at the end
    forgets: bool = False  # its log has lost its end: offsets begin anew with each session
    missed: set[int] = field(default_factory=set)  # ids that are excused
    brought_again: set[int] = field(default_factory=set)  # ids that may come twice on the wire
    live_from: int | None = None  # sends of others from this number on are to be shown here

    def highest_shown(self, chat: str) -> int:
        """The highest id of a chat that a person has seen here."""
        return max((each.id for each in self.shown if each.chat == chat), default=0)

    def told_of(self, chat: str, ranges: list[Range]) -> None:
        """It has read a page of that chat, which may lack these."""
        self.filling.add(chat)
        self.told_ranges |= {(chat, each) for each in ranges}

    def filled(self, ranges: list[Range]) -> None:
        """It has read all chats of a gap, while operators were told of these."""
        self.unnamed += [(frozenset(self.filling), each) for each in ranges]
        self.filling.clear()

    def knows_to_miss(self, row: Row) -> bool:
        """Whether it was told that it may miss that, or its chat was not even named."""
        return any(chat == row.chat and each.has(row) for chat, each in self.told_ranges) or any(
            row.chat not in chats and each.has(row) for chats, each in self.unnamed
        )

    def on_wire(self, item: ServerItem, sends: int) -> None:
        """Note an item of the stream; `sends` were written by anybody so far."""
        match item.WhichOneof("item"):
            case "delivered":
                event = item.delivered.event
                number = int(event.client_message_id)
                self.wire.append(
                    Delivery(item.delivered.offset, event.user_id, number, event.chat_id, event.id)
                )
            case "ack":
                ack = item.ack
                self.wire.append(
                    Acknowledgement(ack.offset, int(ack.client_message_id), ack.message_id)
                )
            case "gap":
                self.wire.append(GapTold(item.gap.to_offset))
            case "welcome":
                if self.live_from is None:
                    self.live_from = sends + 1
                if self.forgets:
                    self.wire.append(GapTold(-1))


class Look(NamedTuple):
    """What a user read of a chat: ids in order."""

    user: str
    chat: str
    ids: tuple[int, ...]
    told: frozenset[int] = frozenset()  # ids that it was said to lack


class Loss(NamedTuple):
    """What went with the end of a log: that is excused, whatever was accepted later is not."""

    ids: Set[int] = frozenset()
    copies: Set[tuple[str, int]] = frozenset()  # (recipient, id)
    has_changes: bool = False  # of who belongs to the group: the history may have those, still
    changed: Set[int] = frozenset()  # ids of messages of which changes were lost


@dataclass
class Evidence:
    """All that is judged. `valid` is what the whole log says, read from its beginning; None skips
    the comparison.
    """

    devices: list[DeviceRecord]
    history: set[Row]
    valid: set[Row] | None = None
    quiet: bool = True  # whether everything came to rest
    looks: list[Look] = field(default_factory=list)
    holes: set[Row] = field(default_factory=set)  # what the history is known to lack
    loss: Loss = field(default_factory=Loss)
    now_ms: int = 0  # at the end, by the log's clock; 0: not known
    told: set[tuple[int, str]] = field(default_factory=set)
    """(message id, user) of what operators were told is lost for live devices."""
    sent_away: list[str] = field(default_factory=list)
    """Devices that had to come back although they had been connected, and nothing was wrong."""
    unacknowledged: list[str] = field(default_factory=list)
    """Sends that were taken from two streams, and acknowledged on one."""
    alarms: list[Row] = field(default_factory=list)  # what an audit called missing meanwhile
    agrees: bool = True  # whether all nodes follow one version of the assignment
    gone: set[Row] = field(default_factory=set)
    """What logs were cut of, and what that leaves unproven, and what has vanished: the history may
    lack it, if it says so.
    """
    ranges: list[Range] = field(default_factory=list)  # of which it says so
    taken: set[Row] = field(default_factory=set)
    """What went with the end of a log, where anything was left that shows it: the same."""
    told_too_often: list[str] = field(default_factory=list)  # ends that were lost, as holes
    changes: list[Change] = field(default_factory=list)  # of messages, as the logs have them
    views: list[View] = field(default_factory=list)  # what the history shows in the end
    left: dict[str, int] = field(default_factory=dict)
    """Who has left the group -> the last id that they get."""
    calls: list[CallRecord] = field(default_factory=list)
    admins: dict[str, int] = field(default_factory=dict)
    """Who became an admin of the group, or its owner -> by which event."""

    @property
    def kept(self) -> set[Row]:
        """What the history has, or is known to lack message by message."""
        return self.history | self.holes

    @property
    def lost(self) -> set[Row]:
        """What is gone. Who has not heard that it was accepted sends it again, under another id."""
        return self.gone - self.kept
