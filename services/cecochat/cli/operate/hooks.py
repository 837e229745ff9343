"""`cecochat hooks`: says whom the system tells what happens, over webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cecochat.cli import changes, options, target
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.failure import run
from cecochat.cli.operate import replaying
from cecochat.cli.operate.apps import check_app
from cecochat.cli.output import echo, json_line, print_table, shown_ms

if TYPE_CHECKING:
    from cecochat.domain.hooks.endpoints import Decide, Endpoint, Endpoints

app = typer.Typer(
    no_args_is_help=True,
    help="Say which URLs are told what happens, by signed webhooks in the order of each chat, and "
    "look after those that they do not take.",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the endpoint is called.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Tell only this kind of webhook; give it once for each."),
]
Chats = Annotated[
    list[str] | None,
    typer.Option(
        "--chat",
        help="Tell only of this chat, or of those whose ids begin so, as `g:team-*`; give it once "
        "for each.",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The internal listener of a hook server. By default one that Consul lists, or else "
        "that of the last `cecochat up`.",
    ),
]


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="hooks")


# -- the document of endpoints


@app.command("list", epilog="Example: cecochat hooks list")
def list_(
    data: options.Data = None, settings: options.SettingsFile = None, json: options.Json = False
) -> None:
    """Print the endpoints."""
    found = sorted(run(_endpoints(data, settings)).values(), key=lambda each: each.name)
    if json:
        for each in found:
            json_line(_as_json(each))
    elif not found:
        echo("there is no endpoint: add one with `cecochat hooks add NAME URL`")
    else:
        print_table([("NAME", "APP", "URL", "STATE", "KINDS", "CHATS"), *map(_line, found)])


@app.command(epilog="Example: cecochat hooks add shop https://shop.example.com/hooks")
def add(
    name: Name,
    url: Annotated[str, typer.Argument(help="Where to send, https:// or http://.")],
    kind: Kinds = None,
    chat: Chats = None,
    of_app: Annotated[
        str,
        typer.Option(
            "--app", metavar="APP", help="The app it is about. By default, users of no app."
        ),
    ] = "",
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Tell a URL what happens from now on, and print the secret that signs its webhooks."""
    from cecochat.domain.hooks.endpoints import Endpoint, adding
    from cecochat.runtime.clock import now_ms

    check_app(of_app, data, settings)
    chosen: dict[str, Any] = {"kinds": tuple(kind)} if kind else {}
    made = Endpoint(name, url, now_ms(), chats=tuple(chat or ()), app=of_app, **chosen)
    run(_change(data, settings, adding(made)))
    _print_secret(made, data, settings, as_json=json)


@app.command(epilog="Example: cecochat hooks change shop --disable")
def change(
    name: Name,
    url: Annotated[str | None, typer.Option(help="Where to send from now on.")] = None,
    kind: Kinds = None,
    chat: Chats = None,
    all_chats: Annotated[bool, typer.Option("--all-chats", help="Tell of all chats.")] = False,
    enable: Annotated[
        bool | None,
        typer.Option(
            "--enable/--disable",
            help="Whether to send. What happens meanwhile is sent later, if the log still has it.",
        ),
    ] = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
) -> None:
    """Change an endpoint. It goes on where it is."""
    from cecochat.domain.hooks.endpoints import changing

    chats = () if all_chats else tuple(chat) if chat else None
    wanted = {"url": url, "kinds": tuple(kind) if kind else None, "chats": chats, "enabled": enable}
    given = {field: value for field, value in wanted.items() if value is not None}
    if not given:
        raise UsageError("say what to change: see `cecochat hooks change --help`")
    run(_change(data, settings, changing(name, **given)))
    echo(f"changed: {name}; within 2 s, servers do so")


@app.command(epilog="Example: cecochat hooks remove shop")
def remove(name: Name, data: options.Data = None, settings: options.SettingsFile = None) -> None:
    """Remove an endpoint. If it is added again, it begins then."""
    from cecochat.domain.hooks.endpoints import removing

    run(_change(data, settings, removing(name)))
    echo(f"removed: {name}")


