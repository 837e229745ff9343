"""A client that stops reading is cut off near the limit of its queue; the others do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import quantiles

import pytest

from tests.support.crowd import Crowd
from tests.support.hostile import metric
from tests.support.pipes import TransportName
from tests.support.records import Closed, Delivered, DeviceKey, Entry, Sent, dialog
from tests.support.results import write
from tests.support.server import running
from tests.support.traffic import flowing, ring

QUEUE_BYTES = 1 << 20
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1 << 16))
TRANSPORT_BYTES = 1 << 20
"""What lies between the server's queue and a client that does not read, and takes messages too: the
HTTP/2 window of the stream (64 KiB; gRPC grows it to some MiB where it is let), gRPC's buffers at
both ends, and those of the sockets, which loopback lets grow."""
SOCKETS_MAX_BYTES = 4 << 20  # what a busy machine lets the sockets grow to
TEXT = "0123456789abcdef" * 1_000
FLOOD_EVERY_S = 0.01
SLOW_STREAMS = r'cecochat_streams_total{code="slow"}'
STALLED_MS = 10_000  # the others would wait; how little they do is a figure of docs/benchmarks.md
FLOODER, SLOW = DeviceKey("flooder", "phone"), DeviceKey("slow", "phone")
CHAT = dialog(*(key.user_id for key in (FLOODER, SLOW)))


@pytest.mark.timeout(420)
async def test_a_client_that_stops_reading_is_cut_and_the_others_do_not_notice(
    tmp_path: Path, rng: Random, transport: TransportName
) -> None:
    async with running(tmp_path, configuration={"queue.max_bytes": QUEUE_BYTES}) as server:
        crowd = Crowd(
            lambda: server.connect_url, server.secret_file, server.record, transport=transport
        )
        who, chats = ring(20)
        crowd.device(SLOW, [*chats, CHAT]).options = SMALL_WINDOW
        async with crowd.connected([*who, FLOODER, SLOW], [*chats, CHAT]):
            others = [crowd.devices[each] for each in who]
            async with flowing(others, 200, rng):
                reading = await flood(crowd, QUEUE_BYTES + TRANSPORT_BYTES)
                crowd.devices[SLOW].reading.clear()
                pausing = await flood(crowd, QUEUE_BYTES // 2)
                crowd.devices[SLOW].reading.set()
                await crowd.answered()
                crowd.devices[SLOW].reading.clear()
                stopped = await flood(crowd, QUEUE_BYTES + TRANSPORT_BYTES)
                for _ in range(SOCKETS_MAX_BYTES // len(TEXT)):
                    if await metric(server.ready["health"]["messaging"], SLOW_STREAMS):
                        break
                    stopped += await flood(crowd, len(TEXT))
                crowd.devices[SLOW].reading.set()
            assert await crowd.settle() == [], "it did not resume exactly"
        said = await metric(server.ready["health"]["messaging"], SLOW_STREAMS)
    assert ends(reading) == ends(pausing) == [], "cut before the limit"
    after = server.record.entries[server.record.entries.index(stopped[0]) :]
    assert said >= 1, "the server ended no stream as slow"
    # gRPC's own client sometimes says "Internal error from Core" instead of what the server said
    assert ends(after)[0].code in ("SLOW", "")
    assert got_before_the_end(after) <= TRANSPORT_BYTES + SOCKETS_MAX_BYTES
    before_ms, during_ms = p99_ms(reading), p99_ms(stopped)
    figures = {
        "others_p99_ms_while_it_reads": before_ms,
        "others_p99_ms_while_it_does_not": during_ms,
        "queue_limit_bytes": QUEUE_BYTES,
        "held_by_transport_bytes": got_before_the_end(after),
    }
    print(write(f"slow-{transport}", figures))
    assert during_ms < STALLED_MS, figures


async def flood(crowd: Crowd, total_bytes: int) -> list[Entry]:
    """Send so much to the slow one at a steady rate; what everybody recorded meanwhile."""
    mark = len(crowd.record.entries)
    for _ in range(total_bytes // len(TEXT)):
        crowd.devices[FLOODER].say(CHAT, TEXT)
        await asyncio.sleep(FLOOD_EVERY_S)
    await crowd.answered_by(FLOODER)
    return crowd.record.entries[mark:]


def ends(entries: Sequence[Entry]) -> list[Closed]:
    return [entry.what for entry in entries if entry.who == SLOW and isinstance(entry.what, Closed)]


def got_before_the_end(entries: Sequence[Entry]) -> int:
    """Bytes of text that the slow one still found on the connection that was cut."""
    held = 0
    for entry in entries:
        match entry.what:
            case Delivered(_, message) if entry.who == SLOW:
                held += len(message.text or "")
            case Closed() if entry.who == SLOW:
                return held
            case _:
                pass
    return held


def p99_ms(entries: Sequence[Entry]) -> float:
    """Send to receipt, of the messages between the others."""
    sent_s: dict[tuple[str, str], float] = {}
    took_ms: list[float] = []
    for at_s, who, _, what in entries:
        match what:
            case Sent(client_message_id, chat_id, _) if chat_id != CHAT:
                sent_s[who.user_id, client_message_id] = at_s
            case Delivered(_, message):
                key = (message.user_id, message.client_message_id)
                if key in sent_s and who.user_id != message.user_id:
                    took_ms.append((at_s - sent_s[key]) * 1_000)
            case _:
                pass
    return round(quantiles(took_ms, n=100)[98], 2)
