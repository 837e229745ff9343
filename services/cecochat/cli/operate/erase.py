"""`cecochat erase`: makes what a user wrote unreadable for good, and bars the user."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cecochat.cli import changes, options, target
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.failure import run
from cecochat.cli.operate.acts import note
from cecochat.cli.output import echo, json_line, print_table, shown_ms

if TYPE_CHECKING:
    from cecochat.cli.operate.written import Written
    from cecochat.documents.holds import KnownHolds
    from cecochat.domain.log.ids import UserId
    from cecochat.ports.configuration import Configuration
    from cecochat.ports.history import History
    from cecochat.ports.keys import Erased, Keys
    from cecochat.ports.moderation import Forgotten
    from cecochat.settings.settings import Settings

    Holding = Callable[[Keys, Configuration, History], Awaitable[KnownHolds]]
    """Returns the holds, once it is sure that their store has not lost them."""

NAMED_MAX = 5
EXAMPLES = (
    "Examples: cecochat erase alice --dry-run; cecochat erase alice; cecochat erase alice --yes "
    "--json; cecochat erase --list"
)
SESSIONS_END_S = 3.0
ANY_PARTITION = 0
"""Where files are noted that no message can name any more."""
HELD = (
    "there is a hold on {what}, so nothing was destroyed. That {user} is to be erased is noted: "
    "see `cecochat hold list`"
)
WARNING = "Nobody will ever read what {user} wrote, and {user} can never chat again."


class Report(NamedTuple):
    """What there was of a user, and what was done."""

    user: UserId
    key: str  # what there was: none, whole or destroyed
    keeps_in: str  # where the keys are
    written: Written
    files: int | None  # how many they have uploaded; None: there is no store
    forgotten: Forgotten | None  # of what moderation stores; None: nothing was done
    version: int  # of the revocations, since they have the user's; 0: nothing was done
    held: tuple[str, ...] = ()  # what is on hold of it: the user, or chats of theirs

    @property
    def done(self) -> bool:
        """Whether it was not only a look."""
        return self.version > 0


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("erase", epilog=EXAMPLES)(erase)


def erase(
    user: Annotated[
        str | None, typer.Argument(help="Whom to erase, unless --list is given.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what there is, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print who was erased.")] = False,
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Erase a user: destroy the key with which the texts that they wrote are sealed.

    Their texts can then be read nowhere: not in the log, the history, nor in copies of these. Their
    sessions end within two seconds, and their user id can never chat again. What others wrote
    stays. Files that they sent are deleted. It can be done again, and then says what is left. While
    there is a hold on the user, or on a chat of theirs, nothing is destroyed, and the erasure is
    noted for later.
    """
    if list_ == bool(user):
        raise UsageError("name a user, or use --list")
    if list_:
        _print_list(run(_erased(target.settings(data, settings))), as_json=json)
        return
    chosen, user_id = target.settings(data, settings), _checked(user or "")
    holding = partial(_holding, chosen, data, settings)
    report = run(_look(chosen, user_id, holding))
    if not dry_run:
        _confirm(report, yes)
        report = run(_erase(chosen, report, holding))
    if report.held and not (report.done or dry_run):
        raise Failed(HELD.format(user=user_id, what=", ".join(report.held[:NAMED_MAX])))
    _print(report, as_json=json)


def _checked(user: str) -> UserId:
    from cecochat.domain.errors import Refusal
    from cecochat.domain.log.ids import user_id

    try:
        return user_id(user)
    except Refusal as refusal:
        raise UsageError(refusal.message) from None


