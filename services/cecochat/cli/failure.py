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
    if isinstance(error, ModuleNotFoundError) and not _is_ours(error):
        return _to_install(error), FAILED
    from cecochat.domain.errors import CecochatError

    if not isinstance(error, CecochatError):
        raise error
    return _explain(error), _exit_code(error)


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "").partition(".")[0] == "cecochat"


def _to_install(error: ModuleNotFoundError) -> str:
    """Say which extra has what is not installed: the servers', or that of an adapter's folder."""
    from importlib.metadata import metadata
    from traceback import walk_tb

    names = [frame.f_globals["__name__"].split(".") for frame, _ in walk_tb(error.__traceback__)]
    adapters = [name[2] for name in names if name[:2] == ["cecochat", "adapters"] and name[3:]]
    extras = metadata("cecochat").get_all("Provides-Extra") or []
    extra = next((name for name in adapters if name in extras), "server")
    return f"this needs {error.name}, which is not installed: pip install 'cecochat[{extra}]'"


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
    from cecochat.cli.systems import hint
    from cecochat.client.errors import NotReachable

    text = " ".join(str(error).split())
    return f"{text.rstrip('.')} {hint()}" if isinstance(error, NotReachable) else text


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
