"""What may pass the edge: every check of a client's frame and of its sends, before anything is done
with them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from google.protobuf.message import DecodeError

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log import ids
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Receipt
from cecochat.v1.messaging_pb2 import ClientFrame, Send

FRAME_MAX_BYTES = 64 << 10
SENDS_PER_FRAME_MAX = 256
CLIENT_MESSAGE_ID_MAX_BYTES = 64
DEVICE_MAX_BYTES = 64


def parse(frame: bytes) -> ClientFrame:
    """Decode a frame after its size was checked. Raises `Refusal`."""
    if len(frame) > FRAME_MAX_BYTES:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"a frame of {len(frame)} bytes: send at most {FRAME_MAX_BYTES}, in several frames",
        )
    try:
        parsed = ClientFrame.FromString(frame)
    except DecodeError as error:
        raise Invalid(
            "the frame is no cecochat.v1.ClientFrame: encode it with the proto"
        ) from error
    if len(parsed.sends) > SENDS_PER_FRAME_MAX:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"{len(parsed.sends)} sends in a frame: use several frames",
        )
    parsed.DiscardUnknownFields()  # else bodies carry what no limit sees into log and history
    return parsed


def check_hello(frame: ClientFrame) -> None:
    """The first frame of a stream. Raises `Refusal`."""
    if not frame.HasField("hello") or frame.sends:
        raise Refusal(
            errors_pb2.ERROR_CODE_PROTOCOL,
            "the first frame has to be a hello, without sends: say hello",
        )
    if len(frame.hello.device.encode()) > DEVICE_MAX_BYTES:
        raise Invalid(f"device: at most {DEVICE_MAX_BYTES} bytes")
    if len(frame.hello.device_id.encode()) > DEVICE_MAX_BYTES:
        raise Invalid(f"device_id: at most {DEVICE_MAX_BYTES} bytes")
    if frame.hello.position.offset < -1:
        raise Invalid("position.offset: -1 or above")


def check_later(frame: ClientFrame) -> None:
    """A frame after the first. Raises `Refusal`."""
    if frame.HasField("hello"):
        raise Refusal(
            errors_pb2.ERROR_CODE_PROTOCOL, "a second hello: open a new stream to start again"
        )


def check_send(
    user: str, send: Send, text_max_bytes: int, id_max: Callable[[], int]
) -> tuple[str, ...]:
    """The other participants, to be frozen as recipients. `id_max`: no message id so far is higher.
    Raises `Refusal`.
    """
    if not 1 <= len(send.client_message_id.encode()) <= CLIENT_MESSAGE_ID_MAX_BYTES:
        raise Invalid(f"client_message_id: 1 to {CLIENT_MESSAGE_ID_MAX_BYTES} bytes")
    if send.seen_id < 0:
        raise Invalid("seen_id: the id of a message, or 0")
    recipients = _recipients(user, send.chat_id)
    match send.WhichOneof("body"):
        case "message":
            _check_text(send.message.text, text_max_bytes)
        case "receipt":
            _check_receipt(send.receipt, id_max())
        case None:
            raise Invalid("body: a send needs one, for example a message")
        case kind:
            raise Refusal(
                errors_pb2.ERROR_CODE_UNIMPLEMENTED,
                f"{kind} is not built yet: send a message or a receipt",
            )
    return recipients


@lru_cache(maxsize=65_536)
def _recipients(user: str, chat: str) -> tuple[str, ...]:
    return ids.authorise(ids.UserId(user), ids.chat_id(chat))


def _check_text(text: str, max_bytes: int) -> None:
    if not text:
        raise Invalid("message.text: empty; send at least one character")
    if len(text) * 4 > max_bytes and (size := len(text.encode())) > max_bytes:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"a text of {size} bytes: at most {max_bytes}, split it into several messages",
        )


def _check_receipt(receipt: Receipt, id_max: int) -> None:
    """Marks only move up: one in the future would call everything read until then."""
    marks = (receipt.delivered_up_to, receipt.read_up_to)
    if min(marks) < 0 or max(marks) > id_max:
        raise Invalid("receipt: use ids of messages that were received")
