"""Keeps two copies of a device: one of what has arrived, one of what the application has handled.

`live` takes every item as it arrives, so that acknowledgements never wait for the application.
`dealt` takes the same steps later, when the application asks for the next event. Only `dealt`
survives a restart, so an event that was still on its way to the application is not lost.
"""

from __future__ import annotations

import asyncio

from cecochat.client.events import Event
from cecochat.client.inbox import Entry, Inbox, Step
from cecochat.domain.device.device import Device
from cecochat.v1.messaging_pb2 import Send


class Progress:
    """The two devices and the inbox between them.

    With `listen=False` the application reads no events, so whatever arrives counts as handled.
    """

    def __init__(self, device: Device, *, listen: bool, buffer_max_bytes: int) -> None:
        self.live = device
        self.dealt = Device.restored(device.snapshot())
        self.inbox = Inbox(buffer_max_bytes)
        self.to_keep = asyncio.Event()  # set when `dealt` has changed
        self._listen = listen
        self._handed: Entry | None = None

    def submit(self, send: Send) -> None:
        """Add a send to the outbox of both devices."""
        self.live.submit(send)
        self.dealt.outbox[send.client_message_id] = send
        self.to_keep.set()

    def answered(self, client_message_id: str) -> None:
        """Forget a rejected send at once: unlike an accepted one, it must not come back."""
        self.dealt.outbox.pop(client_message_id, None)
        self.to_keep.set()

    def told(self, step: Step | None, event: Event | None, size: int = 0) -> None:
        """Queue a step of the live device, with the event that tells the application about it."""
        if self._listen and not (event is None and self._nothing_waits):
            self.inbox.put(Entry(step, event), size)
        else:
            self._apply(step)

    @property
    def _nothing_waits(self) -> bool:
        return self._handed is None and self.inbox.empty

    def back_to_dealt(self) -> None:
        """Go back to what the application has handled. The next session brings the rest again."""
        self.live = Device.restored(self.dealt.snapshot())
        self.inbox.restart()

    async def next(self) -> Event | None:
        """Return the next event, or None at the end. The one before counts as handled."""
        self.deal()
        while entry := await self.inbox.get():
            if entry.event is not None:
                self._handed = entry
                return entry.event
            self._apply(entry.step)
        return None

    def deal(self) -> Event | None:
        """Mark the event that was handed out last as handled, and return it."""
        if (entry := self._handed) is None:
            return None
        self._handed = None
        self._apply(entry.step)
        return entry.event

    def _apply(self, step: Step | None) -> None:
        if step:
            step(self.dealt)
            self.to_keep.set()
