"""Ends a command after an error: with one line that says what to do, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from cecochat.cli.errors import FAILED, NOT_REACHABLE, REFUSED, USAGE, CommandError

if TYPE_CHECKING:
    from cecochat.domain.errors import CecochatError

T = TypeVar("T")


def judge(error: Exception) -> tuple[str, int]:
    """Return the message and the exit code. An error that nobody raised on purpose is raised."""
    if isinstance(error, CommandError):
        return str(error), error.code
    from cecochat.domain.errors import CecochatError

    if not isinstance(error, CecochatError):
        raise error
    return _explain(error), _exit_code(error)


def _exit_code(error: CecochatError) -> int:
    from cecochat.client.errors import NotReachable, Refused
    from cecochat.domain.errors import InvalidSettings, Refusal, Unavailable

    match error:
        case NotReachable() | Unavailable():
            return NOT_REACHABLE
        case Refused() | Refusal():
            return REFUSED
        case InvalidSettings():
            return USAGE
    return FAILED


def _explain(error: CecochatError) -> str:
    """Return the message on one line. If nothing answers, add what to start."""
    from cecochat.cli.target import hint
    from cecochat.client.errors import NotReachable

    text = " ".join(str(error).split())
    return f"{text}{hint()}" if isinstance(error, NotReachable) else text


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine. An error inside task groups is raised without its group."""
    import asyncio

    try:
        return asyncio.run(main)
    except BaseExceptionGroup as group:
        if (error := _first_expected(group)) is None:
            raise
    raise error from None


def _first_expected(group: BaseExceptionGroup[BaseException]) -> Exception | None:
    """Return the first error of a group, if all of its errors were raised on purpose."""
    from cecochat.domain.errors import CecochatError

    expected, unexpected = group.split((CecochatError, CommandError))
    while isinstance(expected, BaseExceptionGroup):
        first = expected.exceptions[0]
        if not isinstance(first, BaseExceptionGroup):
            return first if unexpected is None and isinstance(first, Exception) else None
        expected = first
    return None


def say(text: str) -> None:
    """Print one line on standard error."""
    import typer

    from cecochat.domain.printable import printable

    typer.secho(f"cecochat: {printable(text)}", fg="red" if sys.stderr.isatty() else None, err=True)
