"""Frames as an attacker or a broken client writes them, drawn from a seed, and what the protocol
says to each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from google.protobuf.message import DecodeError

from cecochat.v1 import errors_pb2
from cecochat.v1.errors_pb2 import ErrorCode
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Position, Send, TypingIn, Watch

FRAME_MAX_BYTES = 64 << 10
SENDS_MAX = 256
DEVICE_MAX_BYTES = 64
FIRST_OFFSET = 0  # a young log covers it, so that a send is judged for itself
ALG_NONE = "eyJhbGciOiJub25lIn0.e30."
GROUP_START, GROUP_END = 3, 4  # wire types
NOT_UTF8 = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"a\x80")

Mutation = Callable[[Random, Sequence[bytes]], bytes]


class Conversation(NamedTuple):
    """The frames of one stream, in order: only the last one ends it, with `ends_with`."""

    frames: list[bytes]
    ends_with: ErrorCode.ValueType


def hello(user: str = "phone") -> bytes:
    """The frame that opens a session."""
    return ClientFrame(hello=Hello(device=user)).SerializeToString()


def verdict(frame: bytes, *, first: bool) -> ErrorCode.ValueType | None:
    """The code with which a frame ends its stream, by the words of the protos; None: it does not.

    Tells nothing of what its sends are answered.
    """
    if len(frame) > FRAME_MAX_BYTES:
        return errors_pb2.ERROR_CODE_TOO_LARGE
    if (parsed := _parsed(frame)) is None:
        return errors_pb2.ERROR_CODE_INVALID_ARGUMENT
    if len(parsed.sends) > SENDS_MAX:
        return errors_pb2.ERROR_CODE_TOO_LARGE
    return _of_first(parsed) if first else _of_later(parsed)


def _says_more_than_it_knows(frame: bytes) -> bool:
    """Whether it has sends and names an offset that nobody has told: that ends its stream, unless a
    send before it was refused.
    """
    parsed = _parsed(frame)
    return parsed is not None and bool(parsed.sends) and parsed.offset > FIRST_OFFSET


def _parsed(frame: bytes) -> ClientFrame | None:
    try:
        return ClientFrame.FromString(frame)
    except DecodeError:
        return None


def _of_first(frame: ClientFrame) -> ErrorCode.ValueType | None:
    if not frame.HasField("hello") or frame.sends:
        return errors_pb2.ERROR_CODE_PROTOCOL
    if len(frame.hello.device.encode()) > DEVICE_MAX_BYTES or frame.hello.position.offset < -1:
        return errors_pb2.ERROR_CODE_INVALID_ARGUMENT
    return None


def _of_later(frame: ClientFrame) -> ErrorCode.ValueType | None:
    if frame.HasField("hello"):
        return errors_pb2.ERROR_CODE_PROTOCOL
    if frame.renewed_token:
        return errors_pb2.ERROR_CODE_UNAUTHENTICATED
    return None


def corpus(user: str, peer: str) -> list[bytes]:
    """Valid frames of `user`, and some that only their sends make invalid."""
    first, second = sorted((user, peer), key=str.encode)
    chat = f"d:{first}~{second}"
    good = _send("one", chat, text="hello there")
    receipt = Send(client_message_id="two", chat_id=chat)
    receipt.receipt.read_up_to = 1 << 40
    frames = [
        ClientFrame(hello=Hello(device="phone")),
        ClientFrame(hello=Hello(position=Position(log_id="no log", partition=3, offset=17))),
        ClientFrame(hello=Hello(position=Position(partition=-7, offset=(1 << 63) - 1))),
        ClientFrame(offset=FIRST_OFFSET),
        ClientFrame(offset=FIRST_OFFSET, sends=[good]),
        ClientFrame(offset=FIRST_OFFSET, sends=[good, receipt, _send("three", chat, text="x")]),
        ClientFrame(offset=FIRST_OFFSET, sends=[good], renewed_token=ALG_NONE),
        *(ClientFrame(offset=FIRST_OFFSET, sends=[send]) for send in _bad_sends(user, chat)),
        ClientFrame(watch=Watch(chat_ids=[chat]), typing=TypingIn(chat_id=chat, active=True)),
        ClientFrame(watch=Watch(chat_ids=[chat, *malformed_chats(user, "zoe")]), invisible=True),
        *(ClientFrame(typing=TypingIn(chat_id=bad)) for bad in foreign_chats(user)),
    ]  # fmt: skip
    return [frame.SerializeToString() for frame in frames]


def foreign_chats(user: str) -> list[str]:
    """Chats of others."""
    return ["d:anna~zoe", f"d:{user}-~{user}0", f"d:not-{user}~zoe"]


def malformed_chats(user: str, peer: str) -> list[str]:
    """What is no chat id at all."""
    first, second = sorted((user, peer), key=str.encode)
    return [
        "", "d:", "d:~", "g:", "x:a~b", f"{first}~{second}", f"d:{second}~{first}",
        f"d:{user}~{user}", f"d:{first}~{second}~zoe", f"d:{first}~{second}\n", f"d:{user}~",
        f"D:{first}~{second}", f"d:{user}~\u043e\u043b\u044f", f"d:{user}~zo\u0308e",
        f"d:{user}~\x00zoe",
        f"d:{user}~" + "z" * 65, f"d:{user}~" + "z" * 20_000, f"d: {first}~{second}", "g:a b",
    ]  # fmt: skip


def _send(client_message_id: str, chat_id: str, *, text: str) -> Send:
    made = Send(client_message_id=client_message_id, chat_id=chat_id)
    made.message.text = text
    return made


def _bad_sends(user: str, chat: str) -> list[Send]:
    sends = [
        Send(client_message_id="no body", chat_id=chat),
        _send("", chat, text="no id"),
        _send("i" * 65, chat, text="a long id"),
        _send("no text", chat, text=""),
        _send("long", chat, text="é" * 8_193),
        *(
            _send("chat", bad, text="hello?")
            for bad in [*foreign_chats(user), *malformed_chats(user, "zoe"), "g:friends"]
        ),
    ]
    for body in ("edit", "deletion", "reaction", "membership", "typing", "presence"):
        for each in (chat, "g:friends"):
            sends.append(Send(client_message_id=body, chat_id=each))
            getattr(sends[-1], body).SetInParent()
    sends.append(Send(client_message_id="never", chat_id=chat))
    sends[-1].settings.muted_until_ms = -1
    sends.append(Send(client_message_id="negative", chat_id=chat))
    sends[-1].receipt.delivered_up_to = -1
    return sends


# -- mutations


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def bits(rng: Random, frames: Sequence[bytes]) -> bytes:
    frame = bytearray(rng.choice(frames))
    for _ in range(rng.randint(1, 8)):
        if frame:
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    return bytes(frame)


def cut(rng: Random, frames: Sequence[bytes]) -> bytes:
    frame = rng.choice(frames)
    return frame[: rng.randint(0, len(frame))]


def splice(rng: Random, frames: Sequence[bytes]) -> bytes:
    one, other = rng.choice(frames), rng.choice(frames)
    return one[: rng.randint(0, len(one))] + other[rng.randint(0, len(other)) :]


def insert(rng: Random, frames: Sequence[bytes]) -> bytes:
    frame = rng.choice(frames)
    at = rng.randint(0, len(frame))
    return frame[:at] + rng.randbytes(rng.randint(1, 12)) + frame[at:]


def noise(rng: Random, _: Sequence[bytes]) -> bytes:
    return rng.randbytes(rng.randint(0, 200))


def joined(rng: Random, frames: Sequence[bytes]) -> bytes:
    return b"".join(rng.choices(frames, k=rng.randint(2, 4)))


def huge_varint(rng: Random, frames: Sequence[bytes]) -> bytes:
    number = tag(rng.choice((1, 2, 3, 4)), rng.choice((0, 2)))
    return rng.choice(frames) + number + b"\xff" * rng.randint(4, 12) + bytes((rng.randrange(128),))


def unknown(rng: Random, frames: Sequence[bytes]) -> bytes:
    """Fields that no proto here has, of every wire type."""
    number = rng.choice((5, 9, 99, 19_000, (1 << 29) - 1))
    value = rng.randbytes(rng.randint(0, 64))
    fields = (
        tag(number, 0) + varint(rng.getrandbits(63)),
        tag(number, 1) + rng.randbytes(8),
        tag(number, 2) + varint(len(value)) + value,
        tag(number, 5) + rng.randbytes(4),
        tag(number, 6),
    )
    return rng.choice(frames) + rng.choice(fields)


def nested(rng: Random, frames: Sequence[bytes]) -> bytes:
    """Groups in groups, and messages in an unknown field in each other."""
    depth = rng.choice((1, 50, 99, 100, 101, 500, 5_000))
    if rng.random() < 0.7:
        return rng.choice(frames) + tag(7, GROUP_START) * depth + tag(7, GROUP_END) * depth
    inner = b""
    for _ in range(min(depth, 200)):
        inner = tag(3, 2) + varint(len(inner)) + inner
    return inner


def not_utf8(rng: Random, _: Sequence[bytes]) -> bytes:
    bad = rng.choice(NOT_UTF8)
    text = varint(len(bad)) + bad
    send = tag(rng.choice((1, 2)), 2) + text
    message = tag(10, 2) + varint(len(text) + 1) + tag(1, 2) + text
    device = tag(2, 2) + text
    inner, number = rng.choice(((send, 3), (message, 3), (device, 1)))
    return tag(number, 2) + varint(len(inner)) + inner


def bodies(rng: Random, _: Sequence[bytes]) -> bytes:
    """Several members of the oneof, some with a wire type that is not theirs."""
    fields = [tag(rng.randint(9, 18), 2) + b"\x00" for _ in range(rng.randint(1, 4))]
    fields.append(tag(rng.randint(10, 17), rng.choice((0, 2))) + b"\x00")
    send = tag(1, 2) + b"\x01a" + b"".join(fields)
    return tag(3, 2) + varint(len(send)) + send


def at_the_limit(rng: Random, frames: Sequence[bytes]) -> bytes:
    """64 KiB, one byte less and one more, most of it in a field that nobody knows."""
    size = FRAME_MAX_BYTES + rng.choice((-1, 0, 1))
    frame = rng.choice(frames)[:1_000] if rng.random() < 0.3 else b""
    head = tag(99, 2) + varint(FRAME_MAX_BYTES - 1_100)
    padding = head + bytes(FRAME_MAX_BYTES - 1_100)
    left = size - len(frame) - len(padding)
    return frame + padding + b"\x10\x00" * (left // 2) + b"\x00" * (left % 2)


def many_sends(rng: Random, _: Sequence[bytes]) -> bytes:
    return ClientFrame(sends=[Send()] * rng.choice((255, 256, 257, 3_000))).SerializeToString()


MUTATIONS: dict[Mutation, float] = {
    bits: 6, cut: 3, splice: 4, insert: 4, noise: 2, joined: 2, huge_varint: 2, unknown: 4,
    nested: 1, not_utf8: 2, bodies: 3, at_the_limit: 0.1, many_sends: 0.1,
}  # fmt: skip


def hostile(rng: Random, frames: Sequence[bytes]) -> bytes:
    """A frame out of `frames` that something has happened to, seldom a valid one as it is."""
    if rng.random() < 0.1:
        return rng.choice(frames)
    (mutation,) = rng.choices(list(MUTATIONS), list(MUTATIONS.values()))
    return mutation(rng, frames)


def conversation(rng: Random, frames: Sequence[bytes], length: int) -> Conversation:
    """At most about `length` frames that do not end the stream, and one that does."""
    said: list[bytes] = []
    if rng.random() < 0.7:
        said.append(hello())
    survivors = rng.randint(0, length)
    while True:
        frame = hostile(rng, frames)
        code = verdict(frame, first=not said)
        if _says_more_than_it_knows(frame):
            continue  # nobody can tell whether it ends the stream
        if code is None and len(said) < survivors:
            said.append(frame)
        elif code is not None and (len(said) >= survivors or not said):
            return Conversation([*said, frame], code)
