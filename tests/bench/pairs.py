"""Pairs of users: one sends, the other receives; in a closed loop, or at intended times."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator

from cecochat.v1.messaging_pb2 import ClientFrame
from tests.bench.meter import Meter
from tests.bench.wire import Door, Wire
from tests.support.records import dialog

FRAME_SENDS = 16
FRAME_BYTES = 60_000
RECEIPT_AND_ACK = 2


class Pair:
    """A message is in flight until the sender has its ack and the recipient has the message."""

    def __init__(
        self, wires: tuple[Wire, Wire], chat_id: str, texts: Iterator[str], meter: Meter
    ) -> None:
        self.sender, self.recipient = wires
        self.completed = 0
        self._chat_id, self._texts, self._meter = chat_id, texts, meter
        self._due: deque[float] = deque()  # times from which latency counts
        self._ready = asyncio.Event()
        self._sent_s: dict[str, float] = {}
        self._missing: dict[str, int] = {}
        self._count = 0
        self._again = False

    def offer(self, since_s: float) -> None:
        """Send one more message; its latency counts from then."""
        self._due.append(since_s)
        self._ready.set()

    async def run(self, window: int = 0) -> None:
        """With a window: keep so many in flight. Without: send what is offered."""
        self._again = window > 0
        for _ in range(window):
            self.offer(time.perf_counter())
        async with asyncio.TaskGroup() as group:
            tasks = (self._write(), self._read_acks(), self._read_receipts())
            for task in tasks:
                group.create_task(task)

    async def _write(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._due:
                await self.sender.write(self._frame())

    def _frame(self) -> bytes:
        """Up to FRAME_SENDS of what is due, as one frame."""
        frame, size = ClientFrame(offset=self.sender.offset), 0
        while self._due and len(frame.sends) < FRAME_SENDS and size < FRAME_BYTES:
            self._count += 1
            key, text = str(self._count), next(self._texts)
            size += 4 * len(text) + 100
            self._sent_s[key] = self._due.popleft()
            self._missing[key] = RECEIPT_AND_ACK
            send = frame.sends.add(client_message_id=key, chat_id=self._chat_id)
            send.message.text = text
        return frame.SerializeToString()

    async def _read_acks(self) -> None:
        while True:
            for item in await self.sender.read():
                if item.HasField("ack"):
                    self.sender.offset = item.ack.offset
                    self._done(item.ack.client_message_id)

    async def _read_receipts(self) -> None:
        while True:
            for item in await self.recipient.read():
                if item.HasField("delivered"):
                    key = item.delivered.event.client_message_id
                    self._meter.delivered(self._sent_s[key])
                    self._done(key)

    def _done(self, key: str) -> None:
        self._missing[key] -= 1
        if self._missing[key]:
            return
        del self._missing[key], self._sent_s[key]
        self.completed += 1
        if self._again:
            self.offer(time.perf_counter())


async def open_pairs(door: Door, count: int, texts: Iterator[str], meter: Meter) -> list[Pair]:
    """Pairs of users who have no other chats; names differ from run to run of a workload."""
    run = f"{time.time_ns():x}"
    names = [(f"a{number}.{run}", f"b{number}.{run}") for number in range(count)]
    wires = await door.wires(name for pair in names for name in pair)
    return [
        Pair((wires[2 * number], wires[2 * number + 1]), dialog(*pair), texts, meter)
        for number, pair in enumerate(names)
    ]
