"""Follows how long chats keep their messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from cecochat.documents.follow import Following, valid
from cecochat.domain.cluster import retention
from cecochat.domain.cluster.retention import Retention
from cecochat.ports.configuration import RETENTION


class KnownRetention:
    """The rules in force. `informed` is set once they are known: until then, a server that tells
    users messages must not serve.
    """

    def __init__(self, applied: Callable[[Retention], None]) -> None:
        """`applied` is called with each version."""
        self.informed = asyncio.Event()
        self._applied = applied

    async def follow(self, following: Following) -> None:
        """Follow the document until cancelled."""
        async with aclosing(valid(following, RETENTION, retention.parse)) as versions:
            async for _, rules in versions:
                self._applied(rules)
                self.informed.set()
