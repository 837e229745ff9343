"""Checks what an application passes to the client. Each raises `InvalidArgument`.

A check refuses only what no server would ever accept. What a setting of the server decides, such as
the longest text, the server decides: it may have changed since the client connected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from urllib.parse import urlsplit

from cecochat.client.attachments import Attachment
from cecochat.client.errors import InvalidArgument
from cecochat.client.events import Mention
from cecochat.client.group import ROLES
from cecochat.client.options import TRANSPORTS
from cecochat.domain.changes.attachments import ATTACHMENTS_MAX
from cecochat.domain.changes.rights import EMOJI_MAX_BYTES, MENTIONS_MAX
from cecochat.domain.errors import Refusal
from cecochat.domain.groups.group import CHANGE_MAX, NAME_MAX
from cecochat.domain.log.ids import user_id
from cecochat.domain.session.intake import (
    CLIENT_MESSAGE_ID_MAX_BYTES,
    DEVICE_MAX_BYTES,
    FRAME_MAX_BYTES,  # of a server that does not say it
)

SEND_HEAD_BYTES = 1 << 10  # above what a send has besides its text
LIMIT_MAX = (1 << 31) - 1
MESSAGE_ID_MAX = (1 << 63) - 1


def check_url(url: object) -> None:
    """Check the URL of a connect server."""
    try:
        parts = urlsplit(_text("the connect URL", url))
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number, or brackets are missing
        valid = False
    if not valid:
        raise InvalidArgument(
            f"{url!r} is not the URL of a connect server: use one such as https://chat.example.com"
        )


def check_token(token: object) -> None:
    """Check a token, or see that it is a function."""
    if not callable(token) and not _may_be_token(token):
        raise InvalidArgument(
            "the token is empty or malformed: use the one that the user was given"
        )


def check_supplied(token: object) -> None:
    """Check what the application's function returned as a token. It is not in the error."""
    if not _may_be_token(token):
        what = "an empty or malformed string" if isinstance(token, str) else type(token).__name__
        raise InvalidArgument(
            f"the function `token` returned {what}: return the user's token, a str, or raise an "
            "error while there is none"
        )


def _may_be_token(token: object) -> bool:
    return isinstance(token, str) and token.isascii() and token.isprintable() and token != ""


def check_device(label: object) -> None:
    """Check the label of a device."""
    if len(_encoded("device", label)) > DEVICE_MAX_BYTES:
        raise InvalidArgument(f"device is too long: use at most {DEVICE_MAX_BYTES} bytes")


def check_transport(name: object) -> None:
    """Check the name of a transport, and that what it needs is installed."""
    if name not in TRANSPORTS:
        raise InvalidArgument(f"transport is {name!r}: use one of {', '.join(TRANSPORTS)}")
    if name == "websocket" and find_spec("picows") is None:
        raise InvalidArgument(
            "transport='websocket' needs picows: `pip install picows`, or install cecochat with "
            "the extra websocket"
        )


def check_seconds(name: str, value: object) -> None:
    """Check a duration."""
    if not isinstance(value, int | float) or not value >= 0:
        raise InvalidArgument(f"{name} is {value!r}: use a number of seconds")


def check_text(text: object, frame_max_bytes: int) -> None:
    """Check the text of a message. `frame_max_bytes` is what a server takes at once; if that leaves
    no room for any text, it counts as not said.
    """
    size = len(_encoded("text", text))
    said = frame_max_bytes > SEND_HEAD_BYTES
    max_bytes = (frame_max_bytes if said else FRAME_MAX_BYTES) - SEND_HEAD_BYTES
    if not size:
        raise InvalidArgument("text is empty: send at least one character")
    if size > max_bytes:
        raise InvalidArgument(
            f"text has {size} bytes, and no server takes more than {max_bytes}: split it into "
            "several messages"
        )


