"""`cecochat revoke`: revokes tokens, and ends the streams that were opened with them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import changes, options, target
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table

if TYPE_CHECKING:
    from cecochat.domain.cluster.revocations import Revocation, Revocations
    from cecochat.ports.configuration import Document

EXAMPLES = (
    "Examples: cecochat revoke alice; cecochat revoke alice --sid phone-7; "
    "cecochat revoke --app shop; cecochat revoke --everyone --before 2026-11-27T12:00:00Z; "
    "cecochat revoke --list"
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("revoke", epilog=EXAMPLES)(revoke)


def revoke(
    user: Annotated[
        str | None,
        typer.Argument(help="Whose tokens to revoke, unless --app or --everyone is given."),
    ] = None,
    sid: Annotated[
        str, typer.Option(help="Revoke only those of one login, as their claim `sid` names it.")
    ] = "",
    app: Annotated[
        str,
        typer.Option(metavar="NAME", help="Revoke the tokens of all users of an app."),
    ] = "",
    everyone: Annotated[bool, typer.Option(help="Revoke the tokens of all users.")] = False,
    before: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Revoke only those that were issued before this time, such as "
            "2026-11-27T12:00:00Z. Without a zone it is local time. By default it is now.",
        ),
    ] = "",
    list_: Annotated[
        bool, typer.Option("--list", help="Print the revocations that are in force.")
    ] = False,
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Revoke the tokens that a user was issued before now.

    Within two seconds, every server ends the streams that were opened with them, and refuses calls
    with them. A token that is issued later is valid: to keep a user out, have your back end issue
    none. Service tokens stay valid.
    """
    if [bool(user), bool(app), everyone, list_].count(True) != 1:
        raise UsageError("name a user, or use either --app, --everyone or --list")
    if list_:
        _print_list(run(_in_force(data, settings)), as_json=json)
        return
    wanted = _wanted(user or "", sid, before, app)
    document = run(_revoke(data, settings, wanted))
    _print_done(wanted, document, as_json=json)


def _wanted(user: str, sid: str, before: str, app: str) -> Revocation:
    from cecochat.documents.revocations import until_now_ms
    from cecochat.domain.cluster.revocations import Revocation

    return Revocation(user, sid, _time_ms(before) if before else until_now_ms(), app)


def _time_ms(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r:.80} is not a time: write it as 2026-11-27T12:00:00Z (ISO 8601)"
        ) from None


async def _revoke(data: Path | None, file: Path | None, wanted: Revocation) -> Document:
    from cecochat.adapters import build
    from cecochat.documents.revocations import deciding
    from cecochat.ports.configuration import REVOCATIONS

    async with build.configuration(target.settings(data, file)) as configuration:
        decide = await deciding(configuration, wanted)
        return await changes.change(configuration, REVOCATIONS, decide)


async def _in_force(data: Path | None, file: Path | None) -> Revocations:
    from cecochat.adapters import build
    from cecochat.domain.cluster.revocations import parse
    from cecochat.ports.configuration import REVOCATIONS

    async with build.configuration(target.settings(data, file)) as configuration:
        return parse((await configuration.get(REVOCATIONS)).value)


def _print_done(wanted: Revocation, document: Document, *, as_json: bool) -> None:
    from cecochat.domain.cluster.revocations import parse

    count = len(parse(document.value))
    if as_json:
        json_line({**wanted._asdict(), "version": document.version, "in_force": count})
        return
    echo(
        f"revoked: tokens of {_whose(wanted)} that were issued before {_time(wanted.before_ms)}\n"
        "Within 2 s, servers end the streams that were opened with such a token, and refuse it.\n"
        f"This is version {document.version} of the revocations; {count} in force."
    )


def _print_list(revoked: Revocations, *, as_json: bool) -> None:
    if as_json:
        for each in revoked.entries():
            json_line(each._asdict())
    elif not len(revoked):
        echo("nothing is revoked")
    else:
        lines = [(_whose(each), _time(each.before_ms)) for each in revoked.entries()]
        print_table([("TOKENS OF", "ISSUED BEFORE"), *lines])


def _whose(revoked: Revocation) -> str:
    if revoked.app:
        return f"all users of {revoked.app}"
    login = f", login {revoked.sid}" if revoked.sid else ""
    return f"{revoked.user or 'everyone'}{login}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).astimezone().isoformat(" ", "milliseconds")
