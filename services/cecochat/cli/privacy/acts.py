"""Notes in the audit log what operators do by commands."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cecochat.settings.settings import Settings


async def note(
    settings: Settings,
    what: str,
    *,
    user_id: str = "",
    chat_id: str = "",
    detail: str = "",
    reason: str = "",
    by: str = "",
) -> None:
    """Note an act, by default of who is logged in. It comes before the act itself: if that fails,
    the log has it all the same. Raises `Unavailable`.
    """
    from cecochat.adapters import build
    from cecochat.documents.moderation import new_act

    act = new_act(what, by=by or getpass.getuser(), via="operator")
    act = act._replace(user_id=user_id, chat_id=chat_id, detail=detail, reason=reason)
    async with build.moderation(settings) as moderation:
        await moderation.acts.append(act)
