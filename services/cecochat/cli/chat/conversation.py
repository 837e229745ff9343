"""The lines of a chat window, and how far each message has come.

Pure: a screen prints the lines that are settled once, and redraws those that are open. What becomes
of a line after it was printed is news, which the screen prints below.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cecochat.cli.attached import said_in
from cecochat.cli.group_change import some
from cecochat.client import Message, Presence, Receipt, Signal, Typing
from cecochat.domain.log.ids import is_group
from cecochat.domain.printable import printable

OPEN_MAX = 6  # how many lines are redrawn

SENDING, SENT, DELIVERED, READ, REFUSED = "…", "✓", "✓✓", "✓✓ read", "✗ not sent"


@dataclass(slots=True)
class Line:
    """One message as it is shown."""

    at: datetime  # local time
    user_id: str
    text: str
    id: int = 0  # 0 until it is accepted
    note: str = ""
    shown: str | None = None  # the tick that it was last printed with; None if it was not


class Conversation:
    """The lines of the chat of `me` and `peer`: another user, or a group."""

    def __init__(self, me: str, peer: str) -> None:
        self.me = me
        self.peer = peer
        self.name = ""  # what a group is called
        self.has_left = False  # a group
        self._is_group = is_group(peer)
        self._open: list[Line] = []
        self._settled: list[Line] = []
        self._ids: set[int] = set()  # of the messages that are here
        self._printed: list[tuple[Line, str]] = []  # own lines that are not read yet, and the tick
        self._delivered_up_to = 0
        self._read_up_to = 0
        self._typing: list[str] = []  # who types, in the order in which they began
        self._presence: Presence | None = None

    def say(self, text: str, at: datetime) -> Line:
        """Add what this person has written."""
        line = Line(at, self.me, text)
        self._open.append(line)
        return line

    def accepted(self, line: Line, id_: int) -> None:
        """Note that a line was accepted. The history may have shown it before that."""
        line.id = id_
        if id_ in self._ids:
            self._open = [each for each in self._open if each is not line]
        self._ids.add(id_)

    def refused(self, line: Line, why: str) -> None:
        """Note that a line will not be sent."""
        line.note = f"{REFUSED}: {why}"

    def show(self, message: Message) -> None:
        """Add a message from the other user, or from another device of this user."""
        if message.id in self._ids:
            return
        self._ids.add(message.id)
        self._settle(len(self._open))
        at = message.sent_at.astimezone()
        self._settled.append(Line(at, message.user_id, said_in(message), message.id))

    def mark(self, receipt: Receipt) -> None:
        """Note how far the other user has received and read. In a group there are many others, and
        nothing is shown of it.
        """
        if self._is_group:
            return
        self._delivered_up_to = max(self._delivered_up_to, receipt.delivered_up_to)
        self._read_up_to = max(self._read_up_to, receipt.read_up_to)

    def signal(self, signal: Signal) -> None:
        """Note how the other user is, or who types in a group."""
        match signal:
            case Typing(user_id=user, active=active):
                self._typing = [each for each in self._typing if each != user]
                self._typing += [user] if active else []
            case Presence():
                self._presence = signal

    @property
    def title(self) -> str:
        """Who chats with whom, or where."""
        where = f"in {self.name} ({self.peer})" if self._is_group else f"with {self.peer}"
        return f"{self.me} {where}"

    @property
    def peer_is(self) -> str:
        """How the other user is, in words, or who types; empty if nothing is known."""
        if self._typing:
            return f"{some(self._typing)} {'are' if self._typing[1:] else 'is'} typing …"
        if self._presence and self._presence.online:
            return f"{self.peer} is online"
        if self._presence and self._presence.last_seen:
            return f"{self.peer} was here {at(self._presence.last_seen.astimezone())}"
        return ""

    def tick(self, line: Line) -> str:
        """Return how far an own line has come, or nothing for a line of the other user."""
        if line.note or line.user_id != self.me:
            return line.note
        if not line.id:
            return SENDING
        if line.id <= self._read_up_to:
            return READ
        return DELIVERED if line.id <= self._delivered_up_to else SENT

    def take_settled(self) -> list[Line]:
        """Return the lines that are settled, to be printed for good."""
        done = 0
        while done < len(self._open) and self.is_final(self._open[done]):
            done += 1
        self._settle(max(done, len(self._open) - OPEN_MAX))
        settled, self._settled = self._settled, []
        own = [line for line in settled if line.user_id == self.me and not self.is_final(line)]
        self._printed += [(line, self.tick(line)) for line in own]
        return settled

    def is_final(self, line: Line) -> bool:
        """Return whether nothing more can become of a line."""
        final = (READ, REFUSED, SENT) if self._is_group else (READ, REFUSED)
        return not (tick := self.tick(line)) or tick.startswith(final)

    def take_news(self) -> list[tuple[Line, str]]:
        """Return which ticks printed lines have got since, each with the newest of these lines."""
        news = {tick: line for line, before in self._printed if (tick := self.tick(line)) != before}
        left = [line for line, _ in self._printed if not self.is_final(line)]
        self._printed = [(line, self.tick(line)) for line in left]
        return [(line, tick) for tick, line in news.items()]

    def settle_all(self) -> None:
        """Settle every line, since nothing will change any more."""
        self._settled += self._open
        self._open = []

    def _settle(self, count: int) -> None:
        """Settle those of the first `count` open lines that have been answered."""
        first, rest = self._open[:count], self._open[count:]
        self._settled += [line for line in first if self.tick(line) != SENDING]
        self._open = [line for line in first if self.tick(line) == SENDING] + rest

    @property
    def open_lines(self) -> list[Line]:
        """The lines that still change, oldest first."""
        return list(self._open)

    @property
    def unanswered(self) -> int:
        """How many own lines have not been accepted yet."""
        return sum(self.tick(line) == SENDING for line in self._open)


def clock(line: Line) -> str:
    """Return the local time of a line, with the date if that is not today."""
    return at(line.at)


def at(time: datetime) -> str:
    """Return a local time, with the date if that is not today."""
    today = datetime.now().astimezone().date()
    return time.strftime("%H:%M" if time.date() == today else "%b %d %H:%M")


def body(line: Line, indent: int) -> str:
    """Return the text of a line, safe to print, with its further lines indented."""
    return printable(line.text).replace("\n", "\n" + " " * indent)
