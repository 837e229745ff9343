"""The queries: who may ask, what is in a page, and whether the history has what a token needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.groups.changes import Seen, Standing
from cecochat.domain.log import ids, wire
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.ports import access
from cecochat.ports.backplane import Log
from cecochat.ports.history import ChatRow, History, Hole, MarkRow, Page
from cecochat.sealing.opening import Opening
from cecochat.servers.history.contacts import Contacts
from cecochat.servers.history.folding import Folded, changed_ids, folded
from cecochat.servers.history.holes import ALL, of_chat, of_user
from cecochat.servers.history.pages import first_within, not_too_old, page_within
from cecochat.servers.history.sight import changes_seen, group_page
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import Tracer
from cecochat.v1 import errors_pb2, history_pb2
from cecochat.v1.events_pb2 import ROLE_UNSPECIFIED, ChatSettings, Event, GroupOptions
from cecochat.v1.history_pb2 import (
    Chat,
    GetChatsRequest,
    GetChatsResponse,
    GetGroupRequest,
    GetGroupResponse,
    GetMessagesRequest,
    GetMessagesResponse,
    ListMembersRequest,
    ListMembersResponse,
    Mark,
    Member,
)
from cecochat.v1.messaging_pb2 import ReadToken

PAGE_DEFAULT = 50
BEHIND_RETRY_MS = 25


class Queries:
    """Answers queries with serialized response protos. Messages go out as they are now, and
    all else as it was stored.
    """

    def __init__(self, history: History, opening: Opening, log: Log, tracer: Tracer) -> None:
        self._history = history
        self._opening = opening
        self._log_id = log.id
        self._partitions = log.partitions
        self._tracer = tracer
        self.config = Config()
        self.contacts = Contacts(history, self.hold)

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self.config = config

    async def messages(self, user_id: UserId, request: GetMessagesRequest) -> bytes:
        """Return a page of a chat, as a serialized `GetMessagesResponse`. Raises `Refusal`
        (invalid_argument, forbidden, not_found, behind).
        """
        chat_id = ids.chat_id(request.chat_id)
        limit = self.limit(request.limit)
        before, after = _bound(request, "before"), _bound(request, "after")
        if request.with_changes and after is None:
            raise Invalid("with_changes is given without after: changes are read upwards only")
        seen = await self._seen(user_id, chat_id, request)
        with self._reading("messages"):
            read = partial(group_page, self._history, user_id, chat_id, seen)
            if not is_group(chat_id):
                read = partial(self._history.chat_page, chat_id)
            kept_from = 0 if request.with_changes else self._opening.kept_from(chat_id)
            found, marks, holes = await read(
                before=before,
                after=after if after is None else max(after, kept_from - 1),
                limit=limit,
                with_changes=request.with_changes,
            )
        events, has_more = await self._shown(chat_id, found, seen, is_cut=bool(kept_from))
        max_bytes = self.config.history_page_max_bytes
        kept = page_within(events, max_bytes, oldest_first=after is not None)
        page = Page([each.event for each in kept], has_more or len(kept) < len(events))
        rest = GetMessagesResponse(has_more=page.has_more, marks=_marks(marks))
        rest.states.extend(each.state for each in kept if each.state)
        if request.count_read_of and is_group(chat_id) and seen.role:
            rest.read_count = await self._count_read(user_id, chat_id, request.count_read_of, marks)
        if holes:
            span = seen.overlap(*_span(page, before, after))
            rest.holes.extend(of_chat(holes, chat_id, self._partitions, span))
        return wire.repeated(1, page.events) + rest.SerializeToString()

    async def _count_read(
        self, user_id: UserId, chat_id: ChatId, message_id: int, marks: Iterable[MarkRow]
    ) -> int:
        """Return how many others have read a message. `marks` has the user's own."""
        with self._reading("marks"):
            count = await self._history.groups.count_read(chat_id, message_id)
        own = any(each.user_id == user_id and each.read_up_to >= message_id for each in marks)
        return count - own

    async def _seen(self, user_id: UserId, chat_id: ChatId, request: Any) -> Seen:
        """Return what a user sees of a chat, once the history has what the token asks for. Raises
        `Refusal`.
        """
        if request.HasField("token"):
            await self.hold(request.token)
        if not is_group(chat_id):
            return await access.seen(self._history, user_id, chat_id)
        with self._reading("members"):
            return await access.seen(self._history, user_id, chat_id)

    async def _shown(
        self, chat_id: ChatId, page: Page, seen: Seen, *, is_cut: bool
    ) -> tuple[list[Folded], bool]:
        """Return the events of a page as they go out, and whether there are more. If it is cut,
        nothing is among them that its chat does not keep any more.
        """
        events = await self.folded(chat_id, page.events, seen)
        if not is_cut:
            return events, page.has_more
        shown = not_too_old(events, self._opening.kept_from(chat_id))
        return shown, page.has_more and len(shown) == len(events)

    async def folded(self, chat_id: ChatId, events: list[bytes], seen: Seen) -> list[Folded]:
        """Return events of a chat as they go out, with all changes that are stored by now."""
        if not events:
            return []
        with self._reading("changes"):
            changes = await self._history.changes(chat_id, changed_ids(events))
        known = changes_seen(changes, seen)
        plain, *of_each = await self._opening.events(events, *known.values())
        known = dict(zip(known, of_each, strict=True))
        return [folded(event, known) if known else Folded(event) for event in plain]

    async def chats(self, user_id: UserId, request: GetChatsRequest) -> bytes:
        """Return a page of the user's own chats, as a serialized `GetChatsResponse`. Raises
        `Refusal` (invalid_argument, behind).
        """
        if request.before < 0:
            raise Invalid(f"before is {request.before}: use a message id, or 0 for the newest")
        if request.before and request.HasField("after_chat_id"):
            raise Invalid("both before and after_chat_id are given: give only one of them")
        if request.HasField("token"):
            await self.hold(request.token)
        limit = self.limit(request.limit)
        with self._reading("chats"):
            if request.HasField("after_chat_id"):
                after = request.after_chat_id
                rows, has_more = await self._history.chats_by_id(user_id, after=after, limit=limit)
            else:
                before = request.before or None
                rows, has_more = await self._history.chats(user_id, before=before, limit=limit)
        with self._reading("holes"):
            holes = await self._history.holes()
        requests = await self._requests(user_id, rows)
        last = await self._last(rows)
        kept = first_within(last, self.config.history_page_max_bytes)
        has_more |= len(kept) < len(rows)
        chats = [_chat(user_id, row, each) for row, each in zip(rows, kept, strict=False)]
        for chat in chats:
            chat.is_request = chat.chat_id in requests
        for row, chat in zip(rows, chats, strict=False) if holes else ():
            chat.holes.extend(of_chat(holes, row.chat_id, self._partitions, _shown(row)))
        is_first = not request.before and not request.after_chat_id
        theirs = await self._holes_of(user_id, holes) if is_first else ()
        answer = GetChatsResponse(chats=chats, has_more=has_more, holes=theirs)
        return answer.SerializeToString()

    async def _requests(self, user_id: UserId, rows: Sequence[ChatRow]) -> set[ChatId]:
        if not self.config.of(user_id).strangers_messages_max:
            return set()
        with self._reading("messages"):
            return await self.contacts.requests(user_id, rows)

    async def _last(self, rows: Sequence[ChatRow]) -> list[Folded]:
        """Return the last messages of chats as they go out."""
        plain, *of_each = await self._opening.events(
            [row.last_event for row in rows], *(row.changes for row in rows)
        )
        return [
            folded(event, {row.last_message_id: changes})
            for row, event, changes in zip(rows, plain, of_each, strict=True)
        ]

    async def _holes_of(self, user_id: UserId, holes: list[Hole]) -> list[history_pb2.Hole]:
        """Return the holes in single chats that a user sees."""
        groups = {hole.chat_id for hole in holes if is_group(hole.chat_id)}
        seen = {each: await self._history.groups.seen(user_id, each) for each in groups}
        return of_user(holes, user_id, {each: found for each, found in seen.items() if found})

    async def group(self, user_id: UserId, request: GetGroupRequest) -> bytes:
        """Return what a group is, as a serialized `GetGroupResponse`. Raises `Refusal`
        (invalid_argument, not_found, behind).
        """
        chat_id = _group(request.chat_id)
        seen = await self._seen(user_id, chat_id, request)
        with self._reading("options"):
            options = await self._history.groups.options(chat_id, seen.as_of)
        answer = GetGroupResponse(
            options=GroupOptions.FromString(options), role=seen.role, as_of=seen.as_of
        )
        return answer.SerializeToString()

    async def members(self, user_id: UserId, request: ListMembersRequest) -> bytes:
        """Return a page of the members of a group, as a serialized `ListMembersResponse`. Raises
        `Refusal` (invalid_argument, not_found, behind).
        """
        chat_id = _group(request.chat_id)
        limit = self.limit(request.limit)
        if request.as_of < 0:
            raise Invalid(f"as_of is {request.as_of}: use that of the first page, or 0")
        seen = await self._seen(user_id, chat_id, request)
        as_of = min(request.as_of or seen.as_of, seen.as_of)
        if not seen.covers(as_of):  # they are not to know who was there then
            as_of = seen.as_of
        with self._reading("members"):
            people, has_more = await self._history.groups.people(
                chat_id, at=as_of, after=request.after_user_id, limit=limit
            )
        members = [_member(user, standing) for user, standing in people]
        answer = ListMembersResponse(members=members, has_more=has_more, as_of=as_of)
        return answer.SerializeToString()

    def _reading(self, table: str) -> AbstractContextManager[None]:
        attributes = {
            spans.DB: self._history.system,
            spans.DB_OPERATION: "SELECT",
            spans.DB_COLLECTION: table,
        }
        return self._tracer.child(spans.READ, attributes, name=f"SELECT {table}")

    def limit(self, limit: int) -> int:
        """Return how many a page has at most. Raises `Refusal` (invalid_argument)."""
        highest = self.config.history_page_max
        if not 0 <= limit <= highest:
            raise Invalid(f"limit is {limit}: use 1 to {highest}, or 0 for {PAGE_DEFAULT}")
        return limit or min(PAGE_DEFAULT, highest)

    async def hold(self, token: ReadToken) -> None:
        """Refuse the query if the history does not have all that the token asks for."""
        if token.log_id != self._log_id:
            raise Invalid(
                "the token is from another log: ask without a token, or with one from this log"
            )
        if unknown := [p for p in token.offsets if not 0 <= p < self._partitions]:
            raise Invalid(
                f"the token names partition {unknown[0]}, which does not exist: use 0 to "
                f"{self._partitions - 1}"
            )
        with self._reading("progress"):
            progress = await self._history.progress(token.log_id)
        check_reached(token, progress, "history", BEHIND_RETRY_MS)


