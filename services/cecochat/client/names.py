"""What an application may call a chat: its id, or the user at the other end."""

from __future__ import annotations

from cecochat.client.errors import ChatError, refused
from cecochat.domain.errors import Refusal
from cecochat.domain.log import ids


def chat_of(me: str, chat: str) -> ids.ChatId:
    """The chat id for a chat id, or for a user id: the dialog with that user.

    A user id that begins with `g:` has to be given as a chat id. Raises `ChatError`.
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
    """The user at the other end of a dialog; a group's own id."""
    if not chat_id.startswith("d:"):
        return chat_id
    first, second = ids.participants(ids.ChatId(chat_id))
    return second if first == me else first
