"""The options of a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

TransportName = Literal["grpc", "websocket"]
TRANSPORTS: tuple[TransportName, ...] = get_args(TransportName)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a client, as `connect` explains them."""

    device: str = "python"
    listen: bool = True
    receipts: bool = True
    timeout_s: float | None = 10.0
    buffer_max_bytes: int = 1 << 20
    transport: TransportName = "grpc"
    invisible: bool = False
