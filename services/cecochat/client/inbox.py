"""A queue of what waits for the application: bounded in bytes, and it never blocks the reader.

A reader that waited for the application would not see the acknowledgement that the application is
waiting for. So what does not fit is dropped. Once the rest has been read, the device goes back to
where the application is, and receives it again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from cecochat.client.events import Event
from cecochat.domain.device.device import Device

Step = Callable[[Device], object]
_ENTRY_BYTES = 200  # roughly what Python adds to each entry


class Entry(NamedTuple):
    """A step that the device has taken, and the event that tells the application, if any."""

    step: Step | None
    event: Event | None


class Inbox:
    """The queue. It has one reader and one writer."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: deque[tuple[Entry, int]] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._ended = False
        self.overrun = False
        self.drained = asyncio.Event()  # set after an overrun, once what was kept has been read

    @property
    def empty(self) -> bool:
        """Whether the application has read everything that has arrived."""
        return not self._entries and not self.overrun

    def put(self, entry: Entry, size: int) -> None:
        """Add an entry of about `size` bytes. After an overrun, drop it until `restart`."""
        if self.overrun or self._ended:
            return
        if self._entries and self._bytes + size + _ENTRY_BYTES > self._max_bytes:
            self.overrun = True
            return
        self._entries.append((entry, size + _ENTRY_BYTES))
        self._bytes += size + _ENTRY_BYTES
        self._filled.set()

    async def get(self) -> Entry | None:
        """Wait for the next entry and return it. Return None after the end."""
        while not self._entries:
            if self._ended:
                return None
            self._filled.clear()
            if self.overrun:
                self.drained.set()
            await self._filled.wait()
        entry, size = self._entries.popleft()
        self._bytes -= size
        return entry

    def restart(self) -> None:
        """Accept entries again, now that the device has gone back."""
        self.overrun = False
        self.drained.clear()

    def end(self) -> None:
        """Accept nothing more. What is in the queue can still be read."""
        self._ended = True
        self._filled.set()
