"""A cable with a delay: each frame leaves the other end of it so many milliseconds later.

`python -m tests.cluster.wire MILLISECONDS NAME NAME` makes two TAP devices, prints "there", and
carries frames between them until it is ended: what `netem` does, for kernels that lack it. A device
without offloads makes the kernel cut frames to size and sum them up.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import sys
from collections import deque

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x2, 0x1000  # linux/if_tun.h
LONGEST_FRAME = 65_536


async def main(milliseconds: str, *names: str) -> None:
    ends = [_tap(name) for name in names]
    for source, target in (ends, reversed(ends)):
        Direction(source, target, int(milliseconds) / 1_000).open()
    print("there", flush=True)
    await asyncio.Event().wait()


class Direction:
    """From one end to the other."""

    def __init__(self, source: int, target: int, delay_s: float) -> None:
        self._source, self._target, self._delay_s = source, target, delay_s
        self._under_way: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        self._loop.add_reader(self._source, self._take)

    def _take(self) -> None:
        self._under_way.append(os.read(self._source, LONGEST_FRAME))
        self._loop.call_later(self._delay_s, self._leave)

    def _leave(self) -> None:
        os.write(self._target, self._under_way.popleft())


def _tap(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return end


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
