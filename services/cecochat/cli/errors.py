"""What commands raise, and the exit codes."""

from __future__ import annotations

FAILED, USAGE, NOT_REACHABLE, REFUSED = 1, 2, 3, 4


class CommandError(Exception):
    """Base of what commands themselves raise; it costs no import of the protos."""

    code = FAILED


class UsageError(CommandError):
    """The command was given something that cannot work; the message says what would."""

    code = USAGE


class SomeRefused(CommandError):
    """The server refused some of many; which, is said already."""

    code = REFUSED


class Failed(CommandError):
    """The command did not do all that it was told to."""
