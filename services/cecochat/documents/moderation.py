"""Follows the rules of moderation, and changes them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from cecochat.documents.follow import Following, follow_document
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.acts import Act, act_id
from cecochat.domain.moderation.rules import (
    FOR_GOOD_MS,
    OF_USERS,
    Part,
    Rules,
    Slowness,
    document,
    parse,
)
from cecochat.ports.configuration import MODERATION, Configuration
from cecochat.ports.moderation import Acts
from cecochat.runtime.clock import now_ms
from cecochat.v1.messaging_pb2 import Send


class Moderation:
    """The rules that a messaging server goes by; None: it does not know them yet."""

    def __init__(self) -> None:
        self.rules: Rules | None = None
        self._slowness = Slowness()

    def check(self, user_id: UserId, send: Send, *, as_system: bool = False) -> None:
        """Raise `Refusal` if a user may not send that now."""
        if self.rules is None:
            return
        now = now_ms()
        self.rules.check(user_id, send, now, as_system=as_system)
        if not as_system:
            self._slowness.take(self.rules, user_id, send, now)


async def follow_moderation(following: Following, apply: Callable[[Rules], None]) -> None:
    """Apply the rules now and after each change, until cancelled."""
    await follow_document(following, MODERATION, parse, apply)


def act_of(part: Part, name: str, number: int, *, by: str, via: str, reason: str) -> Act:
    """Return the line of the audit log for a change of the rules; 0: what it was is lifted."""
    act = new_act(part if number else f"not {part}", by=by, via=via)
    detail = "" if number in (0, FOR_GOOD_MS) else _detail(part, number)
    user_id, chat_id = (name, "") if part in OF_USERS else ("", name)
    return act._replace(detail=detail, reason=reason, user_id=user_id, chat_id=chat_id)


def new_act(what: str, *, by: str, via: str) -> Act:
    """Return a line of the audit log for what somebody does now."""
    now = now_ms()
    return Act(act_id(now, uuid.uuid4().hex[:12]), now, by, via, what)


def _detail(part: Part, number: int) -> str:
    if part == "slow":
        return f"{number} s"
    return f"until {datetime.fromtimestamp(number / 1_000, UTC):%Y-%m-%dT%H:%MZ}"


async def change(
    configuration: Configuration, acts: Acts, act: Act, decide: Callable[[Rules], Rules]
) -> None:
    """Note an act, and change the rules, unless they are so already. If that fails, the audit log
    has it all the same. Raises what `decide` raises, `InvalidSettings` if the rules in the store
    are not valid, and `Unavailable`.
    """
    before = parse((await configuration.get(MODERATION)).value)
    if decide(before) == before:  # what is refused is no act, either
        return
    await acts.append(act)
    await configuration.change(
        MODERATION, lambda current: document(decide(parse(current))), by=act.by
    )
