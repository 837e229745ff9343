"""Open-loop traffic: a steady rate of real texts, whether or not anybody answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence, Sized
from contextlib import asynccontextmanager
from random import Random
from typing import Protocol

from tests.support.records import DeviceKey, dialog, group
from tests.support.texts import real_texts

TICK_S = 0.01
SEATS_A_GROUP = 5
STEPS = (1, 2, 4, 5, 7, 8, 10)
"""How far from the first member of a group the others sit."""


class Talker(Protocol):
    """A device that takes part in chats. `say` never waits."""

    chats: tuple[str, ...]
    caught_up: asyncio.Event

    @property
    def unanswered(self) -> Sized: ...

    def say(self, chat_id: str, text: str, client_message_id: str = "") -> str: ...

    async def run(self) -> None: ...


def ring(
    users: int, prefix: str = "user", *, groups: bool = True
) -> tuple[list[DeviceKey], list[str]]:
    """Users who each talk with those one and three seats away, and in groups of three to eight.
    Every fifth has two devices.
    """
    names = [f"{prefix}-{number:02}" for number in range(users)]
    devices = [DeviceKey(name, "phone") for name in names]
    devices += [DeviceKey(name, "laptop") for name in names[::5]]
    chats = {
        dialog(name, names[(seat + step) % users])
        for seat, name in enumerate(names)
        for step in (1, 3)
    }
    return devices, sorted(chats) + (_groups(names) if groups else [])


def _groups(names: Sequence[str]) -> list[str]:
    """One for every few seats, of 3, 4 ... 8 members in turn."""
    found = []
    for number, seat in enumerate(range(0, len(names), SEATS_A_GROUP)):
        steps = (0, *STEPS[: 2 + number % (len(STEPS) - 1)])
        found.append(group(*dict.fromkeys(names[(seat + step) % len(names)] for step in steps)))
    return found


@asynccontextmanager
async def flowing(devices: Sequence[Talker], rate_per_s: float, rng: Random) -> AsyncIterator[None]:
    """While inside, any of the devices says something to one of its chats, `rate_per_s` times."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_flow(devices, rate_per_s, rng))
        yield
        task.cancel()


async def volley(devices: Iterable[Talker], rng: Random) -> None:
    """Everybody says something at once; returns some moment later, with much of it under way."""
    for device in devices:
        device.say(rng.choice(device.chats), rng.choice(real_texts()))
    await asyncio.sleep(rng.uniform(0, 0.02))


async def _flow(devices: Sequence[Talker], rate_per_s: float, rng: Random) -> None:
    began, said = time.monotonic(), 0
    texts = _texts(rng)
    while True:
        due = int((time.monotonic() - began) * rate_per_s)
        for _ in range(due - said):
            device = rng.choice(devices)
            device.say(rng.choice(device.chats), next(texts))
        said = due
        await asyncio.sleep(TICK_S)


def _texts(rng: Random) -> Iterator[str]:
    while True:
        yield rng.choice(real_texts())
