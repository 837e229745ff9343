"""The names that an application may use for a chat: its id, or the user at the other end."""

from __future__ import annotations

from cecochat.client.errors import ChatError, refused
from cecochat.domain.errors import Refusal
from cecochat.domain.log import ids


def chat_of(me: str, chat: str) -> ids.ChatId:
    """Return the id of a chat that is named by its id, or by the user that `me` chats with.

    `g:ops` always means the group. To chat with a user of that name, give the chat id of the
    dialog. Raises `ChatError` if it is neither.
    """
    try:
        if "~" in chat or chat.startswith("g:"):
            return ids.chat_id(chat)
        return ids.chat_id(ids.dialog(ids.UserId(me), ids.user_id(chat)))
    except Refusal as refusal:
        raise _why(me, chat, refusal) from None


def _why(me: str, chat: str, refusal: Refusal) -> ChatError:
    if chat == me:
        return ChatError("invalid_argument", f"{me} has no chat with {me}: name another user")
    return refused(refusal.proto())


def peer_of(me: str, chat_id: str) -> str:
    """Return the user at the other end of a dialog, or the id of a group as it is."""
    if not chat_id.startswith("d:"):
        return chat_id
    first, second = ids.participants(ids.ChatId(chat_id))
    return second if first == me else first
