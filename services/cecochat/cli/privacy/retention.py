"""`cecochat retention`: how long chats keep their messages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cecochat.cli import changes, options, target
from cecochat.cli.chat.token import seconds
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.operate.apps import check_app
from cecochat.cli.output import echo, json_line, print_table, shown_ms
from cecochat.cli.privacy.acts import note

if TYPE_CHECKING:
    from cecochat.domain.cluster.retention import Retention, Rule

app = typer.Typer(
    no_args_is_help=True,
    help="Say how long chats keep their messages. What is older is answered by nothing from that "
    "moment on, and its text is removed soon after.",
)
FOREVER: Final = "forever"
What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="`dialogs`, `groups`, those of an app, such as shop/dialogs, or a chat id, such as "
        "g:hikers or d:alice~bob.",
    ),
]


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="retention")


@app.command("list", epilog="Example: cecochat retention list")
def list_(
    data: options.Data = None, settings: options.SettingsFile = None, json: options.Json = False
) -> None:
    """Print the rules."""
    retention, version, by = run(_read(data, settings))
    kinds = [("dialogs", retention.dialogs), ("groups", retention.groups)]
    rules = [*kinds, *sorted(retention.apps.items()), *sorted(retention.chats.items())]
    if json:
        for what, rule in rules:
            json_line({"what": what, **rule._asdict()})
        return
    print_table([("WHAT", "KEEPS", "GONE BEFORE"), *(_line(*each) for each in rules)])
    if version:
        echo(f"version {version}, by {by}")


@app.command("set", epilog="Examples: cecochat retention set dialogs 365d")
def set_(
    what: What,
    time: Annotated[
        str, typer.Argument(metavar="TIME", help="Such as 90m, 12h or 365d, or `forever`.")
    ],
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Have dialogs, groups or a single chat keep messages for this long and no longer.

    The rule of a chat is used in place of the one of its kind. What is too old by now stays gone,
    whatever is set later.
    """
    from cecochat.domain.log.ids import app_of

    keep_s = 0 if time == FOREVER else round(seconds(time))
    if time != FOREVER and keep_s < 1:
        raise UsageError(f"{time} is shorter than a second: use `forever` to keep everything")
    check_app(app_of(_checked(what)), data, settings)
    run(_change(what, keep_s, data, settings, as_json=json))


@app.command(epilog="Example: cecochat retention unset g:hikers")
def unset(
    chat: Annotated[
        str, typer.Argument(metavar="CHAT", help="A chat id, or the dialogs or groups of an app.")
    ],
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Have a chat keep messages as long as others of its kind again."""
    if chat in ("dialogs", "groups"):
        raise UsageError(f"to keep all of {chat}, use `cecochat retention set {chat} {FOREVER}`")
    run(_change(_checked(chat), None, data, settings, as_json=json))


def _checked(what: str) -> str:
    from cecochat.domain.cluster.retention import KINDS, is_of_app
    from cecochat.domain.errors import Refusal
    from cecochat.domain.log.ids import chat_id

    try:
        return what if what in KINDS or is_of_app(what) else chat_id(what)
    except Refusal as refusal:
        raise UsageError(refusal.message) from None


async def _read(data: Path | None, file: Path | None) -> tuple[Retention, int, str]:
    from cecochat.adapters import build
    from cecochat.domain.cluster.retention import parse
    from cecochat.ports.configuration import RETENTION

    async with build.configuration(target.settings(data, file)) as configuration:
        document = await configuration.get(RETENTION)
    return parse(document.value), document.version, document.changed_by


async def _change(
    what: str, keep_s: int | None, data: Path | None, file: Path | None, *, as_json: bool
) -> None:
    from cecochat.adapters import build
    from cecochat.documents.retention import about, deciding
    from cecochat.domain.cluster import retention
    from cecochat.ports.configuration import RETENTION

    given = target.settings(data, file)
    chat_id, detail = about(what, keep_s)
    await note(given, "retention", chat_id=chat_id, detail=detail)
    async with build.configuration(given) as configuration:
        document = await changes.change(configuration, RETENTION, deciding(what, keep_s))
    now = retention.parse(document.value)
    rule = {"dialogs": now.dialogs, "groups": now.groups, **now.apps, **now.chats}.get(what)
    rule = rule or retention.Rule(None)
    if as_json:
        json_line({"what": what, **rule._asdict(), "version": document.version})
        return
    echo(f"{what}: {_line(what, rule)[1]}, by version {document.version} of the retention")
    if rule.keep_s:
        echo(
            "Within 2 s, servers tell nobody of what is older. Its text is removed from the "
            "history and the index of the search within two hours, unless there is a hold."
        )


def _line(what: str, rule: Rule) -> tuple[str, str, str]:
    keeps = "as its kind" if rule.keep_s is None else _words(rule.keep_s)
    return what, keeps, shown_ms(rule.gone_ms) if rule.gone_ms else ""


def _words(keep_s: int) -> str:
    """Return a time in the largest unit that says it exactly."""
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if keep_s and keep_s % length_s == 0:
            return f"{keep_s // length_s}{unit}"
    return f"{keep_s}s" if keep_s else FOREVER
