"""Every check of an edit, a deletion, a reaction, a reply and mentions, before one is accepted.

Whether a message has the id that is named is not known here. A change of nothing changes nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from cecochat.domain.changes import attachments, texts
from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log.ids import partition_in, user_id
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Deletion, Edit, Mention, Message, Reaction

EMOJI_MAX_BYTES = 64
MENTIONS_MAX = 50


def check_message(message: Message, text_max_bytes: int, id_max: Callable[[], int]) -> None:
    """Check a new message. `id_max` is only asked if it is a reply, or carries something. Raises
    `Refusal`.
    """
    if texts.has_text(message) or not message.attachments:
        check_text("message", message, text_max_bytes)
    attachments.check_sent(message.attachments, id_max)
    if message.reply_to_id:
        _check_id("message.reply_to_id", message.reply_to_id, id_max())
    _check_mentions(message.mentions)


def check_edit(edit: Edit, text_max_bytes: int, id_max: int, partition: int | None) -> None:
    """Check an edit by a user whose messages are of this partition; None: in a group, where all
    messages are of one. Raises `Refusal`.
    """
    check_text("edit", edit, text_max_bytes)
    _check_id("edit.message_id", edit.message_id, id_max)
    _check_own(edit.message_id, partition, "edit")
    _check_mentions(edit.mentions)


def check_deletion(deletion: Deletion, id_max: int, partition: int | None) -> None:
    """Check a deletion, as `check_edit` does. Whether the user is an admin of the group is left to
    its home. Raises `Refusal`.
    """
    _check_id("deletion.message_id", deletion.message_id, id_max)
    if deletion.as_admin and partition is not None:
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN, "a dialog has no admin: delete your own messages only"
        )
    _check_own(deletion.message_id, partition, "delete")


def check_reaction(reaction: Reaction, id_max: int) -> None:
    """Check a reaction. Raises `Refusal`."""
    _check_id("reaction.message_id", reaction.message_id, id_max)
    size = len(reaction.emoji.encode())
    if not 1 <= size <= EMOJI_MAX_BYTES:
        raise Invalid(f"reaction.emoji has {size} bytes: use 1 to {EMOJI_MAX_BYTES}")
    if any(_is_blank(each) for each in reaction.emoji):
        raise Invalid("reaction.emoji has a space or a control character: use an emoji")


def check_text(where: str, body: Message | Edit, max_bytes: int) -> None:
    """Check the text of a message or an edit, which may be sealed. Raises `Refusal`."""
    if not texts.has_text(body):
        raise Invalid(f"{where}.text is empty: send at least one character")
    if not texts.fits(body, max_bytes):
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"{where}.text has {texts.text_bytes(body)} bytes, and {max_bytes} are allowed: split "
            "it into several messages",
        )


def check_plain(body: Message | Edit) -> None:
    """Check what only the plain text shows. It depends on the body alone, so a repeat has the same
    outcome. Raises `Refusal`.
    """
    if body.sealed or body.erased or body.expired:
        raise Invalid("sealed, erased and expired are for servers: send the text as it is")
    if isinstance(body, Message) and any(each.sealed for each in body.attachments):
        raise Invalid("sealed is for servers: send attachments as FinishUpload gave them")
    for each in body.mentions:
        if each.start < 0 or each.length < 1 or each.start + each.length > len(body.text):
            raise Invalid(
                f"the mention of {each.user_id} is outside of the text: count in code points"
            )


def _is_blank(character: str) -> bool:
    category = unicodedata.category(character)
    return category == "Cc" or category.startswith("Z")


def _check_id(where: str, id_: int, id_max: int) -> None:
    if not 0 < id_ <= id_max:
        raise Invalid(f"{where} is {id_}, which no message has yet: use the id of a message")


def _check_own(message_id: int, partition: int | None, verb: str) -> None:
    """A message has the partition of its author in its id. Who shares it passes here, but readers
    see who wrote the message.
    """
    if partition is not None and partition_in(message_id) != partition:
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN,
            f"you did not write the message {message_id}: {verb} your own messages only",
        )


def _check_mentions(mentions: Sequence[Mention]) -> None:
    if len(mentions) > MENTIONS_MAX:
        raise Invalid(f"there are {len(mentions)} mentions: use at most {MENTIONS_MAX}")
    for each in mentions:
        user_id(each.user_id)
