"""The names that an application may use for a chat: its id, or the user at the other end."""

from __future__ import annotations

from cecochat.client.errors import InvalidArgument
from cecochat.domain.errors import Refusal
from cecochat.domain.log import ids


def chat_of(me: str, chat: str) -> ids.ChatId:
    """Return the id of a chat that is named by its id, or by the user that `me` chats with.

    `g:ops` always means the group. To chat with a user of that name, give the chat id of the
    dialog. Raises `InvalidArgument` if it is neither.
    """
    if not isinstance(chat, str):
        raise InvalidArgument(f"{chat!r} names no user and no chat: pass a str")
    try:
        if "~" in chat or ids.is_group(chat):
            return ids.chat_id(chat)
        return ids.chat_id(ids.dialog(ids.UserId(me), ids.user_id(chat)))
    except Refusal as refusal:
        raise _why(me, chat, refusal) from None


def group_id(chat: str) -> ids.ChatId:
    """Check the chat id of a group. Raises `InvalidArgument`."""
    if not isinstance(chat, str) or not ids.is_group(chat):
        raise InvalidArgument(
            f"{chat!r} is no group: use its chat id, which begins with g:, such as g:hikers"
        )
    try:
        return ids.chat_id(chat)
    except Refusal:
        raise InvalidArgument(
            f"{chat[:80]!r} is no id of a group: use g: and 1 to 64 letters, digits and . _ : @ + -"
        ) from None


def check_user(user: str) -> str:
    """Check a user id, and return it. Raises `InvalidArgument`."""
    try:
        return ids.user_id(user)
    except (Refusal, TypeError):
        raise InvalidArgument(f"{user!r:.80} is no user id") from None


def _why(me: str, chat: str, refusal: Refusal) -> InvalidArgument:
    if chat == me:
        return InvalidArgument(f"{me} has no chat with {me}: name another user")
    if "~" not in chat and (app := ids.app_of(me)) != ids.app_of(chat):
        whose = f"the ids of your app begin with {app}/" if app else "you belong to no app"
        return InvalidArgument(f"{chat[:80]} does not belong to your app: {whose}")
    return InvalidArgument(refusal.message)


def peer_of(me: str, chat_id: str) -> str:
    """Return the user at the other end of a dialog, or the id of a group as it is.

    Raises `InvalidArgument` if it is no chat id.
    """
    if not isinstance(chat_id, str):
        raise InvalidArgument(f"{chat_id!r} is no chat id: pass a str")
    try:
        checked = ids.chat_id(chat_id)
    except Refusal as refusal:
        raise InvalidArgument(refusal.message) from None
    if ids.is_group(checked):
        return checked
    first, second = ids.participants(checked)
    return second if first == me else first