@app.command(epilog="Example: cecochat hooks rotate shop")
def rotate(
    name: Name,
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Give an endpoint another secret, and print it.

    For a day, webhooks are signed with both.
    """
    from cecochat.domain.hooks.endpoints import named, rotating
    from cecochat.runtime.clock import now_ms

    run(_change(data, settings, rotating(name, now_ms())))
    _print_secret(named(run(_endpoints(data, settings)), name), data, settings, as_json=json)


async def _endpoints(data: Path | None, file: Path | None) -> Endpoints:
    from cecochat.adapters import build
    from cecochat.domain.hooks.endpoints import parse
    from cecochat.ports.configuration import HOOKS

    async with build.configuration(target.settings(data, file)) as configuration:
        return parse((await configuration.get(HOOKS)).value)


async def _change(data: Path | None, file: Path | None, decide: Decide) -> None:
    from cecochat.adapters import build
    from cecochat.ports.configuration import HOOKS

    async with build.configuration(target.settings(data, file)) as configuration:
        await changes.change(configuration, HOOKS, decide)


def secret_of(endpoint: Endpoint, data: Path | None, file: Path | None) -> str:
    """Return what signs the requests to an endpoint. Raises `Failed`."""
    from cecochat.auth.hooks import Signer

    path = target.cluster_secret(data, file)
    if not path.exists():
        raise Failed(f"the secret of the cluster, which its own follows from, is not at {path}")
    return Signer(path.read_bytes()).secret(endpoint)


def _print_secret(
    endpoint: Endpoint, data: Path | None, file: Path | None, *, as_json: bool
) -> None:
    secret = secret_of(endpoint, data, file)
    if as_json:
        json_line({**_as_json(endpoint), "secret": secret})
        return
    echo(f"{endpoint.name} is told at {endpoint.url}; its webhooks are signed with\n{secret}")
    if endpoint.url.startswith("http://"):
        echo("Anybody on the way there can read them: use https:// outside of your own network.")


def _as_json(endpoint: Endpoint) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(endpoint)


def _line(endpoint: Endpoint) -> tuple[str, ...]:
    state = "enabled" if endpoint.enabled else "disabled"
    kinds, chats = ", ".join(endpoint.kinds), ", ".join(endpoint.chats) or "all"
    return (endpoint.name, endpoint.app or "-", endpoint.url, state, kinds, chats)


# -- what a hook server does


@app.command("test", epilog="Example: cecochat hooks test shop")
def send_test(name: Name, server: Server = None, settings: options.SettingsFile = None) -> None:
    """Send an endpoint a webhook of the kind `test` now, and print what it answers."""
    answer = run(replaying.send_test(name, server, settings))
    if answer["verdict"] != "taken":
        raise Failed(f"{name} did not take it: {answer['why']}")
    echo(f"{name} has taken it: {answer['why']}")


@app.command(epilog="Example: cecochat hooks parked shop")
def parked(
    name: Name,
    server: Server = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Print what an endpoint has refused, and nobody has replayed. It is kept for 30 days."""
    found = run(replaying.parked(name, server, settings))
    if json:
        for each in found:
            json_line(each)
    elif not found:
        echo(f"nothing is parked for {name}")
    else:
        lines = [
            (each["id"], shown_ms(each["at_ms"]), each["kind"], each["chat_id"], each["reason"])
            for each in found
        ]
        print_table([("WEBHOOK", "PARKED AT", "KIND", "CHAT", "WHY"), *lines])


@app.command(epilog="Example: cecochat hooks replay shop")
def replay(
    name: Name,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="WEBHOOK", help="Which; by default all.")
    ] = None,
    server: Server = None,
    settings: options.SettingsFile = None,
) -> None:
    """Send again what is parked, the oldest of each chat first.

    What was delivered meanwhile came before it. Of a chat whose webhook is refused again, the later
    ones stay parked.
    """
    taken, refused = run(replaying.replay(name, ids or [], server, settings))
    for line in refused:
        echo(line, err=True)
    if refused:
        raise Failed(f"{name} has taken {taken} webhooks, and refuses {len(refused)}")
    echo(f"{name} has taken {taken} webhooks")
