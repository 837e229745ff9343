"""`cecochat moderate`: who may say what, who is asked first, and what users report."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options, target
from cecochat.cli.chat.token import seconds as duration_s
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.failure import run
from cecochat.cli.operate import reports
from cecochat.cli.operate.apps import check_app
from cecochat.cli.operate.hooks import secret_of
from cecochat.cli.output import echo, json_line, print_table, shown_ms

if TYPE_CHECKING:
    from cecochat.domain.moderation.acts import Act
    from cecochat.domain.moderation.before_send import BeforeSend
    from cecochat.domain.moderation.rules import Part, Rules

app = typer.Typer(
    no_args_is_help=True,
    help="Say who may not chat or write, which chats are frozen or slow, and which URL of your "
    "application is asked before a message is accepted. Work off what users report.",
)
User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Chat = Annotated[
    str, typer.Argument(metavar="CHAT", help="The chat's id, such as g:hikers or d:ann~bob.")
]
For = Annotated[
    str,
    typer.Option(
        "--for", metavar="TIME", help="For how long, as 30m, 12h or 7d; without it, for good."
    ),
]
Why = Annotated[
    str, typer.Option("--reason", help="For other moderators: it stays in the audit log.")
]
SOON = "Servers follow within 2 s."


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="moderate")
    reports.add_to(app)


@app.command(epilog="Examples: cecochat moderate ban mallory; cecochat moderate ban bob --for 7d")
def ban(
    user: User,
    for_: For = "",
    reason: Why = "",
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Keep a user out: their streams end, and every call is refused with `BANNED`."""
    _forbid("banned", user, for_, reason, data, settings, as_json=json)


