"""`cecochat apps`: says which products share the system."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cecochat.cli import changes, options, target
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cecochat.domain.cluster.apps import App, Apps, Decide

app = typer.Typer(
    no_args_is_help=True,
    help="Let several products share the system. Each is an app, and its users, groups and "
    "services are its own: their ids begin with its name, as `shop/alice` and `g:shop/team`.",
)
SOON = "Servers follow within 2 s."
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the app is called.")]
Keys = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A JSON Web Key Set with the public keys that alone verify the tokens of this app. By "
        "default, the keys of the system do.",
    ),
]
Issuer = Annotated[
    str | None, typer.Option(help="What `iss` has to be in tokens that these keys verify.")
]


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="apps")


@app.command("list", epilog="Example: cecochat apps list")
def list_(
    data: options.Data = None, settings: options.SettingsFile = None, json: options.Json = False
) -> None:
    """Print the apps."""
    found = sorted(run(_apps(data, settings)).values(), key=lambda each: each.name)
    if json:
        for each in found:
            json_line(_as_json(each))
    elif not found:
        echo("there is no app: add one with `cecochat apps add NAME`")
    else:
        print_table([("NAME", "STATE", "KEYS", "ISSUER"), *map(_line, found)])


@app.command(epilog="Examples: cecochat apps add shop; cecochat apps add news --keys news.json")
def add(
    name: Name,
    keys: Keys = None,
    issuer: Issuer = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
) -> None:
    """Add an app. Its tokens have its name as the claim `app`."""
    from cecochat.domain.cluster.apps import App, adding
    from cecochat.runtime.clock import now_ms

    made = App(name, now_ms(), keys=_read(keys) if keys else None, issuer=issuer or "")
    run(_change(data, settings, adding(made)))
    echo(f"added: {name}. {SOON} A token for a user: cecochat token {name}/alice")


@app.command(epilog="Example: cecochat apps change shop --disable")
def change(
    name: Name,
    keys: Keys = None,
    system_keys: Annotated[
        bool, typer.Option("--system-keys", help="Go back to the keys of the system.")
    ] = False,
    issuer: Issuer = None,
    enable: Annotated[
        bool | None,
        typer.Option(
            "--enable/--disable",
            help="Whether it can be used. If not, its sessions end, and its tokens are refused.",
        ),
    ] = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
) -> None:
    """Change an app. What its users wrote stays."""
    from cecochat.domain.cluster.apps import changing

    wanted = {"keys": _read(keys) if keys else None, "issuer": issuer, "enabled": enable}
    given: dict[str, Any] = {field: value for field, value in wanted.items() if value is not None}
    if system_keys and (keys or issuer):
        raise UsageError("--system-keys does not go with --keys and --issuer")
    if system_keys:
        given |= {"keys": None, "issuer": ""}
    if not given:
        raise UsageError("say what to change: see `cecochat apps change --help`")
    run(_change(data, settings, changing(name, **given)))
    echo(f"changed: {name}. {SOON}")


def _read(path: Path) -> Mapping[str, Any]:
    """Return a key set that can be used. Raises `UsageError`."""
    from cecochat.auth.apps import check_keys
    from cecochat.auth.keys import SET_MAX_BYTES
    from cecochat.domain.errors import Invalid

    try:
        with path.open("rb") as file:
            keys = json_.loads(file.read(SET_MAX_BYTES))
        check_keys(keys)
    except (OSError, ValueError, Invalid) as error:
        raise UsageError(f"{path}: {error}") from None
    return {"keys": keys["keys"]}


def check_app(name: str, data: Path | None, file: Path | None) -> None:
    """Raise `UsageError` if an app is named that there is not."""
    if name and name not in run(_apps(data, file)):
        raise UsageError(
            f"there is no app {name!r}: add it with `cecochat apps add {name}`, or see `cecochat "
            "apps list`"
        )


async def _apps(data: Path | None, file: Path | None) -> Apps:
    from cecochat.adapters import build
    from cecochat.domain.cluster.apps import parse
    from cecochat.ports.configuration import APPS

    async with build.configuration(target.settings(data, file)) as configuration:
        return parse((await configuration.get(APPS)).value)


async def _change(data: Path | None, file: Path | None, decide: Decide) -> None:
    from cecochat.adapters import build
    from cecochat.ports.configuration import APPS

    async with build.configuration(target.settings(data, file)) as configuration:
        await changes.change(configuration, APPS, decide)


def _as_json(each: App) -> dict[str, Any]:
    kids = [str(key.get("kid", "")) for key in each.keys["keys"]] if each.keys else None
    return {
        "name": each.name,
        "enabled": each.enabled,
        "created_ms": each.created_ms,
        "keys": kids,
        "issuer": each.issuer,
        "erased_ms": each.erased_ms,
    }


def _line(each: App) -> tuple[str, ...]:
    said = _as_json(each)
    kids = "those of the system" if said["keys"] is None else ", ".join(said["keys"])
    state = "erased" if each.erased_ms else "enabled" if each.enabled else "disabled"
    return each.name, state, kids, each.issuer
