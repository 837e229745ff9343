"""What has arrived and waits for the application: bounded in bytes, and it never stops the reader.

A reader that waited for the application would not see the acknowledgement that the application
waits for. So what does not fit is dropped, and once the rest is read, the device goes back to where
the application is and gets it again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from cecochat.client.events import Event
from cecochat.domain.device.device import Device

Step = Callable[[Device], object]
_ENTRY_BYTES = 200  # about what Python adds


class Entry(NamedTuple):
    """A step that the device has taken, and what the application is told about it, if anything."""

    step: Step | None
    event: Event | None


class Inbox:
    """One reader, one writer."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: deque[tuple[Entry, int]] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._ended = False
        self.overrun = False
        self.drained = asyncio.Event()  # after an overrun, all that was kept is read

    @property
    def empty(self) -> bool:
        """Whether the application has read all that has arrived."""
        return not self._entries and not self.overrun

    def put(self, entry: Entry, size: int) -> None:
        """Add an entry of about `size` bytes; dropped after an overrun, until `restart`."""
        if self.overrun or self._ended:
            return
        if self._entries and self._bytes + size + _ENTRY_BYTES > self._max_bytes:
            self.overrun = True
            return
        self._entries.append((entry, size + _ENTRY_BYTES))
        self._bytes += size + _ENTRY_BYTES
        self._filled.set()

    async def get(self) -> Entry | None:
        """The next entry; None after the end."""
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
        """Take entries again, of a device that has gone back."""
        self.overrun = False
        self.drained.clear()

    def end(self) -> None:
        """Nothing comes after what is here."""
        self._ended = True
        self._filled.set()
