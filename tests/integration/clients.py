"""The Python client as its tests use it: a device of a user, and what it is told next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cecochat.client import Client, Connecting, Event, Message, connect
from tests.integration.systems import Running

WITHIN_S = 30.0
E = TypeVar("E", bound=Event)


def device(up: Running, user: str, state: Path | str | None = None, **options: Any) -> Connecting:
    return connect(up.addresses.connect, up.token(user), state=state, **options)


async def next_of(client: Client, kind: type[E], holds: Callable[[E], bool] = lambda _: True) -> E:
    """The next event of that kind; others are passed over."""
    async with asyncio.timeout(WITHIN_S):
        async for event in client:
            if isinstance(event, kind) and holds(event):
                return event
    raise AssertionError("the events ended")


async def texts_of(client: Client, count: int) -> list[str]:
    return [(await next_of(client, Message)).text for _ in range(count)]


def edit(state: Path, **changes: Any) -> None:
    """Change a kept state as no client does."""
    kept = json.loads(state.read_text())
    state.write_text(json.dumps({**kept, **changes}))


async def said_by(client: Client) -> list[str]:
    """What the history holds of the chat with bob, own acknowledged messages for certain."""
    return [message.text for message in (await client.history("bob")).messages]
