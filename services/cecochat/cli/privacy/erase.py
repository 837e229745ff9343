"""`cecochat erase`: makes what a user wrote unreadable for good, and bars the user. What is of a
whole app is in `erase_app`.
"""

from __future__ import annotations

import getpass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cecochat.cli import changes, options, target
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table, shown_ms
from cecochat.cli.privacy.acts import note
from cecochat.cli.privacy.erasing import (
    HELD,
    SESSIONS_END_S,
    confirm,
    counts,
    holding,
    listed,
    noting,
    print_done,
    remove_files,
)

if TYPE_CHECKING:
    from cecochat.cli.privacy.erasing import Holding
    from cecochat.cli.privacy.written import Written
    from cecochat.domain.log.ids import UserId
    from cecochat.ports.keys import Erased
    from cecochat.ports.moderation import Forgotten
    from cecochat.settings.settings import Settings

EXAMPLES = (
    "Examples: cecochat erase alice --dry-run; cecochat erase alice; cecochat erase alice --yes "
    "--json; cecochat erase --app shop; cecochat erase --list"
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
        str | None, typer.Argument(help="Whom to erase, unless --app or --list is given.")
    ] = None,
    app: Annotated[
        str, typer.Option(metavar="NAME", help="Erase all users of an app, and the app for good.")
    ] = "",
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
    noted for later. With --app, all this is done to every user of an app, and nobody can use the
    app or its name again.
    """
    if [bool(user), bool(app), list_].count(True) != 1:
        raise UsageError("name a user, or use --app or --list")
    chosen = target.settings(data, settings)
    held_by = partial(holding, chosen, data, settings)
    if list_:
        _print_list(run(_erased(chosen)), as_json=json)
    elif app:
        from cecochat.cli.privacy.erase_app import erase_app

        erase_app(chosen, app, held_by, dry_run=dry_run, yes=yes, as_json=json)
    else:
        _erase_user(chosen, _checked(user or ""), held_by, dry_run=dry_run, yes=yes, as_json=json)


def _erase_user(
    settings: Settings,
    user_id: UserId,
    held_by: Holding,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    report = run(_look(settings, user_id, held_by))
    if not dry_run:
        confirm(_texts(report), WARNING.format(user=user_id), user_id, yes)
        report = run(_erase(settings, report, held_by))
    if report.held and not (report.done or dry_run):
        raise Failed(HELD.format(user=user_id, what=listed(report.held)))
    _print(report, as_json=as_json)


def _checked(user: str) -> UserId:
    from cecochat.domain.errors import Refusal
    from cecochat.domain.log.ids import user_id

    try:
        return user_id(user)
    except Refusal as refusal:
        raise UsageError(refusal.message) from None


async def _look(settings: Settings, user: UserId, held_by: Holding) -> Report:
    from cecochat.adapters import build
    from cecochat.cli.privacy.written import written_by
    from cecochat.settings import backends

    async with build.keys(settings) as keys, build.history(settings) as history:
        found = await keys.get([user])
        key = "none" if user not in found else "whole" if found[user] else "destroyed"
        written = await written_by(history, user)
        async with build.configuration(settings) as configuration:
            holds = await held_by(keys, configuration, history)
            held = tuple(await holds.on(user))
    files = await _files(settings, user, delete=False)
    return Report(
        user, key, backends.chosen("keys", settings).keeps_in, written, files, None, 0, held
    )


async def _files(settings: Settings, user: UserId, *, delete: bool) -> int | None:
    """Return how many files of a user there are, and delete them if that is wanted."""
    from cecochat.adapters import build
    from cecochat.ports.files import owner_of

    async with build.files(settings) as files:
        if files is None:
            return None
        return await remove_files(files, user) if delete else len(await files.of(owner_of(user)))


async def _erase(settings: Settings, report: Report, held_by: Holding) -> Report:
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
            holds = await held_by(keys, configuration, history)
            noted = await changes.change(configuration, HOLDS, noting(report.user, asked=True))
            holds.at_least(noted.version)
            held = tuple(await holds.on(report.user))
        if held:
            return report._replace(held=held)
        await note(settings, "erase", user_id=report.user)
        await keys.destroy(Erased(report.user, now_ms(), getpass.getuser()))
        async with build.search(settings) as search:
            if search:
                await search.forget([report.user])
                await search.purge()
        wanted = Revocation(report.user, "", until_now_ms())
        decide = await deciding(configuration, wanted, is_bounded=False)
        document = await changes.change(configuration, REVOCATIONS, decide)
    deleted = await _files(settings, report.user, delete=True)
    if deleted is not None:
        await asyncio.sleep(SESSIONS_END_S)  # a session may have sent some more until then
        deleted += await _files(settings, report.user, delete=True) or 0
    async with build.moderation(settings) as moderation:
        forgotten = await moderation.forget([report.user])
    async with build.configuration(settings) as configuration:
        await changes.change(configuration, HOLDS, noting(report.user, asked=False))
    return report._replace(files=deleted, forgotten=forgotten, version=document.version)


async def _erased(settings: Settings) -> list[Erased]:
    from cecochat.adapters import build

    async with build.keys(settings) as keys:
        return await keys.erased()


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        json_line(_as_json(report))
        return
    after = f"Within 2 s, servers end the sessions of {report.user} and forget the key."
    print_done(report, _texts(report), "key", after)


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


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "user": report.user,
        "erased": report.done,
        "key_before": report.key,
        **counts(report),
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