def check_emoji(emoji: object) -> None:
    """Check an emoji."""
    if not 1 <= len(_encoded("emoji", emoji)) <= EMOJI_MAX_BYTES:
        raise InvalidArgument(f"{emoji!r} is no emoji: use 1 to {EMOJI_MAX_BYTES} bytes")


def check_people(users: Sequence[object]) -> None:
    """Check the user ids that one change of a group names."""
    if len(users) > CHANGE_MAX:
        raise InvalidArgument(
            f"{len(users)} people are too many for one change: make several of {CHANGE_MAX} each"
        )
    for user in users:
        try:
            user_id(_text("a user id", user))
        except Refusal as refusal:
            raise InvalidArgument(refusal.message) from None


def check_role(role: object) -> None:
    """Check the name of a role."""
    if role not in ROLES:
        raise InvalidArgument(f"{role!r} is no role: use one of {', '.join(ROLES)}")


def check_options(options: Mapping[str, object]) -> None:
    """Check those options of a group that are given, by name."""
    for option, value in options.items():
        if option == "name":
            check_group_name(value)
        elif not isinstance(value, bool):
            raise InvalidArgument(f"{option} is {value!r}: use True or False")


def check_group_name(name: object) -> None:
    """Check what a group is called."""
    _encoded("name", name)
    if not (text := _text("name", name)).strip() or len(text) > NAME_MAX:
        raise InvalidArgument(
            f"{text[:80]!r} is no name of a group: use 1 to {NAME_MAX} characters"
        )


def check_mentions(mentions: Sequence[Mention], text: str) -> None:
    """Check the mentions in a text."""
    if len(mentions) > MENTIONS_MAX:
        raise InvalidArgument(
            f"there are {len(mentions)} mentions: use at most {MENTIONS_MAX}, which every server "
            "accepts"
        )
    for each in mentions:
        if each.start < 0 or each.length < 1 or each.start + each.length > len(text):
            raise InvalidArgument(f"{each} is outside of the text: use a part of it")


def check_attachments(attachments: Sequence[Attachment]) -> None:
    """Check what a message is to carry."""
    if len(attachments) > ATTACHMENTS_MAX:
        raise InvalidArgument(
            f"there are {len(attachments)} attachments: use at most {ATTACHMENTS_MAX}, which every "
            "server accepts"
        )
    if any(not each.receipt for each in attachments):
        raise InvalidArgument("an attachment has no receipt: use what `files.upload` has returned")


def check_client_message_id(id_: object) -> None:
    """Check an id that the application has chosen."""
    if not 1 <= len(_encoded("client_message_id", id_)) <= CLIENT_MESSAGE_ID_MAX_BYTES:
        raise InvalidArgument(
            f"client_message_id is empty or too long: use 1 to {CLIENT_MESSAGE_ID_MAX_BYTES} bytes"
        )


def check_count(name: str, value: object) -> None:
    """Check a number of things, such as `limit`."""
    if not isinstance(value, int) or not 1 <= value <= LIMIT_MAX:
        raise InvalidArgument(f"{name} is {value!r}: use a whole number, 1 or more")


def check_message_id(name: str, value: object) -> None:
    """Check a message id, or 0."""
    if not isinstance(value, int) or not 0 <= value <= MESSAGE_ID_MAX:
        raise InvalidArgument(f"{name} is {value!r}: use the id of a message, an int")


def check_search(text: object) -> None:
    """Check what is looked for."""
    if not _encoded("text", text).strip():
        raise InvalidArgument("text is empty: give words to look for")


def check_page(limit: object, before: object, after: object = None) -> None:
    """Check what says which page of a list is wanted."""
    check_count("limit", limit)
    if before is not None and after is not None:
        raise InvalidArgument("both before and after are given: give only one of them")
    for name, bound in (("before", before), ("after", after)):
        if bound is not None:
            check_message_id(name, bound)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} is {value!r}: pass a str")
    return value


def _encoded(name: str, value: object) -> bytes:
    try:
        return _text(name, value).encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{name} holds half of a surrogate pair, which is no text") from None
