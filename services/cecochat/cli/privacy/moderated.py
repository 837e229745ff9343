"""Finds what moderation stores of a user's own: whom they block, and what they report."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cecochat.cli.privacy.belongings import BLOCKS, PAGE, REPORTS, Line
from cecochat.domain.log.ids import UserId
from cecochat.ports.moderation import Moderation
from cecochat.sealing.reports import ReportTexts


async def moderated(
    moderation: Moderation, texts: ReportTexts, user_id: UserId
) -> AsyncIterator[Line]:
    """Yield all lines. Raises `Unavailable`."""
    after, has_more = "", True
    while has_more:
        blocks, has_more = await moderation.blocks.of(user_id, after=after, limit=PAGE)
        for block in blocks:
            after = block.blocked_id
            yield BLOCKS, {"blocked": block.blocked_id, "at_ms": block.at_ms}
    reports = await moderation.reports.of_reporter(user_id)
    opened = await texts.opened(reports)
    for each in reports:
        yield (
            REPORTS,
            {
                "id": each.id,
                "at_ms": each.at_ms,
                "user": each.target.user_id,
                "chat_id": each.target.chat_id,
                "message_id": str(each.target.message_id),
                "reason": each.reason,
                "text": opened.get(each.id, ""),
                "state": each.state,
                "decision": each.decision,
            },
        )
