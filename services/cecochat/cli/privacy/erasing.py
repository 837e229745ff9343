"""What the erasure of a user and that of an app have in common."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from cecochat.cli.errors import UsageError
from cecochat.cli.output import echo

if TYPE_CHECKING:
    from cecochat.cli.privacy.written import Written
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
BACKUPS = (
    "backups: one that has the keys of before still opens these texts. Remove such copies of the "
    "keys, or let them expire (docs/how-to/erase-a-user.md)."
)
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
    from cecochat.cli.privacy.holding import known_holds

    return await known_holds(
        chosen, configuration, history, is_new=keys.is_new, data=data, file=file
    )


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


class Report(Protocol):
    """What both reports say."""

    @property
    def keeps_in(self) -> str: ...
    @property
    def written(self) -> Written: ...
    @property
    def files(self) -> int | None: ...
    @property
    def held(self) -> tuple[str, ...]: ...
    @property
    def forgotten(self) -> Forgotten | None: ...
    @property
    def version(self) -> int: ...


def print_done(report: Report, found: str, key: str, after: str) -> None:
    """Print what there was, and if it was not only a look, what was done: to the key, and with the
    tokens.
    """
    echo(found)
    if report.held:
        echo(f"on hold: {listed(report.held)}; see `cecochat hold list`")
    if report.forgotten is None:
        echo("This was only a look: nothing was changed.")
        return
    echo(f"{key}: destroyed in {report.keeps_in}")
    if report.files is not None:
        echo(f"files: {report.files} deleted")
    echo(
        f"moderation: {report.forgotten.texts} texts of their reports and "
        f"{report.forgotten.blocks} blocks of theirs removed. The reports themselves stay, with "
        "ids and reasons."
    )
    echo(f"tokens: revoked, by version {report.version} of the revocations. {after}\n{BACKUPS}")


def counts(report: Report) -> dict[str, Any]:
    """Return what both reports say, for JSON."""
    forgotten = report.forgotten
    return {
        "held": list(report.held),
        "keys_in": report.keeps_in,
        "sealed_texts": report.written.sealed,
        "plain_texts": report.written.plain,
        "chats": report.written.chats,
        "files": report.files,
        "report_texts_removed": forgotten.texts if forgotten else 0,
        "blocks_removed": forgotten.blocks if forgotten else 0,
        "revocations_version": report.version,
    }
