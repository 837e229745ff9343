"""`cecochat erase --app`: switches an app off for good, and erases all its users."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Collection
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

from cecochat.cli import changes
from cecochat.cli.errors import Failed
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line
from cecochat.cli.privacy.acts import note
from cecochat.cli.privacy.erasing import (
    HELD,
    SESSIONS_END_S,
    confirm,
    counts,
    listed,
    noting,
    print_done,
    remove_files,
)

if TYPE_CHECKING:
    from cecochat.cli.privacy.erasing import Holding
    from cecochat.cli.privacy.written import Written
    from cecochat.documents.holds import KnownHolds
    from cecochat.domain.cluster.apps import Apps
    from cecochat.domain.log.ids import UserId
    from cecochat.ports.configuration import Configuration
    from cecochat.ports.files import Files
    from cecochat.ports.keys import Keys
    from cecochat.ports.moderation import Forgotten
    from cecochat.settings.settings import Settings

FILES_AT_ONCE = 20
WARNING = "Nobody will ever read what the users of {app} wrote, and {app} can never be used again."
STOPPED = (
    "there is a hold on {what} now, so it stopped after {users} users: run it again once the hold "
    "is lifted"
)


class Report(NamedTuple):
    """What there was of an app, and what was done."""

    app: str
    keeps_in: str  # where the keys are
    seals: bool  # whether the system seals texts
    users: int  # who have a key or had one
    erased_before: int  # of these
    written: Written
    files: int | None  # how many the users have uploaded; None: there is no store
    held: tuple[str, ...]  # what is on hold of it: users or chats
    forgotten: Forgotten | None = None  # of what moderation stores; None: nothing was done
    version: int = 0  # of the revocations, since they have the app's; 0: nothing was done


def erase_app(
    settings: Settings, app: str, held_by: Holding, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Look what there is of an app, ask, erase it, and print the report."""
    report = run(_look(settings, app, held_by))
    if not dry_run:
        confirm(_found(report), WARNING.format(app=app), app, yes)
        report = run(_erase(settings, report, held_by))
    if report.held and not (report.version or dry_run):
        raise Failed(HELD.format(user=app, what=listed(report.held)))
    if as_json:
        json_line(_as_json(report))
    else:
        _print(report)


# -- looking


async def _look(settings: Settings, app: str, held_by: Holding) -> Report:
    """Look what there is of an app. Raises `Refusal` if there is no such app."""
    from cecochat.adapters import build
    from cecochat.cli.privacy.written import written_in
    from cecochat.domain.cluster.apps import named
    from cecochat.settings import backends

    async with AsyncExitStack() as stack:
        keys = await stack.enter_async_context(build.keys(settings))
        configuration = await stack.enter_async_context(build.configuration(settings))
        named(await _apps(configuration), app)
        history = await stack.enter_async_context(build.history(settings))
        files = await stack.enter_async_context(build.files(settings))
        held = await _held(await held_by(keys, configuration, history), app)
        written = await written_in(history, app, lambda chats: _progress(f"{chats} chats read"))
        users, destroyed, uploaded = await _users(keys, files, app)
        return Report(
            app,
            backends.chosen("keys", settings).keeps_in,
            bool(await keys.seals()),
            users,
            destroyed,
            written,
            uploaded if files else None,
            held,
        )


async def _apps(configuration: Configuration) -> Apps:
    from cecochat.domain.cluster.apps import parse
    from cecochat.ports.configuration import APPS

    return parse((await configuration.get(APPS)).value)


async def _held(holds: KnownHolds, app: str) -> tuple[str, ...]:
    """Return the users and chats of an app on which there is a hold."""
    from cecochat.domain.log.ids import app_of

    return tuple(what for what in (await holds.now()).holds if app_of(what) == app)


async def _users(keys: Keys, files: Files | None, app: str) -> tuple[int, int, int]:
    """Return how many users an app has, how many of these were erased, and how many files they
    have uploaded.
    """
    from cecochat.ports.files import owner_of

    async def uploaded(user: UserId) -> int:
        return len(await files.of(owner_of(user))) if files else 0

    users = destroyed = count = 0
    async with aclosing(keys.users(app)) as pages:
        async for page in pages:
            users += len(page)
            destroyed += sum(key is None for key in (await keys.get(page)).values())
            for some in _parts(page):
                count += sum(await asyncio.gather(*map(uploaded, some)))
    return users, destroyed, count


