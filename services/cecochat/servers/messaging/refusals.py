"""Why a stream ends that did nothing wrong, or nothing at all."""

from __future__ import annotations

from typing import Final

from cecochat.domain.errors import Refusal
from cecochat.v1 import errors_pb2

HELLO_TIMEOUT_S: Final = 10.0


def no_hello() -> Refusal:
    """Return the refusal of a client that has not begun in time."""
    return Refusal(
        errors_pb2.ERROR_CODE_TIMEOUT,
        f"no hello came within {HELLO_TIMEOUT_S:g} s: send a hello first",
    )


def keys_away() -> Refusal:
    """Return the refusal of a session whose texts nobody can seal or open now."""
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        "the keys of users cannot be read: reconnect and resume",
        1_000,
    )


def log_away() -> Refusal:
    """Return the refusal of a session that the log cannot serve now."""
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        "the log does not answer, or has dropped what you have missed: reconnect and resume",
    )
