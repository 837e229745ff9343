"""The client's gRPC channels: their options, their metadata, and the errors of failed calls."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from cecochat.client.errors import ChatError, NotReachable, Refused, refused
from cecochat.v1.errors_pb2 import Error

ERROR_TRAILER = "cecochat-error-bin"
RECEIVE_MAX_BYTES = 64 << 20  # a page of 1,000 long messages

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.keepalive_time_ms", 20_000),  # gRPC's default of 2 h never finds a dead peer
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),  # so that no earlier channel's back-off is inherited
    ("grpc.enable_retries", 0),  # this client decides what it tries again
    ("grpc.max_receive_message_length", RECEIVE_MAX_BYTES),
]

_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
}


def open_channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Open a channel with connections of its own. Without credentials it is not encrypted."""
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=OPTIONS)
    return grpc.aio.secure_channel(address, credentials, options=OPTIONS)


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that authenticates a call."""
    return (("authorization", f"Bearer {token}"),)


def error_of(address: str, error: grpc.aio.AioRpcError) -> ChatError:
    """Return the typed error in the trailer of a failed call, or one made from its status."""
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_TRAILER and isinstance(value, bytes):
            try:
                return refused(Error.FromString(value))
            except DecodeError:
                break
    if error.code() in _REFUSALS:
        return Refused(error.code().name.lower(), error.details() or "refused without a reason")
    return NotReachable(f"{address}: {error.details() or error.code().name}")