@app.command(epilog="Example: cecochat moderate mute bob --for 1h")
def mute(
    user: User,
    for_: For = "",
    reason: Why = "",
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Let a user read only: what they write is refused with `MUTED`."""
    _forbid("muted", user, for_, reason, data, settings, as_json=json)


@app.command(epilog="Example: cecochat moderate freeze g:hikers --for 30m")
def freeze(
    chat: Chat,
    for_: For = "",
    reason: Why = "",
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Let nobody write in a chat, except the system: it is refused with `FROZEN`."""
    _forbid("frozen", chat, for_, reason, data, settings, as_json=json)


@app.command(epilog="Example: cecochat moderate slow g:hikers 30")
def slow(
    chat: Chat,
    seconds: Annotated[int, typer.Argument(help="How long a user waits between two messages.")],
    reason: Why = "",
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Have each user of a chat wait between messages: one too soon is refused with `TOO_SOON`."""
    _change("slow", chat, seconds, reason, data, settings, as_json=json)


@app.command(epilog="Examples: cecochat moderate lift mallory; cecochat moderate lift g:hikers")
def lift(
    name: Annotated[str, typer.Argument(metavar="USER|CHAT", help="Whom or what to set free.")],
    reason: Why = "",
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """End all bans, mutes and freezes of a user or a chat, and its slowness."""
    found = [part for part, each, _ in run(_in_force(data, settings)).entries() if each == name]
    if not found:
        raise Failed(f"nothing is forbidden to {name}: `cecochat moderate rules` lists all")
    for part in found:
        run(_set(part, name, 0, reason, data, settings))
    json_line({"lifted": name}) if json else echo(f"{name} is free again. {SOON}")


@app.command(epilog="Example: cecochat moderate rules")
def rules(
    data: options.Data = None, settings: options.SettingsFile = None, json: options.Json = False
) -> None:
    """Print what is in force."""
    found = run(_in_force(data, settings))
    entries = found.entries(_now_ms())
    if json:
        for part, name, number in entries:
            json_line({"rule": part, "name": name, _unit(part): number})
        for of_app in found.before_send:
            json_line({"rule": "before_send", **_asked(found, of_app)})
        return
    if entries:
        print_table([("RULE", "WHOM OR WHAT", "HOW LONG"), *(_line(*each) for each in entries)])
    else:
        echo("nobody is banned or muted, no chat is frozen or slow")
    for of_app, asked in found.before_send.items():
        which = f"a message of {of_app}" if of_app else "a message"
        echo(f"{asked.url} is asked before {which} is accepted; away: {asked.when_away}")


@app.command(
    "before-send",
    epilog="Examples: cecochat moderate before-send https://shop.example/chat; "
    "cecochat moderate before-send --off",
)
def before_send(
    url: Annotated[str, typer.Argument(help="The URL to ask, https:// or http://.")] = "",
    deadline: Annotated[
        int, typer.Option(metavar="MS", help="How long it may take to answer, in ms.")
    ] = 1_000,
    when_away: Annotated[
        str, typer.Option(help="What holds while it does not answer: allow or refuse.")
    ] = "allow",
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Ask about this kind only, message or edit; give it once for each."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Ask nobody any more.")] = False,
    app: Annotated[
        str,
        typer.Option(metavar="APP", help="The app it is about. By default, users of no app."),
    ] = "",
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Ask your application before a message is accepted: it allows it, refuses it with a reason,
    or wants another text. Prints the secret that signs the questions.
    """
    from cecochat.domain.moderation.before_send import KINDS, BeforeSend, check

    if bool(url) == off:
        raise UsageError("give the URL to ask, or --off")
    kinds = tuple(dict.fromkeys(kind or KINDS))
    check_app(app, data, settings)
    before = run(_in_force(data, settings)).before_send.get(app)
    made_ms = before.created_ms if before and before.url == url else _now_ms()  # its secret stays
    asked = None if off else BeforeSend(url, made_ms, deadline, when_away, kinds)  # type: ignore[arg-type] # it is checked
    if asked:
        check(asked)
    run(_ask(app, asked, data, settings))
    if asked is None:
        whose = f"of {app}" if app else "of users of no app"
        said = f"nobody is asked about messages {whose} any more. {SOON}"
        json_line({"before_send": None}) if json else echo(said)
        return
    secret = secret_of(asked.endpoint, data, settings)
    if json:
        json_line({**_asked(run(_in_force(data, settings)), app), "secret": secret})
    else:
        echo(
            f"{url} is asked before a message is accepted, and questions are signed with\n{secret}"
        )


# -- how


def _forbid(
    part: Part,
    name: str,
    for_: str,
    reason: str,
    data: Path | None,
    file: Path | None,
    *,
    as_json: bool,
) -> None:
    from cecochat.domain.moderation.rules import FOR_GOOD_MS

    until_ms = _now_ms() + int(duration_s(for_) * 1_000) if for_ else FOR_GOOD_MS
    _change(part, name, until_ms, reason, data, file, as_json=as_json)


def _change(
    part: Part,
    name: str,
    number: int,
    reason: str,
    data: Path | None,
    file: Path | None,
    *,
    as_json: bool,
) -> None:
    run(_set(part, name, number, reason, data, file))
    if as_json:
        json_line({"rule": part, "name": name, _unit(part): number})
    else:
        echo(f"{name} is {part} {_how_long(part, number)}. {SOON}")


async def _set(
    part: Part, name: str, number: int, reason: str, data: Path | None, file: Path | None
) -> None:
    """Change a rule, and note that in the audit log."""
    from cecochat.documents.moderation import act_of
    from cecochat.domain.moderation.rules import changed

    act = act_of(part, name, number, by=getpass.getuser(), via="operator", reason=reason)
    await _note(act, lambda rules: changed(rules, part, name, number, act.at_ms), data, file)


async def _ask(app: str, asked: BeforeSend | None, data: Path | None, file: Path | None) -> None:
    """Have somebody asked before a message of an app is accepted, and note that."""
    from dataclasses import replace

    from cecochat.documents.moderation import new_act

    what = "before-send" if asked else "not before-send"
    act = new_act(what, by=getpass.getuser(), via="operator")
    act = act._replace(detail=" ".join(filter(None, (app, asked.url if asked else ""))))

    def decide(rules: Rules) -> Rules:
        others = {each: of for each, of in rules.before_send.items() if each != app}
        return replace(rules, before_send={**others, app: asked} if asked else others)

    await _note(act, decide, data, file)


async def _note(
    act: Act, decide: Callable[[Rules], Rules], data: Path | None, file: Path | None
) -> None:
    from cecochat.adapters import build
    from cecochat.documents.moderation import change

    given = target.settings(data, file)
    async with build.configuration(given) as configuration, build.moderation(given) as store:
        await change(configuration, store.acts, act, decide)


async def _in_force(data: Path | None, file: Path | None) -> Rules:
    from cecochat.adapters import build
    from cecochat.domain.moderation.rules import parse
    from cecochat.ports.configuration import MODERATION

    async with build.configuration(target.settings(data, file)) as configuration:
        return parse((await configuration.get(MODERATION)).value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _asked(rules: Rules, app: str) -> dict[str, object]:
    from dataclasses import asdict

    return {"app": app, **asdict(rules.before_send[app])}


def _line(part: Part, name: str, number: int) -> tuple[str, str, str]:
    return part, name, _how_long(part, number)


def _how_long(part: Part, number: int) -> str:
    from cecochat.domain.moderation.rules import FOR_GOOD_MS

    if part == "slow":
        return f"by {number} s"
    return "for good" if number >= FOR_GOOD_MS else f"until {shown_ms(number)}"


def _unit(part: Part) -> str:
    return "seconds" if part == "slow" else "until_ms"
