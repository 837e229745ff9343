"""Where a stream of events goes on: a place in each partition of a log, as text that means nothing
to whoever keeps it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

from cecochat.domain.errors import Invalid
from cecochat.domain.log.place import Place

TEXT_MAX: Final = 128 << 10
BYTES_MAX: Final = 256 << 10


def encode(log_id: str, places: Mapping[int, Place]) -> str:
    """Return the cursor of these places, of partitions that are numbered from 0."""
    value = [log_id, [place for _, place in sorted(places.items())]]
    raw = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.compress(raw)).decode()


def decode(text: str, log_id: str, partitions: int) -> dict[int, Place]:
    """Return the places of a cursor. Raises `Invalid`."""
    try:
        known_log, places = _value(text)
        found = {number: Place(*map(int, place)) for number, place in enumerate(places)}
    except (ValueError, TypeError, OverflowError, RecursionError, zlib.error):
        raise Invalid("`after` is no cursor of this API: use one as it came") from None
    if known_log != log_id or len(found) != partitions:
        raise Invalid(
            "`after` is of another log: begin without it, and read the history of what concerns you"
        )
    return found


def _value(text: str) -> Any:
    if len(text) > TEXT_MAX:
        raise ValueError("it is too long")
    inflating = zlib.decompressobj()
    raw = inflating.decompress(base64.urlsafe_b64decode(text.encode()), BYTES_MAX)
    return json.loads(raw)
