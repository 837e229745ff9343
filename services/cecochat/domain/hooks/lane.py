"""What one endpoint is told of one partition: in which order, when again, and what is done with.

A chat has at most one webhook under way, so that the endpoint gets it in order. Chats do not wait
for each other. Everything below `Lane.place` is done with, so whoever goes on from there misses
nothing, and repeats what was delivered above it.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Final

from cecochat.domain.hooks.told import Told
from cecochat.domain.log.place import Place

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
AT_ONCE: Final = 16
ITEMS_MAX: Final = 1_000
BYTES_MAX: Final = 1 << 20
"""How much a lane holds before reading waits."""
TRIES_MAX: Final = 50
TRIED_FOR_S: Final = 900.0
OTHERS_MIN: Final = 20
"""What has failed so often and for so long while so many others got through is not going to be
taken, and holds up its chat.
"""


@dataclass(slots=True, eq=False)
class Item:
    """A webhook in a lane."""

    number: int  # in the order of the lane
    told: Told
    place: Place  # of its record; going on from here tells it again
    appended_at_ms: int
    tries: int = 0
    failed_first_s: float = 0.0
    taken_before: int = 0  # how many others the endpoint had taken when it failed first


class Lane:
    """Holds what was read and is not done with. Times are in s, of any clock that does not go
    back.
    """

    def __init__(self, place: Place) -> None:
        self._read = place  # from where to read on
        self._all: dict[int, Item] = {}  # by number, in order
        self._next = 0  # number
        self._bytes = 0
        self._chats: dict[str, deque[Item]] = {}
        self._ready: list[tuple[float, int]] = []  # a heap: when to try, number
        self._under_way = 0
        self._at_once = AT_ONCE
        self._taken = 0
        self._not_before_s = 0.0

    @property
    def place(self) -> Place:
        """Up to below where everything is done with."""
        return next((item.place for item in self._all.values()), self._read)

    @property
    def has_room(self) -> bool:
        """Whether to read on."""
        return len(self._all) < ITEMS_MAX and self._bytes < BYTES_MAX

    @property
    def waiting(self) -> int:
        """How many webhooks it holds."""
        return len(self._all)

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest that it holds was appended to the log, ms since 1970; None: it holds
        none.
        """
        return next((item.appended_at_ms for item in self._all.values()), None)

    def add(self, told: Told, place: Place, appended_at_ms: int) -> None:
        """Take in the next webhook, which comes of the record at `place`."""
        item = Item(self._next, told, place, appended_at_ms)
        self._next += 1
        self._all[item.number] = item
        self._bytes += told.size
        chat = self._chats.setdefault(told.chat_id, deque())
        chat.append(item)
        if len(chat) == 1:
            heapq.heappush(self._ready, (0.0, item.number))

    def read_to(self, place: Place) -> None:
        """Note that every record below `place` was taken in, or tells nothing."""
        self._read = place

    def due(self, now_s: float) -> list[Item]:
        """Return what to send now. Say of each what became of it: `taken`, `failed` or `parked`."""
        found: list[Item] = []
        while self._may_send(now_s):
            _, number = heapq.heappop(self._ready)
            found.append(self._all[number])
            self._under_way += 1
        return found

    def _may_send(self, now_s: float) -> bool:
        return (
            self._under_way < self._at_once
            and now_s >= self._not_before_s
            and bool(self._ready)
            and self._ready[0][0] <= now_s
        )

    @property
    def next_s(self) -> float | None:
        """When there is more to send; None: not before something is added or has an answer."""
        if not self._ready or self._under_way >= self._at_once:
            return None
        return max(self._ready[0][0], self._not_before_s)

    def taken(self, item: Item) -> None:
        """Note that the endpoint has it. After an outage, all that waits is due."""
        self._taken += 1
        if self._at_once == 1:
            self._ready = [(0.0, number) for _, number in self._ready]
            heapq.heapify(self._ready)
        self._at_once = min(AT_ONCE, self._at_once * 2)
        self._done(item)

    def parked(self, item: Item) -> None:
        """Note that it is kept elsewhere, and that its chat goes on without it."""
        self._done(item)

    def failed(self, item: Item, now_s: float, spread: float, pause_s: float = 0.0) -> bool:
        """Note that it has to be sent again, and return whether that is pointless: then park it.

        `spread` is drawn from 0 to 1. `pause_s`: how long the endpoint wants to be left alone.
        """
        if not item.tries:
            item.failed_first_s, item.taken_before = now_s, self._taken
        item.tries += 1
        self._at_once = max(1, self._at_once // 2)
        self._not_before_s = max(self._not_before_s, now_s + pause_s)
        if self._is_pointless(item, now_s):
            return True
        self._under_way -= 1
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(item.tries - 1, 16))
        heapq.heappush(self._ready, (now_s + wait_s * (1 + spread) / 2, item.number))
        return False

    def _is_pointless(self, item: Item, now_s: float) -> bool:
        return (
            item.tries >= TRIES_MAX
            and now_s - item.failed_first_s >= TRIED_FOR_S
            and self._taken - item.taken_before >= OTHERS_MIN
        )

    def _done(self, item: Item) -> None:
        self._under_way -= 1
        del self._all[item.number]
        self._bytes -= item.told.size
        chat = self._chats[item.told.chat_id]
        chat.popleft()
        if chat:
            heapq.heappush(self._ready, (0.0, chat[0].number))
        else:
            del self._chats[item.told.chat_id]