def check_reached(
    token: ReadToken, progress: Mapping[int, Place], what: str, retry_after_ms: int
) -> None:
    """Refuse the query if what has this progress does not have all that the token asks for."""
    asked = {p: Place(token.clocks.get(p, 0), offset) for p, offset in token.offsets.items()}
    behind = [p for p, place in asked.items() if place.lies_above(progress.get(p, NOWHERE))]
    if behind:
        raise Refusal(
            errors_pb2.ERROR_CODE_BEHIND,
            f"the {what} is not that far yet in partitions {sorted(behind)[:8]}: ask again",
            retry_after_ms,
        )


def _bound(request: GetMessagesRequest, name: str) -> int | None:
    if request.WhichOneof("bound") != name:
        return None
    value: int = getattr(request, name)
    if value < 0:
        raise Invalid(f"{name} is {value}: use a message id, 0 or above")
    return value


def _span(page: Page, before: int | None, after: int | None) -> tuple[int, int]:
    """Return the lowest and the highest id that a page covers."""
    events = [Event.FromString(each) for each in (*page.events[:1], *page.events[-1:])]
    ends = page.has_more and bool(events)
    if after is not None:
        return after + 1, events[-1].id if ends else ALL[1]
    return events[0].id if ends else ALL[0], ALL[1] if before is None else before - 1


