"""Server items as bytes. Frames concatenate, so an item is encoded once, whoever and however many
it goes to.
"""

from __future__ import annotations

from cecochat.domain.errors import Refusal
from cecochat.domain.log.place import Place
from cecochat.domain.log.wire import varint
from cecochat.v1.messaging_pb2 import (
    Ack,
    CaughtUp,
    Disconnect,
    Gap,
    Refused,
    ServerFrame,
    ServerItem,
    TokenExpiring,
    Welcome,
)

Chunk = bytes
"""A serialized `ServerFrame` of one item."""


def delivered(at: Place, event: bytes) -> Chunk:
    """The bytes of an event as they stand in the log, wrapped; nothing is parsed or serialized
    again.
    """
    head = b"".join(
        (b"\x08", varint(at.offset), b"\x18", varint(at.clock_ms), b"\x12", varint(len(event)))
    )
    size = len(head) + len(event)
    inner = b"\x12" + varint(size)
    return b"".join((b"\x0a", varint(len(inner) + size), inner, head, event))


def _chunk(item: ServerItem) -> Chunk:
    return ServerFrame(items=[item]).SerializeToString()


def ack(client_message_id: str, message_id: int, at: Place) -> Chunk:
    """The send is in the log."""
    item = Ack(client_message_id=client_message_id, message_id=message_id)
    item.offset, item.clock_ms = at.offset, at.clock_ms
    return _chunk(ServerItem(ack=item))


def refused(client_message_id: str, refusal: Refusal) -> Chunk:
    """The send will never be accepted as it is."""
    return _chunk(
        ServerItem(refused=Refused(client_message_id=client_message_id, error=refusal.proto()))
    )


def caught_up(at: Place) -> Chunk:
    """Nothing is missing up to there."""
    return _chunk(ServerItem(caught_up=CaughtUp(offset=at.offset, clock_ms=at.clock_ms)))


def gap(item: Gap) -> Chunk:
    """What has to come from the history."""
    return _chunk(ServerItem(gap=item))


def welcome(item: Welcome) -> Chunk:
    """The first frame of a session."""
    return _chunk(ServerItem(welcome=item))


def token_expiring(expires_in_ms: int) -> Chunk:
    """A warning, in time for a new token."""
    return _chunk(ServerItem(token_expiring=TokenExpiring(expires_in_ms=expires_in_ms)))


def disconnect(refusal: Refusal, address: str) -> Chunk:
    """The last item of a stream."""
    return _chunk(ServerItem(disconnect=Disconnect(error=refusal.proto(), address=address)))
