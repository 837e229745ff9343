"""`cecochat sealing`: says whether texts are sealed with keys of users, and turns that on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cecochat.cli import options, target
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line

ON = """\
Texts are sealed with a key of the user who wrote them, so `cecochat erase` makes them unreadable.
What was written before that was turned on is not sealed."""
OFF = """\
Texts are not sealed. Once every server has a version that can open sealed texts, turn it on with
`cecochat sealing --on`. There is no way back."""
TURNED_ON = """\
New texts are sealed from now on, by each server that starts after this: restart the messaging
servers one by one."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("sealing", epilog="Examples: cecochat sealing; cecochat sealing --on")(sealing)


def sealing(
    on: Annotated[bool, typer.Option("--on", help="Have texts sealed, for good.")] = False,
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Say whether texts are sealed with keys of the users who write them, so that a user can be
    erased.

    They are in every system that began with a version that has this command. In an older one, turn
    it on after all servers were upgraded.
    """
    was, now = run(_sealing(data, settings, on))
    if json:
        json_line({"seals": now, "turned_on": now and not was})
    else:
        echo(TURNED_ON if now and not was else ON if now else OFF)


async def _sealing(data: Path | None, file: Path | None, on: bool) -> tuple[bool, bool]:
    """Return whether texts were sealed before, and whether they are now."""
    from cecochat.adapters import build
    from cecochat.auth.operators import keys_secret
    from cecochat.sealing.keyring import KeyRing

    chosen = target.settings(data, file)
    async with build.keys(chosen) as keys:
        was = bool(await keys.seals())
        if on:
            await KeyRing(keys, keys_secret(chosen)).start()
    return was, was or on
