"""`cecochat hold`: legal holds, under which nothing is destroyed."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cecochat.cli import changes, options, target
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.operate.apps import check_app
from cecochat.cli.output import echo, json_line, print_table, shown_ms
from cecochat.cli.privacy.acts import note
from cecochat.runtime.clock import now_ms

if TYPE_CHECKING:
    from cecochat.domain.cluster.holds import Hold, Holds
    from cecochat.ports.configuration import Document

app = typer.Typer(
    no_args_is_help=True,
    help="Set legal holds on users and chats. While there is one, nothing of theirs is destroyed: "
    "texts that are too old stay hidden but are not removed, and users are not erased.",
)
What = Annotated[
    str, typer.Argument(metavar="WHAT", help="A user id, or a chat id, such as g:hikers.")
]
Why = Annotated[str, typer.Option("--why", help="The reason, which is kept with it.")]
By = Annotated[str | None, typer.Option(help="Who does it. By default the user of this machine.")]


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="hold")


@app.command("list", epilog="Example: cecochat hold list --all")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also holds that were lifted.")] = False,
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Print the holds in force, who set them and why, and the erasures that wait for them."""
    found = run(_read(data, settings))
    lifted = [each._asdict() for each in found.lifted] if all_ else []
    rows = [*lifted, *({"what": what, **hold._asdict()} for what, hold in found.holds.items())]
    asked = [{"erasure": user, **each._asdict()} for user, each in found.erasures.items()]
    if json:
        for row in (*rows, *asked):
            json_line(row)
        return
    if rows:
        print_table([("WHAT", "SINCE", "BY", "WHY", "LIFTED"), *map(_line, rows)])
    else:
        echo("there is no hold")
    _print_waiting(found)


@app.command("set", epilog='Example: cecochat hold set alice --why "case 17"')
def set_(
    what: What,
    why: Why,
    by: By = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
) -> None:
    """Set a hold on a user or a chat. If there is one, it stays as it is.

    A hold on a user is one on all chats in which the user takes part, or did.
    """
    from cecochat.domain.cluster.holds import Hold, Holds, with_hold
    from cecochat.domain.log.ids import app_of

    check_app(app_of(_checked(what)), data, settings)
    hold = Hold(now_ms(), by or getpass.getuser(), why)
    with_hold(Holds(), what, hold)  # it raises what is wrong
    _note("hold", what, hold, data, settings)
    after = run(_set(data, settings, lambda holds: with_hold(holds, what, hold)))
    echo(f"{what}: on hold {_since(after.holds[what])}")
    _print_waiting(after)


@app.command(epilog='Example: cecochat hold lift alice --why "case 17 is closed"')
def lift(
    what: What,
    why: Why,
    by: By = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
) -> None:
    """Lift a hold. What is too old by now is removed with the next sweep."""
    from cecochat.domain.cluster.holds import Hold, parse, without_hold

    lifted = Hold(now_ms(), by or getpass.getuser(), why)
    without_hold(run(_read(data, settings)), what, lifted)  # it raises what is wrong
    _note("not hold", what, lifted, data, settings)
    after = run(_change(data, settings, lambda holds: without_hold(holds, what, lifted)))
    echo(f"{what}: no longer on hold")
    _print_waiting(parse(after.value))


def _note(act: str, what: str, hold: Hold, data: Path | None, file: Path | None) -> None:
    from cecochat.domain.cluster.holds import is_chat

    user_id, chat_id = ("", what) if is_chat(what) else (what, "")
    given = target.settings(data, file)
    run(note(given, act, user_id=user_id, chat_id=chat_id, reason=hold.why, by=hold.by))


def _checked(what: str) -> str:
    from cecochat.domain.cluster.holds import checked
    from cecochat.domain.errors import Refusal

    try:
        return checked(what)
    except Refusal as refusal:
        raise UsageError(refusal.message) from None


async def _read(data: Path | None, file: Path | None) -> Holds:
    from cecochat.adapters import build
    from cecochat.domain.cluster.holds import parse
    from cecochat.ports.configuration import HOLDS

    async with build.configuration(target.settings(data, file)) as configuration:
        return parse((await configuration.get(HOLDS)).value)


async def _set(data: Path | None, file: Path | None, decided: Callable[[Holds], Holds]) -> Holds:
    """Change the holds, and wait until somebody knows them besides the store of documents."""
    from cecochat.cli.privacy.holding import until_remembered
    from cecochat.domain.cluster.holds import parse

    after = await _change(data, file, decided)
    await until_remembered(target.settings(data, file), after.version, data, file)
    return parse(after.value)


async def _change(
    data: Path | None, file: Path | None, decided: Callable[[Holds], Holds]
) -> Document:
    from cecochat.adapters import build
    from cecochat.domain.cluster.holds import document, parse
    from cecochat.ports.configuration import HOLDS

    def decide(current: Any) -> dict[str, Any]:
        return document(decided(parse(current)))

    async with build.configuration(target.settings(data, file)) as configuration:
        return await changes.change(configuration, HOLDS, decide)


def _since(hold: Hold) -> str:
    return f"since {shown_ms(hold.at_ms)}, by {hold.by}: {hold.why}"


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    lifted = ""
    if "lifted_at_ms" in row:
        lifted = f"{shown_ms(row['lifted_at_ms'])} by {row['lifted_by']}: {row['lifted_why']}"
    return row["what"], shown_ms(row["at_ms"]), row["by"], row["why"], lifted


def _print_waiting(holds: Holds) -> None:
    for whom, asked in holds.erasures.items():
        app = whom.removesuffix("/") if whom.endswith("/") else ""
        words, who = (f"--app {app}", f"the app {app}") if app else (whom, whom)
        echo(
            f"{who} is to be erased, as {asked.by} asked at {shown_ms(asked.at_ms)}: once there "
            f"is no hold, run `cecochat erase {words}`"
        )
