"""Calls of the history whose answers nobody reads."""

from __future__ import annotations

import struct

from google.protobuf.message import Message

from tests.hostile import http2
from tests.hostile.http2 import END_HEADERS, HEADERS, SETTINGS, Peer, literal

DATA, END_STREAM = 0, 1
INITIAL_WINDOW_SIZE = 4


async def close_window(peer: Peer) -> None:
    """From now on nothing of an answer may be sent here."""
    await peer.say(http2.frame(SETTINGS, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)))


async def ask(peer: Peer, call: str, token: str, request: Message, stream: int) -> None:
    """A call of the history, on a stream of its own: an odd number."""
    headers = http2.call(f"/cecochat.v1.History/{call}")
    headers += literal(b"authorization", f"Bearer {token}".encode())
    await peer.say(http2.frame(HEADERS, headers, stream, END_HEADERS))
    raw = request.SerializeToString()
    await peer.say(http2.frame(DATA, struct.pack(">BI", 0, len(raw)) + raw, stream, END_STREAM))