def _confirm(report: Report, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: add --yes to erase, or --dry-run to look")
    echo(f"{_texts(report)}\n{WARNING.format(user=report.user)}", err=True)
    if typer.prompt("Type the user id to go on", err=True) != report.user:
        raise UsageError("that is not the user id: nothing was done")


async def _holding(
    chosen: Settings,
    data: Path | None,
    file: Path | None,
    keys: Keys,
    configuration: Configuration,
    history: History,
) -> KnownHolds:
    from cecochat.cli.operate.holding import known_holds

    where: dict[str, Any] = {"data": data, "file": file}
    return await known_holds(chosen, configuration, history, is_new=keys.is_new, **where)


async def _look(settings: Settings, user: UserId, holding: Holding) -> Report:
    from cecochat.adapters import build
    from cecochat.cli.operate.written import written_by
    from cecochat.settings import backends

    async with build.keys(settings) as keys, build.history(settings) as history:
        found = await keys.get([user])
        key = "none" if user not in found else "whole" if found[user] else "destroyed"
        written = await written_by(history, user)
        async with build.configuration(settings) as configuration:
            holds = await holding(keys, configuration, history)
            held = tuple(await holds.on(user))
    files = await _files(settings, user, delete=False)
    return Report(
        user, key, backends.chosen("keys", settings).keeps_in, written, files, None, 0, held
    )


async def _files(settings: Settings, user: UserId, *, delete: bool) -> int | None:
    """Return how many files of a user there are, and delete them if that is wanted. They are noted,
    since a URL that was signed before can bring one back.
    """
    from cecochat.adapters import build
    from cecochat.ports.files import Noted, owner_of
    from cecochat.runtime.clock import now_ms

    async with build.files(settings) as files:
        if files is None:
            return None
        keys = await files.of(owner_of(user))
        if delete:
            await files.note(ANY_PARTITION, [Noted(now_ms(), key) for key in keys])
            await files.delete(keys)
    return len(keys)


async def _erase(settings: Settings, report: Report, holding: Holding) -> Report:
    """Note that it was asked for, look for holds, and then destroy the key: whoever sets a hold
    later sees the note. The key comes before the revocation, since whoever is told of that asks
    for it again.
    """
    import asyncio

    from cecochat.adapters import build
    from cecochat.documents.revocations import deciding, until_now_ms
    from cecochat.domain.cluster.revocations import Revocation
    from cecochat.ports.configuration import HOLDS, REVOCATIONS
    from cecochat.ports.keys import Erased
    from cecochat.runtime.clock import now_ms

    async with build.keys(settings) as keys, build.configuration(settings) as configuration:
        async with build.history(settings) as history:
            holds = await holding(keys, configuration, history)
            noted = await changes.change(configuration, HOLDS, _noting(report.user, asked=True))
            holds.at_least(noted.version)
            held = tuple(await holds.on(report.user))
        if held:
            return report._replace(held=held)
        await note(settings, "erase", user_id=report.user)
        await keys.destroy(Erased(report.user, now_ms(), getpass.getuser()))
        async with build.search(settings) as search:
            if search:
                await search.forget(report.user)
        decide = await deciding(configuration, Revocation(report.user, "", until_now_ms()))
        document = await changes.change(configuration, REVOCATIONS, decide)
    deleted = await _files(settings, report.user, delete=True)
    if deleted is not None:
        await asyncio.sleep(SESSIONS_END_S)  # a session may have sent some more until then
        deleted += await _files(settings, report.user, delete=True) or 0
    async with build.moderation(settings) as moderation:
        forgotten = await moderation.forget(report.user)
    async with build.configuration(settings) as configuration:
        await changes.change(configuration, HOLDS, _noting(report.user, asked=False))
    return report._replace(files=deleted, forgotten=forgotten, version=document.version)


def _noting(user: UserId, *, asked: bool) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return what notes that an erasure was asked for, or that it is done."""
    from cecochat.domain.cluster.holds import Asked, document, parse, with_erasure
    from cecochat.runtime.clock import now_ms

    note = Asked(now_ms(), getpass.getuser()) if asked else None
    return lambda current: document(with_erasure(parse(current), user, note))


async def _erased(settings: Settings) -> list[Erased]:
    from cecochat.adapters import build

    async with build.keys(settings) as keys:
        return await keys.erased()


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        json_line(_as_json(report))
        return
    echo(_texts(report))
    if report.held:
        echo(f"on hold: {', '.join(report.held[:NAMED_MAX])}; see `cecochat hold list`")
    if report.forgotten is None:
        echo("This was only a look: nothing was changed.")
        return
    echo(f"key: destroyed in {report.keeps_in}")
    if report.files is not None:
        echo(f"files: {report.files} deleted")
    echo(_moderation(report.forgotten))
    echo(_after(report))


def _texts(report: Report) -> str:
    sealed, plain, chats = report.written
    lines = [f"{report.user} wrote {sealed + plain} texts in {chats} chats; key: {report.key}"]
    if report.files is not None:
        lines.append(f"files that they uploaded: {report.files}")
    if sealed:
        lines.append(f"texts sealed with the key: {sealed}")
    if plain:
        lines.append(
            f"texts that are not sealed, and stay readable: {plain}, from before sealing was on"
        )
    return "\n".join(lines)


def _moderation(forgotten: Forgotten) -> str:
    return (
        f"moderation: {forgotten.texts} texts of their reports and {forgotten.blocks} blocks of "
        "theirs removed. The reports themselves stay, with ids and reasons."
    )


def _after(report: Report) -> str:
    return (
        f"tokens: revoked, by version {report.version} of the revocations. Within 2 s, servers end "
        f"the sessions of {report.user} and forget the key.\n"
        "backups: one that has the keys of before still opens these texts. Remove such copies of "
        "the keys, or let them expire (docs/how-to/erase-a-user.md)."
    )


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "user": report.user,
        "erased": report.done,
        "held": list(report.held),
        "key_before": report.key,
        "keys_in": report.keeps_in,
        "sealed_texts": report.written.sealed,
        "plain_texts": report.written.plain,
        "chats": report.written.chats,
        "files": report.files,
        "report_texts_removed": report.forgotten.texts if report.forgotten else 0,
        "blocks_removed": report.forgotten.blocks if report.forgotten else 0,
        "revocations_version": report.version,
    }


def _print_list(erased: list[Erased], *, as_json: bool) -> None:
    if as_json:
        for each in erased:
            json_line(each._asdict())
    elif not erased:
        echo("nobody was erased")
    else:
        lines = [(each.user_id, shown_ms(each.at_ms), each.by) for each in erased]
        print_table([("USER", "ERASED", "BY"), *lines])
