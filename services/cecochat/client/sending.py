"""What an application sends: messages, and changes of messages."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from uuid import uuid4

from cecochat.client.arguments import (
    check_attachments,
    check_client_message_id,
    check_emoji,
    check_mentions,
    check_message_id,
    check_text,
)
from cecochat.client.attachments import Attachment, attachment_proto
from cecochat.client.errors import ChatError, Refused
from cecochat.client.events import (
    Change,
    Deletion,
    Edit,
    Mention,
    Reaction,
    change_of,
    event_of_send,
    to_proto,
)
from cecochat.client.local import LocalDevice
from cecochat.client.names import chat_of
from cecochat.client.settings import ChatSettings, SettingsChanged, settings_event_of
from cecochat.client.settings import to_proto as settings_to_proto
from cecochat.client.tracing import answered, refused, sending
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import events_pb2
from cecochat.v1.messaging_pb2 import Send

UNANSWERED_MAX = 1_000  # sends that may wait for their acknowledgement


class Sending(ABC):
    """The part of `Client` that sends.

    What is sent waits while there is no connection, and is sent again by itself until it is
    answered.
    """

    def __init__(self, local: LocalDevice) -> None:
        self._local = local
        self._room = asyncio.Semaphore(UNANSWERED_MAX)
        self._read: dict[ChatId, int] = {}  # chat id -> the highest message id that was read

    @property
    def user_id(self) -> str:
        """The id of the user that this device belongs to."""
        return self._local.user_id

    async def send(
        self,
        to: str,
        text: str,
        *,
        client_message_id: str | None = None,
        reply_to_id: int = 0,
        mentions: Sequence[Mention] = (),
        attachments: Sequence[Attachment] = (),
    ) -> int:
        """Send a message to a user or a chat. Return its id once it can no longer be lost.

        It waits while there is no connection. If it is cancelled, the message may still be
        accepted. Sending it again with the same `client_message_id` (1 to 64 bytes) gives the same
        id, for as long as the server remembers the message: 10 minutes, unless the operator has
        changed `resend.window_s`. Later, it may be taken for a new one. What is queued in the
        client is sent again by itself.

        `reply_to_id` is the message of the same chat that it answers. At most 50 `mentions` say
        which users the text names. `attachments` are what `files.upload` has returned for this
        message, which needs no text then.

        Raises `InvalidArgument`, `SendRejected`, `Closed`, `NotRead`, or the error that ended the
        client.
        """
        posting = self.post(
            to,
            text,
            client_message_id=client_message_id,
            reply_to_id=reply_to_id,
            mentions=mentions,
            attachments=attachments,
        )
        return await (await posting)

    async def post(
        self,
        to: str,
        text: str,
        *,
        client_message_id: str | None = None,
        reply_to_id: int = 0,
        mentions: Sequence[Mention] = (),
        attachments: Sequence[Attachment] = (),
    ) -> asyncio.Future[int]:
        """Queue a message, and return a future with its id. Use this for many messages in a row.

        It waits while 1,000 messages are unanswered. It raises as `send`, and so does the future.
        """
        send = Send(chat_id=chat_of(self.user_id, to))
        if text or not attachments:
            self._check_text(text, mentions)
        self._check_attachments(attachments)
        check_message_id("reply_to_id", reply_to_id)
        message = send.message
        message.text, message.reply_to_id = text, reply_to_id
        message.mentions.extend(map(to_proto, mentions))
        message.attachments.extend(map(attachment_proto, attachments))
        return await self._queue(send, client_message_id)

    # -- changes of messages

    async def edit(
        self,
        chat: str,
        message_id: int,
        text: str,
        *,
        mentions: Sequence[Mention] = (),
        client_message_id: str | None = None,
    ) -> Edit:
        """Give an own message another text. Return the edit once it can no longer be lost.

        An edit of a message that is not there, or that is deleted, changes nothing. Nor does one
        of another user's message: `SendRejected` has the code `forbidden` where the server sees
        that, which it does not in groups. Sending it again with the same `client_message_id`
        makes no second one. Raises as `send`.
        """
        send = self._send_to(chat, message_id)
        self._check_text(text, mentions)
        mentioned = map(to_proto, mentions)
        send.edit.CopyFrom(events_pb2.Edit(message_id=message_id, text=text, mentions=mentioned))
        change = await self._change(send, client_message_id)
        assert isinstance(change, Edit)
        return change

    async def delete(
        self,
        chat: str,
        message_id: int,
        *,
        as_admin: bool = False,
        client_message_id: str | None = None,
    ) -> Deletion:
        """Delete an own message for everybody, for good. Works and raises like `edit`.

        With `as_admin`, an admin of a group deletes the message of another member.
        """
        send = self._send_to(chat, message_id)
        send.deletion.message_id, send.deletion.as_admin = message_id, as_admin
        change = await self._change(send, client_message_id)
        assert isinstance(change, Deletion)
        return change

    async def react(
        self,
        chat: str,
        message_id: int,
        emoji: str,
        *,
        removed: bool = False,
        client_message_id: str | None = None,
    ) -> Reaction:
        """Add an emoji to a message, or take it back if `removed`. Works like `edit`, on every
        message of the chat.
        """
        check_emoji(emoji)
        send = self._send_to(chat, message_id)
        send.reaction.message_id = message_id
        send.reaction.emoji, send.reaction.removed = emoji, removed
        change = await self._change(send, client_message_id)
        assert isinstance(change, Reaction)
        return change

    async def set_chat(
        self, chat: str, settings: ChatSettings, *, client_message_id: str | None = None
    ) -> SettingsChanged:
        """Set how this user wants to have a chat, on all their devices: all of it, also what stays
        as it is (`Chat.settings`). Return it once it can no longer be lost. Raises as `send`.
        """
        send = Send(chat_id=chat_of(self.user_id, chat), settings=settings_to_proto(settings))
        id_ = await (await self._queue(send, client_message_id))
        return settings_event_of(event_of_send(self.user_id, send, id_))

    def _send_to(self, chat: str, message_id: int) -> Send:
        check_message_id("message_id", message_id)
        return Send(chat_id=chat_of(self.user_id, chat))

    async def _change(self, send: Send, client_message_id: str | None) -> Change:
        id_ = await (await self._queue(send, client_message_id))
        change = change_of(event_of_send(self.user_id, send, id_))
        assert change is not None
        return change

    # -- queueing

    def _check_text(self, text: str, mentions: Sequence[Mention]) -> None:
        check_text(text, self._local.welcome.limits.frame_max_bytes)
        check_mentions(mentions, text)

    def _check_attachments(self, attachments: Sequence[Attachment]) -> None:
        check_attachments(attachments)
        if attachments and not self._local.welcome.takes_attachments:
            raise Refused("unimplemented", "this server takes no attachments: send text alone")

    async def _queue(self, send: Send, client_message_id: str | None) -> asyncio.Future[int]:
        if client_message_id is None:
            client_message_id = uuid4().hex
        check_client_message_id(client_message_id)
        send.client_message_id = client_message_id
        send.seen_id = self._read.get(ChatId(send.chat_id), 0)
        await self._room.acquire()
        span = sending(send)
        try:
            self._check_open()
            answer = self._local.submit(send)
        except ChatError as error:
            self._room.release()
            refused(span, error)
            raise
        if span:
            answer.add_done_callback(partial(answered, span))
        answer.add_done_callback(lambda _: self._room.release())
        return answer

    @abstractmethod
    def _check_open(self) -> None:
        """Raise `ChatError` if nothing can be sent any more."""