def _parts(page: list[UserId]) -> list[list[UserId]]:
    return [page[at : at + FILES_AT_ONCE] for at in range(0, len(page), FILES_AT_ONCE)]


def _progress(text: str) -> None:
    echo(text, err=True)


# -- erasing


async def _erase(settings: Settings, report: Report, held_by: Holding) -> Report:
    """Note that it was asked for, and look for holds: whoever sets one later sees the note. Then
    switch the app off, so that nobody writes any more, erase its users, and have servers forget
    their keys.
    """
    from cecochat.adapters import build
    from cecochat.documents.revocations import deciding, until_now_ms
    from cecochat.domain.cluster.apps import erasing
    from cecochat.domain.cluster.revocations import Revocation
    from cecochat.ports.configuration import APPS, HOLDS, REVOCATIONS
    from cecochat.runtime.clock import now_ms

    whom = f"{report.app}/"
    async with AsyncExitStack() as stack:
        keys = await stack.enter_async_context(build.keys(settings))
        configuration = await stack.enter_async_context(build.configuration(settings))
        history = await stack.enter_async_context(build.history(settings))
        holds = await held_by(keys, configuration, history)
        noted = await changes.change(configuration, HOLDS, noting(whom, asked=True))
        holds.at_least(noted.version)
        if held := await _held(holds, report.app):
            return report._replace(held=held)
        await note(settings, "erase", detail=f"app {report.app}")
        await changes.change(configuration, APPS, erasing(report.app, now_ms()))
        await asyncio.sleep(SESSIONS_END_S)  # until then, servers may make keys and take files
        done = await _erase_users(settings, keys, holds, report)
        wanted = Revocation("", "", until_now_ms(), report.app)
        decide = await deciding(configuration, wanted)
        document = await changes.change(configuration, REVOCATIONS, decide)
        await changes.change(configuration, HOLDS, noting(whom, asked=False))
    return done._replace(version=document.version)


async def _erase_users(settings: Settings, keys: Keys, holds: KnownHolds, report: Report) -> Report:
    """Erase all users of an app, page by page. Raises `Failed` if there is a hold meanwhile."""
    from cecochat.adapters import build
    from cecochat.ports.keys import Erased
    from cecochat.ports.moderation import Forgotten
    from cecochat.runtime.clock import now_ms

    users = removed = texts = blocks = 0
    async with AsyncExitStack() as stack:
        search = await stack.enter_async_context(build.search(settings))
        files = await stack.enter_async_context(build.files(settings))
        moderation = await stack.enter_async_context(build.moderation(settings))
        pages = await stack.enter_async_context(aclosing(keys.users(report.app)))
        async for page in pages:
            if held := await _held(holds, report.app):
                raise Failed(STOPPED.format(what=listed(held), users=users))
            by = getpass.getuser()
            await keys.destroy(*(Erased(user, now_ms(), by) for user in page))
            if search:
                await search.forget(page)
            removed += await _remove_files(files, page)
            of_page = await moderation.forget(page)
            texts, blocks = texts + of_page.texts, blocks + of_page.blocks
            users += len(page)
            _progress(f"erased so far: {users} users of {report.app}")
        if search:
            await search.purge()
    files_done = None if report.files is None else removed
    return report._replace(users=users, files=files_done, forgotten=Forgotten(texts, blocks))


async def _remove_files(files: Files | None, users: Collection[UserId]) -> int:
    if files is None:
        return 0
    store, count = files, 0
    for some in _parts([*users]):
        count += sum(await asyncio.gather(*(remove_files(store, user) for user in some)))
    return count


# -- the report


def _found(report: Report) -> str:
    sealed, plain, chats = report.written
    lines = [
        f"users of {report.app}: {report.users}, of whom {report.erased_before} erased before",
        f"texts in {chats} chats: {sealed + plain}, of which {sealed} are sealed",
    ]
    if report.files is not None:
        lines.append(f"files that they uploaded: {report.files}")
    if plain:
        lines.append(f"texts that are not sealed, and stay readable: {plain}")
    if not report.seals:
        lines.append("this system seals no texts, so users have no keys: see `cecochat sealing`")
    return "\n".join(lines)


def _print(report: Report) -> None:
    what = "the app: switched off for good\nkeys"
    print_done(report, _found(report), what, "Within 2 s, servers forget the keys.")


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "app": report.app,
        "erased": report.version > 0,
        "seals": report.seals,
        "users": report.users,
        "users_erased_before": report.erased_before,
        **counts(report),
    }
