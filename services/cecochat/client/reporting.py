"""What users report to the moderators, and whom they block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from cecochat.client.arguments import check_count, check_message_id
from cecochat.client.names import chat_of, check_user
from cecochat.client.queries import Queries
from cecochat.v1.messaging_pb2 import ReadToken
from cecochat.v1.reporting_pb2 import (
    BlockRequest,
    BlockResponse,
    ListBlocksRequest,
    ListBlocksResponse,
    ReportRequest,
    ReportResponse,
    UnblockRequest,
    UnblockResponse,
)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A user whom this user blocks, and since when."""

    user_id: str
    at: datetime


class Asking(NamedTuple):
    """Who asks, whom, and what the answer has to hold."""

    user_id: str
    calls: Queries
    token: ReadToken | None


class Reporting(ABC):
    """Reports and blocks of one user. All methods raise `ChatError`."""

    @abstractmethod
    def _reporting(self) -> Asking: ...

    async def report(self, chat: str, message_id: int, reason: str, text: str = "") -> str:
        """Report a message of a chat to the moderators: why, as a code that your product chooses,
        and what the user says about it, up to 1,000 bytes. Returns the id of the report, which is
        the same if the user reports the message again.
        """
        check_message_id("message_id", message_id)
        me, calls, token = self._reporting()
        request = ReportRequest(
            chat_id=chat_of(me, chat), message_id=message_id, reason=reason, text=text, token=token
        )
        return (await calls.call("Report", request, ReportResponse)).report_id

    async def report_user(self, user: str, reason: str, text: str = "") -> str:
        """Report a user to the moderators. Returns the id of the report, which is the same until
        somebody has decided about it.
        """
        request = ReportRequest(user_id=check_user(user), reason=reason, text=text)
        return (await self._reporting().calls.call("Report", request, ReportResponse)).report_id

    async def block(self, user: str) -> None:
        """Block a user, if they are not blocked yet."""
        request = BlockRequest(user_id=check_user(user))
        await self._reporting().calls.call("Block", request, BlockResponse)

    async def unblock(self, user: str) -> None:
        """No longer block a user."""
        request = UnblockRequest(user_id=check_user(user))
        await self._reporting().calls.call("Unblock", request, UnblockResponse)

    async def blocked(self, limit: int = 50, *, after: str = "") -> list[Blocked]:
        """Return those whom the user blocks, in the order of their user ids. `after` continues the
        list: pass the last user id.
        """
        check_count("limit", limit)
        request = ListBlocksRequest(after_user_id=after, limit=limit)
        page = await self._reporting().calls.call("ListBlocks", request, ListBlocksResponse)
        return [_blocked(each.user_id, each.blocked_at_ms) for each in page.blocks]

    async def every_blocked(self) -> AsyncGenerator[Blocked]:
        """Yield all those whom the user blocks, in the order of their user ids."""
        after, more = "", True
        while more:
            request = ListBlocksRequest(after_user_id=after)
            page = await self._reporting().calls.call("ListBlocks", request, ListBlocksResponse)
            for each in page.blocks:
                yield _blocked(each.user_id, each.blocked_at_ms)
                after = each.user_id
            more = page.has_more and bool(page.blocks)


def _blocked(user_id: str, at_ms: int) -> Blocked:
    return Blocked(user_id, datetime.fromtimestamp(at_ms / 1_000, UTC))
