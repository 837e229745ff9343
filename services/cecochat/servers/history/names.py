"""The names that moderators go by."""

from __future__ import annotations

from typing import Final

from cecochat.domain.moderation.reports import check_text

NAME_MAX_BYTES: Final = 128


def moderator(given: str, via: str) -> str:
    """Return who acts: by default the service that calls. Raises `Refusal`."""
    check_text("moderator", given, NAME_MAX_BYTES)
    return given or via