def _group(text: str) -> ChatId:
    chat_id = ids.chat_id(text)
    if not is_group(chat_id):
        raise Invalid(f"{chat_id} is a dialog, which has no members: use the id of a group")
    return chat_id


def _member(user_id: UserId, standing: Standing) -> Member:
    return Member(user_id=user_id, role=standing.role, is_invited=standing.is_invited)


def _shown(row: ChatRow) -> tuple[int, int]:
    """Return the span of ids in which its user is told of holes."""
    has_left = row.group is not None and not row.group.role
    return ALL[0], row.last_message_id if has_left else ALL[1]


def _chat(user_id: UserId, row: ChatRow, last: Folded) -> Chat:
    settings, settings_id = _settings(user_id, row.marks)
    return Chat(
        chat_id=row.chat_id,
        last_message=Event.FromString(last.event),
        last_message_state=last.state,
        unread_count=row.unread_count,
        unread_mention_count=row.unread_mention_count,
        marks=_marks(row.marks),
        last_change_id=row.last_change_id,
        options=GroupOptions.FromString(row.group.options) if row.group else None,
        role=row.group.role if row.group else ROLE_UNSPECIFIED,
        settings=settings,
        settings_id=settings_id,
    )


def _marks(rows: Iterable[MarkRow]) -> list[Mark]:
    return [
        Mark(user_id=r.user_id, delivered_up_to=r.delivered_up_to, read_up_to=r.read_up_to)
        for r in rows
        if r.delivered_up_to or r.read_up_to
    ]


def _settings(user_id: UserId, rows: Iterable[MarkRow]) -> tuple[ChatSettings | None, int]:
    """Return what the user has set for the chat of these marks, and the id of that event; None and
    0: nothing.
    """
    own = next((r for r in rows if r.user_id == user_id and r.settings), None)
    return (own.chat_settings, own.settings_id) if own else (None, 0)
