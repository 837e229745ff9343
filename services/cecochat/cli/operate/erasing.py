"""What the erasure of a user and that of an app have in common."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cecochat.cli.errors import UsageError
from cecochat.cli.output import echo

if TYPE_CHECKING:
    from cecochat.documents.holds import KnownHolds
    from cecochat.domain.log.ids import UserId
    from cecochat.ports.configuration import Configuration
    from cecochat.ports.files import Files
    from cecochat.ports.history import History
    from cecochat.ports.keys import Keys
    from cecochat.ports.moderation import Forgotten
    from cecochat.settings.settings import Settings

    Holding = Callable[[Keys, Configuration, History], Awaitable[KnownHolds]]
    """Returns the holds, once it is sure that their store has not lost them."""

NAMED_MAX = 5
SESSIONS_END_S = 3.0
ANY_PARTITION = 0
"""Where files are noted that no message can name any more."""
HELD = (
    "there is a hold on {what}, so nothing was destroyed. That {user} is to be erased is noted: "
    "see `cecochat hold list`"
)


def listed(held: Sequence[str]) -> str:
    """Return what is on hold, for a person."""
    return ", ".join(held[:NAMED_MAX])


def confirm(found: str, warning: str, name: str, yes: bool) -> None:
    """Ask whether to go on, by having somebody type a name. Raises `UsageError` if not."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: add --yes to erase, or --dry-run to look")
    echo(f"{found}\n{warning}", err=True)
    if typer.prompt(f"Type {name} to go on", err=True) != name:
        raise UsageError(f"that is not {name}: nothing was done")


async def holding(
    chosen: Settings,
    data: Path | None,
    file: Path | None,
    keys: Keys,
    configuration: Configuration,
    history: History,
) -> KnownHolds:
    """Return the holds. Raises `Failed` if their store has lost some."""
    from cecochat.cli.operate.holding import known_holds

    where: dict[str, Any] = {"data": data, "file": file}
    return await known_holds(chosen, configuration, history, is_new=keys.is_new, **where)


def noting(whom: str, *, asked: bool) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return what notes that an erasure was asked for, or that it is done. `whom` is a user id, or
    the name of an app and a slash.
    """
    from cecochat.domain.cluster.holds import Asked, document, parse, with_erasure
    from cecochat.runtime.clock import now_ms

    note = Asked(now_ms(), getpass.getuser()) if asked else None
    return lambda current: document(with_erasure(parse(current), whom, note))


async def remove_files(files: Files, user: UserId) -> int:
    """Delete the files of a user, and return how many they were. They are noted, since a URL that
    was signed before can bring one back.
    """
    from cecochat.ports.files import Noted, owner_of
    from cecochat.runtime.clock import now_ms

    keys = await files.of(owner_of(user))
    if keys:
        await files.note(ANY_PARTITION, [Noted(now_ms(), key) for key in keys])
        await files.delete(keys)
    return len(keys)


def of_moderation(forgotten: Forgotten) -> str:
    """Return what was done about what moderation stores, for a person."""
    return (
        f"moderation: {forgotten.texts} texts of their reports and {forgotten.blocks} blocks of "
        "theirs removed. The reports themselves stay, with ids and reasons."
    )
