"""Where each answer of the contract is found, and as what it travels."""

from __future__ import annotations

from typing import Final

LOAD: Final = "/internal/v1/load"
PARTITIONS: Final = "/internal/v1/partitions"
SESSIONS: Final = "/internal/v1/sessions"

USER: Final = "user"
"""The parameter that names a user, once for each."""
USERS_MAX: Final = 100
PROTOBUF: Final = "application/x-protobuf"
