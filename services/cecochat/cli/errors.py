"""The errors that commands raise, and the exit codes."""

from __future__ import annotations

FAILED, USAGE, NOT_REACHABLE, REFUSED = 1, 2, 3, 4


class CommandError(Exception):
    """Base of the errors that commands raise themselves. It does not import the protos."""

    code = FAILED


class UsageError(CommandError):
    """The command cannot work as it was called. The message says what would work."""

    code = USAGE


class SomeRefused(CommandError):
    """The server refused some of many messages. They have been named already."""

    code = REFUSED


class Failed(CommandError):
    """The command could not do everything that it was told to do."""
