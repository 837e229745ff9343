"""The protobuf wire format, as far as bytes are joined without being parsed (protobuf.dev,
"Encoding").
"""

from __future__ import annotations

from collections.abc import Iterable

_LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """An unsigned integer, seven bits a byte, the lowest first."""
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


_BYTES = [bytes((value,)) for value in range(0x80)]


def repeated(field: int, messages: Iterable[bytes]) -> bytes:
    """Serialized messages as a repeated field; joined to other bytes of the same message type it
    adds to them.
    """
    tag = varint(field << 3 | _LENGTH_DELIMITED)
    return b"".join(tag + varint(len(message)) + message for message in messages)
