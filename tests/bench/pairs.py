"""Pairs of users: one sends, the other receives; in a closed loop, or at intended times."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cecochat.v1.messaging_pb2 import ClientFrame, ServerItem
from tests.bench.meter import Meter
from tests.bench.wire import Door, Wire
from tests.support.records import dialog

FRAME_BYTES = 60_000
RECEIPT_AND_ACK = 2


class Shape(NamedTuple):
    """How many sends a frame holds: those that are due, but neither fewer nor more than this."""

    least: int = 1
    most: int = 16


AS_IT_COMES = Shape()


class Pair:
    """A message is in flight until the sender has its ack and the recipient has the message."""

    def __init__(
        self,
        wires: tuple[Wire, Wire],
        chat_id: str,
        texts: Iterator[str],
        meter: Meter,
        shape: Shape = AS_IT_COMES,
    ) -> None:
        self.sender, self.recipient = wires
        self.completed = 0
        self._chat_id, self._texts, self._meter, self._shape = chat_id, texts, meter, shape
        self._due: deque[float] = deque()  # times from which latency counts
        self._writes = False
        self._sent_s: dict[str, float] = {}
        self._missing: dict[str, int] = {}
        self._count = 0
        self._again = False

    def offer(self, since_s: float) -> None:
        """Send one more message; its latency counts from then."""
        self._due.append(since_s)
        if not self._writes:
            self._writes = True
            asyncio.get_running_loop().call_soon(self._write)

    async def run(self, window: int = 0) -> None:
        """With a window: keep so many in flight. Without: send what is offered. Raises `Broken`."""
        self._again = window > 0
        self.sender.take, self.recipient.take = self._acked, self._received
        for _ in range(window):
            self.offer(time.perf_counter())
        await asyncio.gather(self.sender.lost, self.recipient.lost)

    def _write(self) -> None:
        self._writes = False
        while len(self._due) >= self._shape.least:
            self.sender.write(self._frame())

    def _frame(self) -> bytes:
        """What is due, as one frame."""
        frame, size = ClientFrame(offset=self.sender.offset), 0
        while self._due and len(frame.sends) < self._shape.most and size < FRAME_BYTES:
            self._count += 1
            key, text = str(self._count), next(self._texts)
            size += 4 * len(text) + 100
            self._sent_s[key] = self._due.popleft()
            self._missing[key] = RECEIPT_AND_ACK
            send = frame.sends.add(client_message_id=key, chat_id=self._chat_id)
            send.message.text = text
        return frame.SerializeToString()

    def _acked(self, items: Sequence[ServerItem]) -> None:
        for item in items:
            if item.HasField("ack"):
                self.sender.offset = item.ack.offset
                self._done(item.ack.client_message_id)

    def _received(self, items: Sequence[ServerItem]) -> None:
        for item in items:
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


async def open_pairs(
    door: Door, count: int, texts: Iterator[str], meter: Meter, shape: Shape = AS_IT_COMES
) -> list[Pair]:
    """Pairs of users who have no other chats; names differ from run to run of a workload."""
    run = f"{time.time_ns():x}"
    names = [(f"a{number}.{run}", f"b{number}.{run}") for number in range(count)]
    wires = await door.wires(name for pair in names for name in pair)
    return [
        Pair((wires[2 * number], wires[2 * number + 1]), dialog(*pair), texts, meter, shape)
        for number, pair in enumerate(names)
    ]
