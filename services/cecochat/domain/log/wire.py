"""The parts of the protobuf wire format that are needed to join messages without parsing them
(protobuf.dev, "Encoding").
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """Encode an unsigned integer in seven bits per byte, the lowest first."""
    if value < 0x80:
        return _BYTES[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


cached_varint = lru_cache(maxsize=1_024)(varint)
"""Like `varint`, for values that recur, such as lengths and the clock of a batch."""

_BYTES = [bytes((value,)) for value in range(0x80)]


def repeated(field: int, messages: Iterable[bytes]) -> bytes:
    """Encode serialized messages as the repeated field number `field`. Appended to other bytes of
    the same message type, it adds to that field.
    """
    tag = varint(field << 3 | _LENGTH_DELIMITED)
    return b"".join(tag + cached_varint(len(message)) + message for message in messages)
