"""Knows how users are: whether they have sessions, what they have not read, and who is kept out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from cecochat.domain.errors import Unavailable
from cecochat.domain.hooks.silences import Count, Counts, Seen
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.domain.moderation.rules import Rules
from cecochat.internal.client import InternalClient
from cecochat.internal.v1.internal_pb2 import Query, UserSessions
from cecochat.ports.discovery import Instance
from cecochat.sealing.keyring import KeyRing
from cecochat.v1.events_pb2 import ROLE_UNSPECIFIED
from cecochat.v1.history_pb2 import Chat, GetChatsRequest, GetChatsResponse
from cecochat.v1.messaging_pb2 import ReadToken

ASK_S: Final = 3.0
Live = Callable[[], Sequence[Instance]]
"""Returns the live servers of a kind."""


class People:
    """What is known of users: by other servers, by the store of keys, and by the rules that it is
    given. Its client has tokens with the scope `pass_on`.
    """

    def __init__(
        self, client: InternalClient, owners: Live, histories: Live, log_id: str, ring: KeyRing
    ) -> None:
        self._client = client
        self._owners = owners
        self._histories = histories
        self._log_id = log_id
        self._ring = ring
        self._rules: Rules | None = None
        self._owner_of: dict[int, Instance] = {}
        self._turn = 0

    def moderate(self, rules: Rules) -> None:
        """Replace the rules that say who is banned."""
        self._rules = rules

    async def kept_out(self, user_ids: Collection[UserId], now_ms: int) -> set[UserId] | None:
        """Return which of these users can have no session, as they are banned or were erased; None:
        that is not known now.
        """
        if self._rules is None:
            return None
        try:
            gone = await self._ring.gone(user_ids)
        except Unavailable:
            return None
        return gone | {each for each in user_ids if self._rules.banned.get(each, 0) > now_ms}

    async def seen(
        self, partition: int, user_ids: Sequence[UserId], below: int
    ) -> dict[UserId, Seen]:
        """Return how the users of one partition are, as its owner says once it has read all records
        below an offset. Users of whom nobody says that are left out.
        """
        live = self._owners()
        known = self._owner_of.get(partition)
        for server in sorted(live, key=lambda each: each != known):
            said = await self._client.present(server, user_ids)
            if said:
                self._owner_of[partition] = server
                return {
                    user_id: _seen(each) for user_id, each in said.items() if each.read_to >= below
                }
        return {}

    async def counts(
        self, user_id: UserId, partition: int, below: Place, now_ms: int
    ) -> Counts | None:
        """Return what a user has not read in the chats that had a message last, by a history that
        has all of their partition below a place; None: none answers, or has that yet.
        """
        token = ReadToken(log_id=self._log_id, offsets={partition: below.offset - 1})
        request = GetChatsRequest(token=token).SerializeToString()
        live = self._histories()
        self._turn += 1
        if not live:
            return None
        query = Query(user_id=user_id, call="GetChats", request=request)
        said = await self._client.query(live[self._turn % len(live)], query)
        if said is None or said.WhichOneof("answer") != "response":
            return None
        try:
            answer = GetChatsResponse.FromString(said.response)
        except DecodeError:
            return None
        return {ChatId(each.chat_id): _count(each, now_ms) for each in answer.chats}


def _seen(said: UserSessions) -> Seen:
    positions = {each.session_id: each.position for each in said.sessions}
    return Seen(positions, said.silent_ms, said.last_session_id)


def _count(chat: Chat, now_ms: int) -> Count:
    has_left = chat.HasField("options") and chat.role == ROLE_UNSPECIFIED
    is_muted = has_left or chat.is_request or chat.settings.muted_until_ms > now_ms
    return Count(chat.unread_count, is_muted)
