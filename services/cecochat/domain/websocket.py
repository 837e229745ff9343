"""What both ends of a WebSocket agree on: the sub-protocol, signs of life, and the close codes
(RFC 6455, section 7.4.2), which say what a client does next.
"""

from __future__ import annotations

from typing import Final, Literal

from cecochat.domain.errors import Refusal

PROTOCOL: Final = "cecochat.v1"
BEAT_S: Final = 5.0
"""How often each end looks whether the other one is still there."""
PING_AFTER: Final = 4  # beats without a sign of life
DEAD_AFTER: Final = 8

LEFT = 1000
"""The client left by itself."""
RECONNECT, FOR_GOOD = 4_000, 4_500
"""Codes from 4000 on tell a client to reconnect, codes from 4500 on not to. What is added is the
number of the error code.
"""
STEP = FOR_GOOD - RECONNECT


def close_code(refusal: Refusal) -> int:
    """Return the close code of a stream that ends with a refusal."""
    return (RECONNECT if refusal.retriable else FOR_GOOD) + refusal.error_code


def says_reconnect(code: int) -> bool:
    """Return whether a client should reconnect after a close code, also one of the RFC's."""
    return not FOR_GOOD <= code < FOR_GOOD + STEP


def error_number(code: int) -> int:
    """Return the number of the error code in a close code; 0 if it has none."""
    return (code - RECONNECT) % STEP if RECONNECT <= code < FOR_GOOD + STEP else 0


class Liveness:
    """Whether the other end is still there. Any byte is a sign of life."""

    __slots__ = ("_silent_beats",)

    def __init__(self) -> None:
        self._silent_beats = 0

    def heard(self) -> None:
        """Note a sign of life."""
        self._silent_beats = 0

    def beat(self) -> Literal["", "ping", "dead"]:
        """Return what to do. Call this every `BEAT_S`."""
        self._silent_beats += 1
        if self._silent_beats >= DEAD_AFTER:
            return "dead"
        return "ping" if self._silent_beats == PING_AFTER else ""
