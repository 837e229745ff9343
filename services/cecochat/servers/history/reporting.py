"""What users report, and whom they block."""

from __future__ import annotations

import time
from itertools import count
from typing import Final

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log import ids
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.moderation.reports import Report, Target, check_code, check_text, report_id
from cecochat.domain.session.bucket import Rates
from cecochat.ports import access
from cecochat.ports.history import History
from cecochat.ports.moderation import Block, Moderation
from cecochat.runtime.clock import now_ms
from cecochat.sealing.reports import ReportTexts
from cecochat.servers.history.queries import BEHIND_RETRY_MS, Queries
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.v1.reporting_pb2 import (
    BlockedUser,
    BlockRequest,
    BlockResponse,
    ListBlocksRequest,
    ListBlocksResponse,
    ReportRequest,
    ReportResponse,
    UnblockRequest,
    UnblockResponse,
)

BLOCKS_MAX: Final = 1_000
FRESH_MS: Final = 10_000
"""How old a message may be that is not in the history yet."""
REPORTS_PER_S, REPORTS_BURST = 0.1, 20
"""How many reports a user may make at a server, so that nobody fills the queue."""


class Reporting:
    """Answers the calls of users about others, with serialized responses."""

    def __init__(
        self, moderation: Moderation, history: History, queries: Queries, texts: ReportTexts
    ) -> None:
        self._moderation = moderation
        self._history = history
        self._queries = queries
        self._texts = texts
        self._rates = Rates("reports")

    async def report(self, user_id: UserId, request: ReportRequest) -> bytes:
        """Store a report. Raises `Refusal` (invalid_argument, not_found, too_large, behind,
        rate_limited, erased).
        """
        check_code("reason", request.reason)
        check_text("text", request.text)
        target = await self._target(user_id, request)
        if target.user_id == user_id:
            raise Invalid("that is your own: report what others do")
        self._rates.check(user_id, time.monotonic(), REPORTS_PER_S, REPORTS_BURST)
        stands = await self._put(user_id, target, request)
        return ReportResponse(report_id=stands.id).SerializeToString()

    async def _put(self, user_id: UserId, target: Target, request: ReportRequest) -> Report:
        """Return the report that stands. Of a user, one that was decided about is followed by
        another one.
        """
        for number in count():
            id_ = report_id(user_id, target, number)
            stands = await self._moderation.reports.get(id_)
            if stands is None:
                text = await self._texts.sealed(user_id, request.text, id_)
                new = Report(id_, user_id, target, request.reason, text, now_ms())
                stands = await self._moderation.reports.put(new)
            if target.chat_id or stands.state != "done":
                return stands
        raise AssertionError("there is always a next number")

    async def _target(self, user_id: UserId, request: ReportRequest) -> Target:
        if bool(request.user_id) == bool(request.chat_id):
            raise Invalid("a report is of a message, by chat_id and message_id, or of a user_id")
        if request.user_id:
            return Target(ids.fellow(user_id, request.user_id))
        chat_id = ids.chat_id(request.chat_id)
        event = await self._readable(user_id, chat_id, request)
        return Target(UserId(event.user_id), chat_id, event.id)

    async def _readable(self, user_id: UserId, chat_id: ChatId, request: ReportRequest) -> Event:
        """Return a message that the user can read. Raises `Refusal` (not_found, behind)."""
        if request.HasField("token"):
            await self._queries.hold(request.token)
        missing = Refusal(
            errors_pb2.ERROR_CODE_NOT_FOUND,
            f"you see no message {request.message_id} in {chat_id}: check both ids",
        )
        try:
            seen = await access.seen(self._history, user_id, chat_id)
        except Refusal:
            raise missing from None
        id_ = request.message_id
        is_ahead = bool(seen.role) and id_ > seen.as_of
        found = await self._history.these(chat_id, [id_]) if seen.covers(id_) else {}
        if not found and (is_ahead or seen.covers(id_)) and _is_fresh(id_):
            raise Refusal(
                errors_pb2.ERROR_CODE_BEHIND, "the history is not that far yet", BEHIND_RETRY_MS
            )
        event = Event.FromString(found.get(id_, b""))
        if not event.HasField("message"):
            raise missing
        return event

    async def block(self, user_id: UserId, request: BlockRequest) -> bytes:
        """Have a user block another one. Raises `Refusal` (invalid_argument, too_large)."""
        blocked_id = ids.fellow(user_id, request.user_id)
        if blocked_id == user_id:
            raise Invalid("you cannot block yourself")
        blocks = self._moderation.blocks
        if not await blocks.has(user_id, blocked_id):
            if (await blocks.of(user_id, after="", limit=BLOCKS_MAX - 1)).has_more:
                raise Refusal(
                    errors_pb2.ERROR_CODE_TOO_LARGE,
                    f"{user_id} blocks {BLOCKS_MAX} users already: unblock one first",
                )
            await blocks.put(Block(user_id, blocked_id, now_ms()))
        return BlockResponse().SerializeToString()

    async def unblock(self, user_id: UserId, request: UnblockRequest) -> bytes:
        """Have a user no longer block another one. Raises `Refusal` (invalid_argument)."""
        await self._moderation.blocks.remove(user_id, ids.user_id(request.user_id))
        return UnblockResponse().SerializeToString()

    async def blocks(self, user_id: UserId, request: ListBlocksRequest) -> bytes:
        """Return a page of those whom a user blocks. Raises `Refusal` (invalid_argument)."""
        limit = self._queries.limit(request.limit)
        after = ids.user_id(request.after_user_id) if request.after_user_id else ""
        page = await self._moderation.blocks.of(user_id, after=after, limit=limit)
        found = [BlockedUser(user_id=b.blocked_id, blocked_at_ms=b.at_ms) for b in page.items]
        return ListBlocksResponse(blocks=found, has_more=page.has_more).SerializeToString()


def _is_fresh(message_id: int) -> bool:
    return ids.time_ms(message_id) > now_ms() - FRESH_MS
