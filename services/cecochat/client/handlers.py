"""Calls the functions that an application has registered for messages, one message at a time."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from cecochat.client.errors import InvalidArgument
from cecochat.client.events import Event, Message

Handler = Callable[[Message], Awaitable[None]]
H = TypeVar("H", bound=Handler)


class Handlers:
    """The handlers of one client. `unhandled` is the event that they have not got through with."""

    def __init__(self, user_id: str) -> None:
        self._user_id = user_id
        self._handlers: list[Handler] = []
        self.unhandled: Event | None = None

    def add(self, handler: H) -> H:
        """Register a handler. Raises `InvalidArgument` unless it is an async function."""
        is_async: bool = inspect.iscoroutinefunction(handler)
        if not is_async:
            raise InvalidArgument(f"{handler!r} is not an async function: use `async def`")
        self._handlers.append(handler)
        return handler

    async def run(self, events: AsyncIterator[Event]) -> None:
        """Handle events until they end, beginning with the one where an earlier run failed."""
        if not self._handlers:
            raise InvalidArgument("there is no handler: register one with @client.on_message")
        while event := self.unhandled or await anext(events, None):
            self.unhandled = event
            await self._handle(event)
            self.unhandled = None

    async def _handle(self, event: Event) -> None:
        if isinstance(event, Message) and event.user_id != self._user_id:
            for handler in self._handlers:
                await handler(event)
