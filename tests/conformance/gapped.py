"""What the history is asked while a device of the simulator fills a gap, as queries of the kit.

The simulator's pages hold one message or one hole. A page of the real history holds messages, and
the holes between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.json_format import MessageToDict

from cecochat.domain.device.device import Device
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import ReadToken
from tests.sim.history import History

ALL = 1_000
Query = dict[str, Any]
Page = Callable[[str, str, int, int], tuple[list[Event], bool]]


class Filled:
    """The queries of one gap."""

    def __init__(self, token: ReadToken) -> None:
        self.queries: list[Query] = []
        self.usable = True
        self._token = token
        self._chat = ""
        self._after = 0
        self._more = False  # pages of this chat
        self._holes: list[dict[str, str]] = []  # that the next page holds, too

    def overhear_chats(self, device: Device, history: History) -> Callable[[str, str], list[str]]:
        """Return what stands for `History.chats`, and notes the query."""
        ask = history.chats

        def chats(user: str, after: str) -> list[str]:
            found = ask(user, after)
            answer: Query = {"chats": [self._listed(user, each, history) for each in found]}
            if found:
                (self._chat,) = found
                self._after, self._more = device.shown_up_to(self._chat), True
                answer |= {"hasMore": True}
            self.queries.append(self._get_chats(after) | {"answer": answer})
            return found

        return chats

    def _listed(self, user: str, chat: str, history: History) -> Query:
        events, _ = history.page(user, chat, -1, ALL)
        messages = [each for each in events if each.HasField("message")]
        holes = [hole_of(each) for each in events if not each.HasField("message")]
        self.usable &= bool(messages)  # else only the holes of the list tell of this chat
        last = {"lastMessage": MessageToDict(messages[-1])} if messages else {}
        return {"chatId": chat, "holes": holes, **last}

    def overhear_page(self, ask: Page) -> Page:
        """Return what stands for `History.page`, and notes the query."""

        def page(user: str, chat: str, after: int, limit: int) -> tuple[list[Event], bool]:
            events, more = ask(user, chat, after, limit)
            if limit < ALL:
                self._note(events, more)
            return events, more

        return page

    def _note(self, events: list[Event], more: bool) -> None:
        self._more = more
        messages = [each for each in events if each.HasField("message")]
        self._holes += [hole_of(each) for each in events if not each.HasField("message")]
        if not messages and (more or not self._holes):
            return  # a real client knows by the list of chats that there is nothing
        answer = {"messages": [MessageToDict(each) for each in messages], "holes": self._holes}
        self.queries.append(self._get_messages() | {"answer": answer | {"hasMore": more}})
        self._after, self._holes = max([self._after, *(each.id for each in messages)]), []

    def following(self) -> Query:
        """Return the query that would come next."""
        self.usable &= not self._holes
        return self._get_messages() if self._more else self._get_chats(self._chat)

    def _get_chats(self, after: str) -> Query:
        return {"getChats": self._with_token({"afterChatId": after})}

    def _get_messages(self) -> Query:
        return {"getMessages": self._with_token({"chatId": self._chat, "after": str(self._after)})}

    def _with_token(self, request: Query) -> Query:
        return request | {"token": MessageToDict(self._token)}


def hole_of(event: Event, *, named: bool = True) -> dict[str, str]:
    """Return the hole of one message; not `named` as it is shown."""
    ids = {"chatId": event.chat_id, "firstId": str(event.id), "lastId": str(event.id)}
    hole = ids | {"reason": "REASON_REFUSED"}
    if named:
        hole |= {"userId": event.user_id, "clientMessageId": event.client_message_id}
    return hole
