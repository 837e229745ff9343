"""`cecochat takeout`: everything that is a user's, in one archive."""

from __future__ import annotations

import getpass
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Annotated, Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from cecochat.cli import options, target
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, shown_ms
from cecochat.cli.privacy.acts import note
from cecochat.domain.printable import as_json as in_json

if TYPE_CHECKING:
    from cecochat.cli.privacy.belongings import Line
    from cecochat.domain.cluster.retention import Retention
    from cecochat.domain.log.ids import UserId
    from cecochat.settings.settings import Settings

EXAMPLES = (
    "Examples: cecochat takeout alice --output alice.zip; cecochat takeout alice -o alice.zip "
    "--with-files --with-others; cecochat takeout --app shop --output shop"
)
ACCESS = "access.json"
NAMED_MAX = 5
NO_CONTENTS = "the contents of files, which --with-files adds: `messages.jsonl` names them"
NOT_IN_IT = (
    "open sessions: servers know them only while they last",
    "the log: the history has the same events, and receipts as the read marks that they set",
    "dead letters and parked webhooks, which are kept for 30 days: `cecochat dead list` and "
    "`cecochat hooks parked` show them",
    "the index of the search: it has the words of these texts and nothing else",
    "the key of the user: it opens sealed texts, and stays with the system",
    "log lines, traces and metrics of servers: they have no texts",
)
README = """This archive has everything that a chat system keeps of the user {user}.
It was made on {at}. Each line of a .jsonl file is one object of JSON;
times are milliseconds since 1970, and ids are numbers in quotation marks.

{files}
access.json      revoked tokens of the user, and whether their texts can be opened
report.json      what was found where, and what is not in this archive
"""

Report = dict[str, Any]


class _Which(NamedTuple):
    """What else is to be in the archive."""

    others: bool
    expired: bool
    files: bool


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("takeout", epilog=EXAMPLES)(takeout)


def takeout(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The archive, a ZIP file, which only you may read. It appears once it is whole. "
            "With --app, a folder for the archives.",
        ),
    ],
    user: Annotated[
        str | None, typer.Argument(help="Whose data to collect, unless --app is given.")
    ] = None,
    app: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Make an archive for each user of an app. Those that are there already stay as "
            "they are.",
        ),
    ] = "",
    with_others: Annotated[
        bool,
        typer.Option(
            "--with-others",
            help="Also what others wrote in the user's chats, as far as the user sees it.",
        ),
    ] = False,
    with_expired: Annotated[
        bool,
        typer.Option(
            "--with-expired",
            help="Also what chats do not keep any more, as far as it is still there, as under a "
            "hold.",
        ),
    ] = False,
    with_files: Annotated[
        bool,
        typer.Option(
            "--with-files",
            help="Also the contents of the user's files. What is missing or damaged is reported.",
        ),
    ] = False,
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Collect everything that is a user's in one archive, with plain texts, and report what it has.

    That is: their messages, edits, deletions and reactions in all chats, also in groups that they
    have left; their chats with settings, read marks and roles; what became of them in groups; their
    revoked tokens. It only reads the stores, but for a line in the audit log, and the servers may
    run.
    """
    if bool(user) == bool(app):
        raise UsageError("name a user, or use --app")
    from cecochat.cli.privacy.takeout_app import archives_of

    chosen = target.settings(data, settings)
    wanted = archives_of(chosen, app, output) if app else [(_checked(user or ""), output)]
    which = _Which(with_others, with_expired, with_files)
    for user_id, path in wanted:
        run(note(chosen, "takeout", user_id=user_id))
        with _archive(path) as (folder, archive):
            report = run(_collect(chosen, user_id, folder, archive, which))
        _print(report, path, as_json=json)


def _checked(user: str) -> UserId:
    from cecochat.domain.errors import Refusal
    from cecochat.domain.log.ids import user_id

    try:
        return user_id(user)
    except Refusal as refusal:
        raise UsageError(refusal.message) from None


# -- the archive


@contextmanager
def _archive(output: Path) -> Iterator[tuple[Path, ZipFile]]:
    """Give an archive, and a folder whose files are packed into it in the end. Both are their
    owner's alone.
    """
    from cecochat.settings import private

    beside = output.with_name(f"{output.name}.new")
    try:
        with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as name:
            private.make_file(beside)
            with ZipFile(beside, "w", ZIP_DEFLATED) as packed:
                yield Path(name), packed
                for each in sorted(Path(name).iterdir()):
                    packed.write(each, each.name)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)


async def _collect(
    settings: Settings, user: UserId, folder: Path, archive: ZipFile, which: _Which
) -> Report:
    from cecochat.adapters import build
    from cecochat.auth.operators import keys_secret
    from cecochat.cli.privacy.belongings import Belongings
    from cecochat.cli.privacy.moderated import moderated
    from cecochat.sealing.keyring import KeyRing
    from cecochat.sealing.opening import Opening
    from cecochat.sealing.reports import ReportTexts

    async with AsyncExitStack() as stack:
        keys = await stack.enter_async_context(build.keys(settings))
        history = await stack.enter_async_context(build.history(settings))
        ring = KeyRing(keys, keys_secret(settings))
        await ring.begin()
        opening = Opening(ring)
        if not which.expired:
            opening.keep(await _retention(settings))
        found = Belongings(history, opening, user)
        moderation = await stack.enter_async_context(build.moderation(settings))
        with _progress() as chat_done:
            of_history = found.lines(others=which.others, chat_done=chat_done)
            of_moderation = moderated(moderation, ReportTexts(ring), user)
            counts = await _write_lines([of_history, of_moderation], folder, which)
        holes = [each for each in await history.holes() if each.reason != "uncopied"]
        key = (await keys.get([user])).get(user, b"none")
    access = {"key": "none" if key == b"none" else "whole" if key else "destroyed"}
    access |= await _revoked(settings, user)
    (folder / ACCESS).write_text(f"{in_json(access)}\n")
    report = _report(settings, user, counts)
    if which.files:
        report["contents"] = await _contents(settings, user, folder, archive)
    else:
        report["not_in_it"].append(NO_CONTENTS)
    report["too_old"] = found.expired
    report["revoked"] = len(access["logins"]) + bool(access["before_ms"])
    report["holes_in_the_history"] = len(holes)
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False))
    (folder / "README.txt").write_text(_readme(report))
    return report


async def _write_lines(
    sources: Sequence[AsyncIterator[Line]], folder: Path, which: _Which
) -> dict[str, int]:
    """Write the files, and return how many lines each of them has."""
    from cecochat.cli.privacy.belongings import FILES, OTHERS

    files: dict[str, IO[str]] = {}
    try:
        for name in FILES:
            if which.others or name != OTHERS:
                files[name] = (folder / name).open("w")
        counts = dict.fromkeys(files, 0)
        for lines in sources:
            async for name, value in lines:
                files[name].write(f"{in_json(value)}\n")
                counts[name] += 1
    finally:
        for each in files.values():
            each.close()
    return counts


@contextmanager
def _progress() -> Iterator[Callable[[], None]]:
    """Count the chats on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("chats"), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda: progress.advance(task)


