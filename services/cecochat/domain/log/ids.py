"""User ids, chat ids and message ids: what they look like, checked once, at the edge.

The ids of an app, one of several products on a system, begin with its name: `shop/alice`,
`d:shop/alice~shop/bob`, `g:shop/team`. All users of a chat are of one app.
"""

from __future__ import annotations

import re
from typing import NewType

from cecochat.domain.errors import Invalid, Refusal
from cecochat.v1 import errors_pb2

UserId = NewType("UserId", str)
ChatId = NewType("ChatId", str)
MessageId = NewType("MessageId", int)

EPOCH_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z, in ms since 1970
PARTITION_BITS = 12
SEQUENCE_BITS = 10
SEQUENCE_MAX = (1 << SEQUENCE_BITS) - 1
STAMP_MAX = (1 << 63 - PARTITION_BITS) - 1  # an id has 63 bits: in the year 2089
PARTITIONS_MAX = 1 << PARTITION_BITS

APP_MAX = 20
_APP = rf"[a-z0-9][a-z0-9\-]{{0,{APP_MAX - 1}}}"
_ID = rf"(?=.{{1,64}}\Z)(?:{_APP}/)?[A-Za-z0-9._:@+\-]+\Z"
_IS_APP = re.compile(rf"{_APP}\Z")
_USER_ID = re.compile(_ID)
_GROUP_ID = re.compile(f"g:{_ID}")


def user_id(text: str) -> UserId:
    """Check a user id: 1 to 64 ASCII letters, digits and `. _ : @ + -`, which the name of an app
    and `/` may come before, counted with it. Raises `Refusal`.
    """
    if not _USER_ID.match(text):
        raise Invalid(
            f"{text[:80]!r} is no user id: use 1 to 64 letters, digits and . _ : @ + -",
        )
    return UserId(text)


def app_name(text: str) -> str:
    """Check the name of an app: 1 to 20 of a-z, 0-9 and -. Raises `Refusal`."""
    if not _IS_APP.match(text):
        raise Invalid(f"{text[:80]!r} is no name of an app: use 1 to {APP_MAX} of a-z, 0-9 and -")
    return text


def of_app(app: str, name: str) -> str:
    """Return the id, still to be checked, of a name in an app; "": there is no app."""
    return f"{app}/{name}" if app else name


def app_of(id_: str) -> str:
    """Return the app of a user id or a chat id; "": it is of none."""
    app, slash, _ = id_.removeprefix("d:").removeprefix("g:").partition("/")
    return app if slash else ""


def fellow(user: str, other: str) -> UserId:
    """Check the id of another user of a user's app. Raises `Refusal`."""
    checked = user_id(other)
    check_same_app(user, checked)
    return checked


def check_same_app(user: str, id_: str) -> None:
    """Raise `Refusal` if a user or a chat is not of the same app as a user."""
    if app_of(user) != app_of(id_):
        mine = app_of(user)
        which = f"ids of your app begin with {mine}/" if mine else "you belong to no app"
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN, f"{id_} does not belong to your app: {which}"
        )


def dialog(a: UserId, b: UserId) -> ChatId:
    """Return the dialog of two users. The order of the arguments does not matter."""
    return ChatId(f"d:{min(a, b)}~{max(a, b)}")


def chat_id(text: str) -> ChatId:
    """Check a chat id: `d:a~b` with a < b in byte order, or `g:` and an id. Raises `Refusal`."""
    first, _, second = text[2:].partition("~")
    is_dialog = text.startswith("d:") and _USER_ID.match(first) and _USER_ID.match(second)
    if is_dialog and first < second and app_of(first) == app_of(second):
        return ChatId(text)
    if _GROUP_ID.match(text):
        return ChatId(text)
    raise Invalid(
        f"{text[:140]!r} is no chat id: a dialog is d:<user>~<user> with the two ids in byte "
        "order and of one app, and a group is g:<id>",
    )


def is_group(chat_id: str) -> bool:
    """Return whether a chat is a group; if not, it is a dialog."""
    return chat_id.startswith("g:")


def participants(chat_id: ChatId) -> tuple[UserId, ...]:
    """Return the two users of a dialog. Raises `Refusal` for a group, as only its home can say."""
    if is_group(chat_id):
        raise Refusal(
            errors_pb2.ERROR_CODE_UNIMPLEMENTED,
            f"{chat_id} is a group, and this is not built for groups yet: use a dialog",
        )
    first, _, second = chat_id[2:].partition("~")
    return UserId(first), UserId(second)


def authorise(user_id: UserId, chat_id: ChatId) -> tuple[UserId, ...]:
    """Return the other participants of a chat. Raises `Refusal` if the user does not take part in
    it.
    """
    members = participants(chat_id)
    if user_id not in members:
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN,
            f"{user_id} is not a participant of {chat_id}: use a chat of your own",
        )
    return tuple(member for member in members if member != user_id)


def message_id(stamp: int, partition: int) -> MessageId:
    """Make a message id of a stamp (ms since 2020 << 10 | sequence) and the sender's partition."""
    time_ms, sequence = stamp >> SEQUENCE_BITS, stamp & SEQUENCE_MAX
    return MessageId(
        time_ms << (PARTITION_BITS + SEQUENCE_BITS) | partition << SEQUENCE_BITS | sequence
    )


def stamp_at(time_ms_: int) -> int:
    """Return the first stamp of a millisecond, which is given in ms since 1970."""
    return time_ms_ - EPOCH_MS << SEQUENCE_BITS


def stamp_of(id_: int) -> int:
    """Return the stamp of a message id: the id without its partition."""
    return id_ >> (PARTITION_BITS + SEQUENCE_BITS) << SEQUENCE_BITS | id_ & SEQUENCE_MAX


def partition_in(id_: int) -> int:
    """Return the partition of the sender that a message id names."""
    return id_ >> SEQUENCE_BITS & PARTITIONS_MAX - 1


def time_ms(id_: int) -> int:
    """Return when a message was accepted, in ms since 1970 by the clock of the server that did."""
    return (id_ >> (PARTITION_BITS + SEQUENCE_BITS)) + EPOCH_MS
