"""How an error ends a command: one line that says what to do, and a documented exit code."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from cecochat.cli.errors import FAILED, NOT_REACHABLE, REFUSED, USAGE, CommandError

if TYPE_CHECKING:
    from cecochat.domain.errors import CecochatError

T = TypeVar("T")


def judge(error: Exception) -> tuple[str, int]:
    """What to say, and the exit code. Raises an error that nobody raised on purpose."""
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
    """On one line; and for one that says nothing is there: what to start."""
    from cecochat.cli.target import hint
    from cecochat.client.errors import NotReachable

    text = " ".join(str(error).split())
    return f"{text}{hint()}" if isinstance(error, NotReachable) else text


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine. An error inside task groups comes out alone."""
    import asyncio

    try:
        return asyncio.run(main)
    except BaseExceptionGroup as group:
        if (known := _known(group)) is None:
            raise
    raise known from None


def _known(group: BaseExceptionGroup[BaseException]) -> Exception | None:
    """The first error of a group that holds nothing but what was raised on purpose."""
    from cecochat.domain.errors import CecochatError

    known, unknown = group.split((CecochatError, CommandError))
    while isinstance(known, BaseExceptionGroup):
        first = known.exceptions[0]
        if not isinstance(first, BaseExceptionGroup):
            return first if unknown is None and isinstance(first, Exception) else None
        known = first
    return None


def say(text: str) -> None:
    """One line on standard error."""
    import typer

    from cecochat.domain.printable import printable

    typer.secho(f"cecochat: {printable(text)}", fg="red" if sys.stderr.isatty() else None, err=True)
