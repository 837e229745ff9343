"""`cecochat connect`: prints what the connect server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cecochat.cli import options
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line
from cecochat.cli.target import check_user, target, token_for

if TYPE_CHECKING:
    from cecochat.client import Route


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("connect", epilog="Example: cecochat connect --as alice --json")(connect)


def connect(
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Ask the connect server where a user is served."""
    from dataclasses import asdict

    route = run(_route(as_, connect, token))
    if json:
        json_line(asdict(route))
        return
    echo(f"user       {route.user_id} (partition {route.partition})")
    echo(f"messaging  {route.messaging} ({route.server_id})")
    if route.websocket:
        echo(f"websocket  {route.websocket}")
    echo(f"history    {route.history or 'none is live just now'}")
    if route.history_http:
        echo(f"           {route.history_http}")
    echo(f"valid for  {route.valid_for_s:g} s")


async def _route(as_: str | None, url: str | None, token: str | None) -> Route:
    from cecochat.client import find_route

    where = target(url)
    route = await find_route(where.connect_url, token_for(where, as_, token))
    check_user(as_, route.user_id)
    return route
