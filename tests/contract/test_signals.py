"""What ports/signals.py promises, of every adapter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from cecochat.adapters.embedded.signals import KEPT, EmbeddedSignals
from cecochat.adapters.kafka import signals as kafka
from cecochat.ports.signals import KEPT_MS, Heard, Signals
from tests.contract import openers
from tests.contract.openers import PARTITIONS, Place
from tests.support.eventually import eventually

DEADLINE_S = 20.0
BACK_S = 60.0


class Listener:
    """Hears a partition from now on, or from some time ago on."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    async def run(self, signals: Signals, partition: int, since_s: float) -> None:
        async with aclosing(signals.listen(partition, since_s)) as batches:
            async for batch in batches:
                assert batch, "a batch is never empty"
                self.heard += batch

    @property
    def values(self) -> list[bytes]:
        return [heard.value for heard in self.heard]

    async def until(self, *values: bytes) -> None:
        await eventually(lambda: self.values[-len(values) :] == list(values))


@asynccontextmanager
async def listening(
    signals: Signals, partition: int = 0, since_s: float = BACK_S
) -> AsyncGenerator[Listener]:
    listener = Listener()
    task = asyncio.create_task(listener.run(signals, partition, since_s))
    yield listener
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_everybody_who_listens_hears_signals_in_one_order(signals: Signals) -> None:
    values = [b"%d" % number for number in range(200)]
    async with listening(signals) as one, listening(signals) as other:
        for value in values:
            signals.publish(0, value)
        await one.until(*values)
        await other.until(*values)
        assert one.heard == other.heard
        assert all(abs(heard.at_ms / 1_000 - time.time()) < DEADLINE_S for heard in one.heard)


async def test_a_partition_hears_only_its_own(signals: Signals) -> None:
    async with listening(signals, PARTITIONS - 1) as last, listening(signals) as first:
        signals.publish(0, b"for the first")
        signals.publish(PARTITIONS - 1, b"for the last")
        await first.until(b"for the first")
        await last.until(b"for the last")
        assert (first.values, last.values) == ([b"for the first"], [b"for the last"])


async def test_who_comes_later_hears_what_was_said_a_while_ago(signals: Signals) -> None:
    async with listening(signals) as first:
        signals.publish(0, b"before")
        await first.until(b"before")
    async with listening(signals) as later:
        await later.until(b"before")
    async with listening(signals, since_s=-BACK_S) as not_back:
        async with listening(signals) as there:  # so that the other has begun, too
            await there.until(b"before")
        signals.publish(0, b"after")
        await not_back.until(b"after")
        assert not_back.values == [b"after"]


async def test_every_byte_arrives(signals: Signals) -> None:
    every_byte = bytes(range(256)) * 100
    async with listening(signals) as listener:
        signals.publish(0, every_byte)
        signals.publish(0, b"")
        await listener.until(every_byte, b"")
    assert signals.dropped == 0


async def test_the_embedded_topic_is_bounded_and_forgets() -> None:
    clock_s = 1_000.0
    signals = EmbeddedSignals(lambda: clock_s)
    for number in range(KEPT + 10):
        signals.publish(0, b"%d" % number)
    async with listening(signals) as listener:
        await eventually(lambda: len(listener.heard) == KEPT)
        assert listener.values[0] == b"10"
    clock_s += KEPT_MS / 1_000 + 1
    signals.publish(0, b"new")
    async with listening(signals, since_s=10_000) as listener:
        await listener.until(b"new")
        assert listener.values == [b"new"]


async def test_while_kafka_takes_nothing_the_oldest_are_dropped(
    place: Place, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "QUEUED_MAX_BYTES", 1_000)
    signals: Signals = await openers.opener("kafka", "signals")(place, stack)
    async with listening(signals) as listener:
        signals.publish(0, b"first")
        await listener.until(b"first")
        for number in range(100):  # all before the loop can send any of them
            signals.publish(0, b"%0100d" % number)
        await listener.until(*(b"%0100d" % number for number in range(90, 100)))
        assert len(listener.heard) == 11
    assert signals.dropped == 90
