"""How far a device has got, twice: what has arrived, and what the application has dealt with.

`live` takes every item as it arrives, so that acknowledgements never wait for the application.
`dealt` takes the same steps later, when the application comes back for the next event. What is kept
over a restart is `dealt`, so nothing that was only on its way to the application is lost with it.
"""

from __future__ import annotations

from cecochat.client.events import Event
from cecochat.client.inbox import Entry, Inbox, Step
from cecochat.domain.device.device import Device
from cecochat.v1.messaging_pb2 import Send


class Progress:
    """The two devices and the inbox between them. `listen=False`: the application reads no events,
    so what has arrived counts as dealt with.
    """

    def __init__(self, device: Device, *, listen: bool, buffer_max_bytes: int) -> None:
        self.live = device
        self.dealt = Device.restored(device.snapshot())
        self.inbox = Inbox(buffer_max_bytes)
        self._listen = listen
        self._handed: Entry | None = None

    def submit(self, send: Send) -> None:
        """Take on a send, on both."""
        self.live.submit(send)
        self.dealt.outbox[send.client_message_id] = send

    def answered(self, client_message_id: str) -> None:
        """A send was refused: unlike an acceptance, going back must not meet it again."""
        self.dealt.outbox.pop(client_message_id, None)

    def told(self, step: Step | None, event: Event | None, size: int = 0) -> None:
        """The live device has taken a step; the application is told `event` of it in its turn."""
        if self._listen and not (event is None and self._nothing_waits):
            self.inbox.put(Entry(step, event), size)
        elif step:
            step(self.dealt)

    @property
    def _nothing_waits(self) -> bool:
        return self._handed is None and self.inbox.empty

    def back_to_dealt(self) -> None:
        """After an overrun: forget what has arrived beyond what was dealt with; the next session
        brings it again.
        """
        self.live = Device.restored(self.dealt.snapshot())
        self.inbox.restart()

    async def next(self) -> Event | None:
        """The next event, after the last one counts as dealt with; None: the end."""
        self.deal()
        while entry := await self.inbox.get():
            if entry.event is not None:
                self._handed = entry
                return entry.event
            self._apply(entry)
        return None

    def deal(self) -> Event | None:
        """The event handed out last is dealt with; returns it."""
        if (entry := self._handed) is None:
            return None
        self._handed = None
        self._apply(entry)
        return entry.event

    def _apply(self, entry: Entry) -> None:
        if entry.step:
            entry.step(self.dealt)
