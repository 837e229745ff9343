"""What a chat window shows of one chat: which line says what, and how far it has come.

Pure: a screen asks for what is settled, which is printed once, and for what still changes, which is
drawn anew each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cecochat.client import Message, Receipt
from cecochat.domain.printable import printable

OPEN_MAX = 6  # lines that are kept changeable

SENDING, SENT, DELIVERED, READ, REFUSED = "…", "✓", "✓✓", "✓✓ read", "✗ not sent"


@dataclass(slots=True)
class Line:
    """One message as it is shown. `id` 0: not accepted yet."""

    at: datetime  # local time
    user_id: str
    text: str
    id: int = 0
    note: str = ""
    shown: str | None = None  # the tick that it was printed with last; None: not printed


class Conversation:
    """The lines of the chat of `me` and `peer`."""

    def __init__(self, me: str, peer: str) -> None:
        self.me = me
        self.peer = peer
        self._open: list[Line] = []
        self._settled: list[Line] = []
        self._ids: set[int] = set()  # of what is here
        self._delivered_up_to = 0
        self._read_up_to = 0

    def say(self, text: str, at: datetime) -> Line:
        """This person has written something."""
        line = Line(at, self.me, text)
        self._open.append(line)
        return line

    def accepted(self, line: Line, id_: int) -> None:
        """It can no longer be lost. The history can have shown it before this answer came."""
        line.id = id_
        if id_ in self._ids:
            self._open = [each for each in self._open if each is not line]
        self._ids.add(id_)

    def refused(self, line: Line, why: str) -> None:
        """It will not be sent."""
        line.note = f"{REFUSED}: {why}"

    def show(self, message: Message) -> None:
        """A message of the other, or of another device of this user: after what is accepted."""
        if message.id in self._ids:
            return
        self._ids.add(message.id)
        self._settle(len(self._open))
        at = message.sent_at.astimezone()
        self._settled.append(Line(at, message.user_id, message.text, message.id))

    def mark(self, receipt: Receipt) -> None:
        """The other has received or read."""
        self._delivered_up_to = max(self._delivered_up_to, receipt.delivered_up_to)
        self._read_up_to = max(self._read_up_to, receipt.read_up_to)

    def tick(self, line: Line) -> str:
        """How far an own line has come; empty for one of the other."""
        if line.note or line.user_id != self.me:
            return line.note
        if not line.id:
            return SENDING
        if line.id <= self._read_up_to:
            return READ
        return DELIVERED if line.id <= self._delivered_up_to else SENT

    def take_settled(self) -> list[Line]:
        """The lines to print now, for good."""
        done = 0
        while done < len(self._open) and self.tick(self._open[done]).startswith((READ, REFUSED)):
            done += 1
        self._settle(max(done, len(self._open) - OPEN_MAX))
        settled, self._settled = self._settled, []
        return settled

    def settle_all(self) -> None:
        """Nothing changes any more."""
        self._settled += self._open
        self._open = []

    def _settle(self, count: int) -> None:
        """Of the first `count` open lines, those that are answered."""
        first, rest = self._open[:count], self._open[count:]
        self._settled += [line for line in first if self.tick(line) != SENDING]
        self._open = [line for line in first if self.tick(line) == SENDING] + rest

    @property
    def open_lines(self) -> list[Line]:
        """The lines that still change, oldest first."""
        return list(self._open)

    @property
    def unanswered(self) -> int:
        """How many own lines are not accepted yet."""
        return sum(self.tick(line) == SENDING for line in self._open)


def clock(line: Line) -> str:
    """Local time of a line; of another day, with its date."""
    today = datetime.now().astimezone().date()
    return line.at.strftime("%H:%M" if line.at.date() == today else "%b %d %H:%M")


def body(line: Line, indent: int) -> str:
    """The text of a line, safe to print; its further lines indented."""
    return printable(line.text).replace("\n", "\n" + " " * indent)
