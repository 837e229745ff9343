"""What the Python client did in one step, in the words of the kit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable
from typing import Any

from google.protobuf.json_format import MessageToDict

from cecochat.client import events
from cecochat.client.errors import ChatError, SendRejected
from cecochat.client.group import GroupChange, role_number, to_proto
from cecochat.client.settings import SettingsChanged
from cecochat.client.settings import to_proto as to_settings
from cecochat.client.timeline import event_of_change
from cecochat.domain.session.intake import CLIENT_MESSAGE_ID_MAX_BYTES
from cecochat.v1 import events_pb2
from cecochat.v1.messaging_pb2 import ClientFrame, Limits

TOKEN, NEXT_TOKEN = "a token", "the next token"
FRAME_MAX_BYTES, SENDS_MAX = 64 << 10, 256


class Names:
    """What a case calls the client message ids that the client has chosen itself: `chosen-1` and so
    on, in the order in which they are written.
    """

    def __init__(self) -> None:
        self.given: set[str] = set()  # by the case
        self._chosen: dict[str, str] = {}

    def name(self, id_: str) -> str:
        """Return what the case calls an id."""
        if id_ in self.given:
            return id_
        assert 1 <= len(id_.encode()) <= CLIENT_MESSAGE_ID_MAX_BYTES
        return self._chosen.setdefault(id_, f"chosen-{len(self._chosen) + 1}")


class Outcome:
    """What happened in a step; `found` has the same keys as a step of the kit."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.found: dict[str, Any] = {}

    def _add(self, key: str, what: Any) -> None:
        self.found.setdefault(key, []).append(what)

    # -- towards the server

    def written(self, frames: Iterable[ClientFrame], limits: Limits) -> None:
        """Note what the client has written."""
        for frame in frames:
            assert frame.ByteSize() <= (limits.frame_max_bytes or FRAME_MAX_BYTES)
            assert len(frame.sends) <= (limits.sends_per_frame_max or SENDS_MAX)
            if frame.HasField("hello"):
                frame.hello.ClearField("device")  # free, and so is the token
                self.found["hello"] = MessageToDict(frame.hello)
                assert not frame.sends
            if frame.renewed_token:
                assert frame.renewed_token == NEXT_TOKEN
                self.found["renews"] = True
            for send in frame.sends:
                send.client_message_id = self._names.name(send.client_message_id)
                self._add("sends", MessageToDict(send))
                self.found["offset"] = str(frame.offset)

    # -- towards the application

    def answered(self, id_: str, answer: asyncio.Future[int]) -> None:
        """Note the answer to a send."""
        if error := answer.exception():
            assert isinstance(error, SendRejected)
            self._rejected(id_, error)
        else:
            self._sent(id_, answer.result())

    def _sent(self, id_: str, message_id: int) -> None:
        self._add("sent", {"clientMessageId": id_, "messageId": str(message_id)})

    def _rejected(self, id_: str, error: ChatError) -> None:
        code = f"ERROR_CODE_{error.code.upper()}"
        self._add("rejected", {"clientMessageId": id_, "code": code})

    def told(self, event: events.Event | None) -> None:
        """Note what the application was told."""
        match event:
            case events.Message(id, chat_id, user_id, text):
                shown = {"id": str(id), "chatId": chat_id, "userId": user_id, "text": text}
                self._add("shows", shown)
            case events.Edit() | events.Deletion() | events.Reaction() | GroupChange():
                if event.client_message_id in self._names.given:
                    self._sent(event.client_message_id, event.id)
                else:
                    self._add("shows", _change(event))
            case SettingsChanged(client_message_id=id_) if id_ in self._names.given:
                self._sent(id_, event.id)
            case SettingsChanged():
                self._add("shows", _settings(event))
            case events.Hole(chat_id, first_id, last_id, reason):
                hole = {"chatId": chat_id, "firstId": str(first_id), "lastId": str(last_id)}
                self._add("shows", {"hole": hole | {"reason": f"REASON_{reason.upper()}"}})
            case events.Receipt():
                self._marked(event)
            case events.Sent(message):
                self._sent(message.client_message_id, message.id)
            case events.Rejected(_, id_, _, error):
                self._rejected(id_, error)
            case events.CaughtUp():
                self.found["caughtUp"] = True

    def _marked(self, receipt: events.Receipt) -> None:
        chat = self.found.setdefault("marks", {}).setdefault(receipt.chat_id, {})
        marks = chat.setdefault(receipt.user_id, {"deliveredUpTo": "0", "readUpTo": "0"})
        told = {"deliveredUpTo": receipt.delivered_up_to, "readUpTo": receipt.read_up_to}
        for name, id_ in told.items():
            marks[name] = str(max(int(marks[name]), id_))

    def stored(self, kept: dict[str, Any], keys: Collection[str]) -> None:
        """Note what a restart would find."""
        all_of_it = {
            "position": kept["position"],
            "unanswered": [self._names.name(each["clientMessageId"]) for each in kept["outbox"]],
            "shown": {chat: marks for chat, marks in kept["shown"].items() if marks},
        }
        self.found["stores"] = {key: all_of_it[key] for key in keys}


def _change(event: events.Change | GroupChange) -> dict[str, Any]:
    if isinstance(event, GroupChange):
        return _group_change(event)
    body = MessageToDict(event_of_change(event))
    kind = type(event).__name__.lower()
    place = {"id": str(event.id), "chatId": event.chat_id, "userId": event.user_id}
    return {kind: place | body[kind]}


def _group_change(change: GroupChange) -> dict[str, Any]:
    appointments = [
        events_pb2.Appointment(user_id=each.user_id, role=role_number(each.role))
        for each in change.appointed
        if each.role
    ]
    body = events_pb2.Membership(
        added_ids=change.added,
        removed_ids=change.removed,
        invited_ids=change.invited,
        appointments=appointments,
        options=to_proto(change.options) if change.options else None,
    )
    place = {"id": str(change.id), "chatId": change.chat_id, "userId": change.user_id}
    return {"membership": place | MessageToDict(body)}


def _settings(changed: SettingsChanged) -> dict[str, Any]:
    place = {"id": str(changed.id), "chatId": changed.chat_id}
    return {"settings": place | MessageToDict(to_settings(changed.settings))}


def query_of(query: dict[str, Any]) -> dict[str, Any]:
    """Return what a query of a case asks, without its answer."""
    return {name: query[name] for name in ("getChats", "getMessages") if name in query}


def asked(made: Iterable[dict[str, Any]], scripted: Iterable[dict[str, Any]]) -> Any:
    """Return the queries that were made, but for those that a case leaves to the client."""
    optional = [query_of(each) for each in scripted if each.get("optional")]
    return in_order(each for each in made if each not in optional)


def in_order(queries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return queries in some order that does not depend on when each was made."""
    return sorted(queries, key=lambda query: json.dumps(query, sort_keys=True))
