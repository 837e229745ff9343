"""Server items as bytes. Frames can be concatenated, so each item is encoded only once, no matter
how many sessions it goes to.
"""

from __future__ import annotations

from cecochat.domain.errors import Refusal
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.wire import cached_varint, varint
from cecochat.v1.messaging_pb2 import (
    CaughtUp,
    Disconnect,
    Gap,
    Refused,
    ServerFrame,
    ServerItem,
    Signal,
    SignalRefused,
    TokenExpiring,
    Welcome,
)

Chunk = bytes
"""A serialized `ServerFrame` with one item."""


def delivered(at: Place, event: bytes) -> Chunk:
    """Return an event for its user's devices. Its bytes are those in the log: nothing is parsed or
    serialized again.
    """
    offset, clock, length = varint(at.offset), cached_varint(at.clock_ms), cached_varint(len(event))
    head = b"\x08%b\x18%b\x12%b" % (offset, clock, length)
    size = len(head) + len(event)
    inner = b"\x12" + cached_varint(size)
    return b"\x0a%b%b%b%b" % (cached_varint(len(inner) + size), inner, head, event)


def _chunk(item: ServerItem) -> Chunk:
    return ServerFrame(items=[item]).SerializeToString()


def ack(client_message_id: str, message_id: int, at: Place, home: Place = NOWHERE) -> Chunk:
    """Return the answer to a send that is accepted, with its message id and place. `home` is where
    it is in the log of a group's home, if that is another partition.
    """
    key, id_ = client_message_id.encode(), varint(message_id)
    offset, clock, length = varint(at.offset), cached_varint(at.clock_ms), cached_varint(len(key))
    item = b"\x0a%b%b\x10%b\x18%b\x20%b" % (length, key, id_, offset, clock)
    if home != NOWHERE:
        item += b"\x28%b\x30%b" % (varint(home.offset), cached_varint(home.clock_ms))
    inner = b"\x1a" + cached_varint(len(item))
    return b"\x0a%b%b%b" % (cached_varint(len(inner) + len(item)), inner, item)


def refused(client_message_id: str, refusal: Refusal) -> Chunk:
    """Return the answer to a send that will never be accepted as it is."""
    return _chunk(
        ServerItem(refused=Refused(client_message_id=client_message_id, error=refusal.proto()))
    )


def caught_up(at: Place) -> Chunk:
    """Tells the client that it has everything up to `at`."""
    return _chunk(ServerItem(caught_up=CaughtUp(offset=at.offset, clock_ms=at.clock_ms)))


def gap(item: Gap) -> Chunk:
    """Tells the client what it has to read from the history."""
    return _chunk(ServerItem(gap=item))


def welcome(item: Welcome) -> Chunk:
    """Return the first item of a stream."""
    return _chunk(ServerItem(welcome=item))


def token_expiring(expires_in_ms: int) -> Chunk:
    """Warns the client in time to get a new token."""
    return _chunk(ServerItem(token_expiring=TokenExpiring(expires_in_ms=expires_in_ms)))


def signal(item: Signal) -> Chunk:
    """Tells the client what another user does. It moves no position."""
    return _chunk(ServerItem(signal=item))


def signal_refused(refusal: Refusal) -> Chunk:
    """Tells the client that what it watches or signals was not taken."""
    return _chunk(ServerItem(signal_refused=SignalRefused(error=refusal.proto())))


def disconnect(refusal: Refusal, address: str = "", websocket: str = "") -> Chunk:
    """Return the last item of a stream: why it ends, and where to go over gRPC and over WebSocket;
    empty if that is not known.
    """
    item = Disconnect(error=refusal.proto(), address=address, websocket=websocket)
    return _chunk(ServerItem(disconnect=item))
