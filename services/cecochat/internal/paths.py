"""The paths of the contract between servers, and the content type of the answers."""

from __future__ import annotations

from typing import Final

LOAD: Final = "/internal/v1/load"
PARTITIONS: Final = "/internal/v1/partitions"
SESSIONS: Final = "/internal/v1/sessions"
PRESENT: Final = "/internal/v1/present"
ASKED: Final = "/internal/v1/asked"
CALLED: Final = "/internal/v1/called"
SOUGHT: Final = "/internal/v1/sought"
QUERIES: Final = "/internal/v1/queries"
CONTACT: Final = "/internal/v1/contact"
EVENTS: Final = "/internal/v1/events"

USER: Final = "user"
"""The query parameter that names a user. It is repeated for several users."""
USERS_MAX: Final = 100
ASKED_MAX_BYTES: Final = 1 << 20
CALLED_MAX_BYTES: Final = 8 << 20
PROTOBUF: Final = "application/x-protobuf"