# -- what is elsewhere


async def _contents(
    settings: Settings, user: UserId, folder: Path, archive: ZipFile
) -> dict[str, Any]:
    from cecochat.adapters import build
    from cecochat.cli.privacy.belongings import OWN
    from cecochat.cli.privacy.contents import Contents

    async with build.files(settings) as files:
        contents = Contents(files, user, archive)
        await contents.add(folder / OWN)
    return contents.as_json()


async def _retention(settings: Settings) -> Retention:
    from cecochat.adapters import build
    from cecochat.domain.cluster.retention import parse
    from cecochat.ports.configuration import RETENTION

    async with build.configuration(settings) as configuration:
        return parse((await configuration.get(RETENTION)).value)


async def _revoked(settings: Settings, user: UserId) -> dict[str, Any]:
    from cecochat.adapters import build
    from cecochat.domain.cluster.revocations import parse
    from cecochat.ports.configuration import REVOCATIONS

    async with build.configuration(settings) as configuration:
        revoked = parse((await configuration.get(REVOCATIONS)).value)
    logins = [each for each in revoked.logins.items() if each[0][0] == user]
    return {
        "before_ms": revoked.users.get(user, 0),
        "logins": [{"sid": sid, "before_ms": ms} for (_, sid), ms in logins],
    }


# -- the report


def _report(settings: Settings, user: UserId, counts: dict[str, int]) -> Report:
    from cecochat.runtime.clock import now_ms
    from cecochat.settings import backends

    return {
        "user": user,
        "at_ms": now_ms(),
        "by": getpass.getuser(),
        "history_in": backends.chosen("history", settings).keeps_in,
        "moderation_in": backends.chosen("moderation", settings).keeps_in,
        "keys_in": backends.chosen("keys", settings).keeps_in,
        "revocations_in": backends.chosen("configuration", settings).keeps_in,
        "files": counts,
        "not_in_it": list(NOT_IN_IT),
    }


def _readme(report: Report) -> str:
    from cecochat.cli.privacy.belongings import FILES

    files = {name: FILES[name] for name in report["files"]}
    if "contents" in report:
        files["files/"] = "the contents of the user's files; each name begins with the id"
    lines = "\n".join(f"{name:<17}{what}" for name, what in files.items())
    return README.format(user=report["user"], at=shown_ms(report["at_ms"], "minutes"), files=lines)


def _print(report: Report, output: Path, *, as_json: bool) -> None:
    from cecochat.cli.privacy.belongings import FILES

    if as_json:
        json_line(report)
        return
    echo(f"{output} has everything of {report['user']}, as plain text: keep it safe")
    echo(
        f"from the history in {report['history_in']}, and from moderation in "
        f"{report['moderation_in']}:"
    )
    for name, count in report["files"].items():
        echo(f"  {count:>8}  {FILES[name]}")
    echo(
        f"revocations of tokens: {report['revoked']}, from {report['revocations_in']}\n"
        f"texts that are left out, as their chats do not keep them any more: {report['too_old']}"
    )
    if "contents" in report:
        _print_contents(report["contents"])
    if report["holes_in_the_history"]:
        echo(
            f"the history has {report['holes_in_the_history']} holes, so messages may be missing: "
            "see `cecochat holes list`",
            fg="red",
            err=True,
        )


def _print_contents(contents: dict[str, Any]) -> None:
    echo(f"files: {contents['count']}, {contents['size_bytes']:,} bytes")
    for what in ("missing", "damaged"):
        if ids := contents[what]:
            more = ", ..." if len(ids) > NAMED_MAX else ""
            echo(
                f"files that are {what}: {len(ids)} ({', '.join(ids[:NAMED_MAX])}{more})",
                fg="red",
                err=True,
            )
