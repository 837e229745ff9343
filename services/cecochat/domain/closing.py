"""The close codes of a WebSocket (RFC 6455, section 7.4.2), which say what a client does next."""

from __future__ import annotations

from cecochat.domain.errors import Refusal

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
