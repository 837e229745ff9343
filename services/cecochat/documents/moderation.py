"""Follows the rules of moderation, and changes them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from cecochat.documents.follow import Following, valid
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.rules import Rules, Slowness, document, parse
from cecochat.ports.configuration import MODERATION, Configuration
from cecochat.runtime.clock import now_ms
from cecochat.v1.messaging_pb2 import Send


class Moderation:
    """The rules that a messaging server goes by; None: it does not know them yet."""

    def __init__(self) -> None:
        self.rules: Rules | None = None
        self._slowness = Slowness()

    def check(self, user_id: UserId, send: Send, *, as_system: bool = False) -> None:
        """Raise `Refusal` if a user may not send that now. The system may."""
        if as_system or self.rules is None:
            return
        now = now_ms()
        self.rules.check(user_id, send, now)
        self._slowness.take(self.rules, user_id, send, now)


async def follow_moderation(following: Following, apply: Callable[[Rules], None]) -> None:
    """Apply the rules now and after each change, until cancelled."""
    async with aclosing(valid(following, MODERATION, parse)) as versions:
        async for _, rules in versions:
            apply(rules)


async def change(configuration: Configuration, decide: Callable[[Rules], Rules], *, by: str) -> int:
    """Change the rules, and return the version of the document that has them. Raises what `decide`
    raises, `InvalidSettings` if the rules in the store are not valid, and `Unavailable`.
    """
    stored = await configuration.change(
        MODERATION, lambda current: document(decide(parse(current))), by=by
    )
    return stored.version
