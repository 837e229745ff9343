"""Every check of a client's frame and of its sends, before anything is done with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from google.protobuf.message import DecodeError

from cecochat.domain.changes import rights
from cecochat.domain.changes.texts import said
from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log import ids
from cecochat.domain.log.ids import UserId
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import ChatSettings, Receipt
from cecochat.v1.messaging_pb2 import ClientFrame, Send

FRAME_MAX_BYTES = 64 << 10
SENDS_PER_FRAME_MAX = 256
CLIENT_MESSAGE_ID_MAX_BYTES = 64
DEVICE_MAX_BYTES = 64


def parse(frame: bytes) -> ClientFrame:
    """Check the size of a frame and decode it. Raises `Refusal`."""
    if len(frame) > FRAME_MAX_BYTES:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"this frame has {len(frame)} bytes, and {FRAME_MAX_BYTES} are allowed: use several "
            "frames",
        )
    try:
        parsed = ClientFrame.FromString(frame)
    except DecodeError as error:
        raise Invalid(
            "this frame is not a cecochat.v1.ClientFrame: encode it as the proto says"
        ) from error
    if len(parsed.sends) > SENDS_PER_FRAME_MAX:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"this frame has {len(parsed.sends)} sends, and {SENDS_PER_FRAME_MAX} are allowed: use "
            "several frames",
        )
    parsed.DiscardUnknownFields()  # no limit counts them, and they would get into the log
    return parsed


def check_hello(frame: ClientFrame) -> None:
    """Check the first frame of a stream. Raises `Refusal`."""
    if not frame.HasField("hello") or frame.sends:
        raise Refusal(
            errors_pb2.ERROR_CODE_PROTOCOL,
            "the first frame of a stream has to be a hello without sends: send that first",
        )
    if len(frame.hello.device.encode()) > DEVICE_MAX_BYTES:
        raise Invalid(f"device is too long: use at most {DEVICE_MAX_BYTES} bytes")
    if len(frame.hello.device_id.encode()) > DEVICE_MAX_BYTES:
        raise Invalid(f"device_id is too long: use at most {DEVICE_MAX_BYTES} bytes")
    if frame.hello.position.offset < -1:
        raise Invalid("position.offset is too low: use -1 or above")


def check_later(frame: ClientFrame) -> None:
    """Check a frame after the first. Raises `Refusal`."""
    if frame.HasField("hello"):
        raise Refusal(
            errors_pb2.ERROR_CODE_PROTOCOL,
            "this stream has had its hello already: open a new stream to start again",
        )


def has_signals(frame: ClientFrame) -> bool:
    """Return whether a frame says anything about typing or presence."""
    return frame.HasField("typing") or frame.HasField("watch") or frame.HasField("invisible")


def check_plain(send: Send) -> None:
    """Check what only the plain text of a send shows, before it is sealed. Raises `Refusal`."""
    if (body := said(send)) is not None:
        rights.check_plain(body)


def check_send(
    user_id: UserId,
    send: Send,
    text_max_bytes: int,
    id_max: Callable[[], int],
    partition: int | None,
) -> tuple[UserId, ...]:
    """Check a send, whose text may be sealed, and return the other user of its dialog, who becomes
    its recipient; nobody in a group, whose home knows its members. `id_max` returns an id that no
    message so far has exceeded. `partition` is that of the user; None in a group, whose messages
    are all of its home. Raises `Refusal`.
    """
    if not 1 <= len(send.client_message_id.encode()) <= CLIENT_MESSAGE_ID_MAX_BYTES:
        raise Invalid(
            f"client_message_id is empty or too long: use 1 to {CLIENT_MESSAGE_ID_MAX_BYTES} bytes"
        )
    if send.seen_id < 0:
        raise Invalid("seen_id is negative: use the id of a message, or 0")
    recipients = _recipients(user_id, send.chat_id)
    match send.WhichOneof("body"):
        case "message":
            rights.check_message(send.message, text_max_bytes, id_max)
        case "receipt":
            _check_receipt(send.receipt, id_max())
        case "edit":
            rights.check_edit(send.edit, text_max_bytes, id_max(), partition)
        case "deletion":
            rights.check_deletion(send.deletion, id_max(), partition)
        case "reaction":
            rights.check_reaction(send.reaction, id_max())
        case "membership" if partition is None:
            pass  # the group checks it
        case "settings":
            _check_settings(send.settings)
            return ()
        case None:
            raise Invalid("this send has no body: give it one, for example a message")
        case kind:
            raise Refusal(
                errors_pb2.ERROR_CODE_UNIMPLEMENTED,
                f"{kind} is not built yet: send a message, a change of one, or a receipt",
            )
    return recipients


@lru_cache(maxsize=65_536)
def _recipients(user_id: UserId, chat_id: str) -> tuple[UserId, ...]:
    checked = ids.chat_id(chat_id)
    if ids.is_group(checked):
        ids.check_same_app(user_id, checked)
        return ()
    return ids.authorise(user_id, checked)


def _check_settings(settings: ChatSettings) -> None:
    if settings.muted_until_ms < 0:
        raise Invalid("settings.muted_until_ms is negative: use a time in ms since 1970, or 0")


def _check_receipt(receipt: Receipt, id_max: int) -> None:
    """Marks only move up, so a mark in the future would show every message until then as read."""
    marks = (receipt.delivered_up_to, receipt.read_up_to)
    if min(marks) < 0 or max(marks) > id_max:
        raise Invalid("receipt names ids that no message has yet: use ids of received messages")
