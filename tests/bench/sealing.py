"""What sealing and opening a text costs: `python -m tests.bench.sealing`. Each figure is the CPU of
this process alone, in microseconds a text of 256 bytes, the median of five.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cecochat.adapters.embedded.keys import EmbeddedKeys
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.session import frames, intake
from cecochat.sealing.cipher import UserKey
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.v1.events_pb2 import Event, Message
from cecochat.v1.messaging_pb2 import Send

COUNT, USERS, ROUNDS = 10_000, 100, 5
TEXT = "x" * 256


def sends() -> list[Send]:
    """Plain ones."""
    return [
        Send(client_message_id=str(n), chat_id="d:a~b", message=Message(text=TEXT))
        for n in range(COUNT)
    ]


def sealed(keys: list[UserKey]) -> list[Send]:
    """Check and seal them, each with the key of one of many users."""
    found = sends()
    for number, send in enumerate(found):
        intake.check_plain(send)
        keys[number % USERS].seal(send)
    return found


def event_of(number: int, send: Send) -> bytes:
    """As it is in the log."""
    return Event(
        id=number + 1,
        user_id=f"u{number % USERS}",
        chat_id=send.chat_id,
        client_message_id=send.client_message_id,
        recipient_ids=["b"],
        message=send.message,
    ).SerializeToString()


async def took_us(work: Callable[[], Awaitable[object]]) -> float:
    """CPU a text."""
    begun_s = time.process_time()
    await work()
    return (time.process_time() - begun_s) / COUNT * 1e6


async def measure(ring: KeyRing) -> dict[str, float]:
    """Name -> CPU a text."""
    keys = [key for n in range(USERS) if (key := await ring.own(UserId(f"u{n}")))]
    opening = Opening(ring)
    events = [event_of(number, send) for number, send in enumerate(sealed(keys))]
    chunks = [frames.delivered(Place(1, offset), event) for offset, event in enumerate(events)]
    plain = [frames.delivered(Place(1, n), event_of(n, each)) for n, each in enumerate(sends())]

    async def make(of: Callable[[], object]) -> None:
        of()

    async def frames_of(of: list[bytes], size: int) -> None:
        for start in range(0, COUNT, size):
            await opening.frame(of[start : start + size])

    async def pages() -> None:
        for start in range(0, COUNT, 50):
            await opening.events(events[start : start + 50])

    making = await took_us(lambda: make(sends))
    return {
        "check and seal": await took_us(lambda: make(lambda: sealed(keys))) - making,
        "open, one a frame": await took_us(lambda: frames_of(chunks, 1)),
        "open again for another session": await took_us(lambda: frames_of(chunks[-100:] * 100, 1)),
        "open a page of 50": await took_us(pages),
        "plain, one a frame": await took_us(lambda: frames_of(plain, 1)),
        "plain, 16 a frame": await took_us(lambda: frames_of(plain, 16)),
    }


async def main() -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        keys = await EmbeddedKeys.open(Path(folder))
        ring = KeyRing(keys, b"a secret")
        await ring.start()
        rounds = [await measure(ring) for _ in range(ROUNDS)]
        await keys.close()
    for name in rounds[0]:
        print(f"{name:32} {statistics.median(each[name] for each in rounds):6.1f} us")


if __name__ == "__main__":
    asyncio.run(main())
