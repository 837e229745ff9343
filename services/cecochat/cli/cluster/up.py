"""`cecochat up`: the whole system in one process, in the foreground."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cecochat.cli import logs, options, ports, target
from cecochat.cli.errors import UsageError
from cecochat.cli.output import json_line

if TYPE_CHECKING:
    from cecochat.ports.discovery import Service
    from cecochat.run.system import Addresses
    from cecochat.settings.settings import Settings

    Counts = tuple[dict[Service, int], dict[Service, int]]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("up", epilog="Example: cecochat up --data ./chat --port-base 9000")(up)


def up(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the log, the history and the configuration; made where there is none. "
            "Default: CECOCHAT_DATA_DIR, else ~/.local/share/cecochat/default."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")
    ] = None,
    port_base: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535 - len(ports.NAMES) + 1,
            help=f"The first of {len(ports.NAMES)} ports in a row. Default: {ports.DEFAULT_BASE}, "
            "or others where those are in use.",
        ),
    ] = None,
    processes: Annotated[
        bool, typer.Option("--processes", help="One process a server; needs --backends real.")
    ] = False,
    backends: Annotated[
        Literal["embedded", "real"],
        typer.Option(
            help="real: Kafka, Cassandra, Redis and Consul, as `make backends-up` has started them "
            "or as CECOCHAT_KAFKA and so on say."
        ),
    ] = "embedded",
    servers: Annotated[
        list[str],
        typer.Option(
            metavar="SERVER=NUMBER",
            help="With --processes: always so many, such as messaging=3; of "
            "others, control runs as many as the load takes.",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    settings_file: options.SettingsFile = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON with every address, once ready.")
    ] = False,
) -> None:
    """Run the whole system, in one process on SQLite unless told otherwise. Ctrl-C stops it; a
    second one, at once.

    Further settings are CECOCHAT_* variables, such as CECOCHAT_JWKS_FILE.
    """
    from cecochat.settings import settings

    flags: dict[str, Any] = {"data_dir": data and data.expanduser().absolute(), "host": host}
    file = _settings_file(settings_file, backends)
    loaded = settings.load(file=file, **flags)
    if loaded.log_format == "auto":
        flags["log_format"] = "text"  # also of the servers that it starts: a person looks on
    logs.to_standard_error(flags.get("log_format", loaded.log_format))
    if servers and not processes:
        raise UsageError("--servers says how many processes there are: add --processes")
    _refuse_some(loaded)
    counts = _counts(servers, loaded) if processes else None
    given = {**(settings.from_file(file) if file else {}), **os.environ}
    chosen = ports.choose({loaded.host, loaded.internal_host}, port_base, given)
    if chosen.note and loaded.edge:
        raise UsageError(f"{chosen.note}, where the edge does not look: stop what uses it first")
    if chosen.note:
        logs.say(chosen.note, logging.WARNING)
    flags |= chosen.ports
    _serve(settings.load(file=file, **flags), counts, json)


def _settings_file(given: Path | None, backends: str) -> Path | None:
    """What says where the backends are. Raises `UsageError`."""
    from cecochat.settings.backends import choices

    if given or backends == "embedded" or any(map(os.environ.get, choices("backplane"))):
        return given
    noted = target.state_dir() / "backends.env"
    if not noted.exists():
        raise UsageError(
            "where are the backends? Start them with `make backends-up`, "
            "or set CECOCHAT_KAFKA, _CASSANDRA, _REDIS and _CONSUL"
        )
    return noted


def _refuse_some(settings: Settings) -> None:
    """Raises `UsageError` where only some of the backends are real: two systems on one log that do
    not know of each other would take its partitions from each other for ever.
    """
    from cecochat.settings import backends

    missing = backends.not_shared(settings)
    if 0 < len(missing) < len(backends.DATA):
        names = backends.to_share(missing)
        raise UsageError(f"real backends come together: set {names} too")


def _counts(servers: list[str], settings: Settings) -> Counts:
    """How many servers of each kind, and which of these numbers are fixed. Raises `UsageError`."""
    from cecochat.run.processes import COUNTS
    from cecochat.settings.backends import not_shared

    if not_shared(settings):
        raise UsageError("several processes need backends that they share: add --backends real")
    counts: dict[Service, int] = {}
    for each in servers:
        service, _, number = each.partition("=")
        if service not in COUNTS or not number.isdecimal() or not int(number):
            raise UsageError(f"--servers {each}: use one of {', '.join(COUNTS)}, = and a number")
        counts[service] = int(number)
    return COUNTS | counts, counts


def _serve(settings: Settings, counts: Counts | None, as_json: bool) -> None:
    import uvloop

    from cecochat.run import processes, system
    from cecochat.settings.backends import chosen

    def ready(addresses: Addresses) -> None:
        known = addresses.as_json()
        target.remember(known, settings)
        if as_json:
            json_line(known)
        else:
            typer.echo(_welcome(known) + _traces(settings) + _metrics(settings))
        sys.stdout.flush()

    started = processes.started(settings, *counts) if counts else system.started(settings)
    uvloop.run(system.run(started, ready))
    if not as_json:
        where = chosen("backplane", settings).keeps_in
        typer.echo(f"Stopped; every acknowledged message is in {where}.")


def _welcome(known: dict[str, Any]) -> str:
    command = _command()
    lines = [
        typer.style(f"CecoChat is ready ({known['started_in_s']:.1f} s).", bold=True)
        + " Ctrl-C stops it.",
        "",
        f"  connect    {known['connect']}/v1/connect",
        f"  messaging  {known['messaging']} (gRPC)",
        f"  history    {known['history']} (gRPC)",
        f"  data       {known['data']}",
        *(f"  health     {url}/readyz ({name})" for name, url in known["health"].items()),
        "",
        *_tokens(known["token_secret_file"]),
        "Chat, in two more terminals:",
        "",
        f"  {command} chat --as alice bob",
        f"  {command} chat --as bob alice",
        "",
    ]
    return "\n".join(lines)


def _traces(settings: Settings) -> str:
    if not settings.otlp_url:
        return ""
    command = _command()
    return (
        f"\nSee what a message went through ({settings.jaeger_url or settings.otlp_url}):\n\n"
        f"  {command} trace $({command} send --trace --as alice bob hello)\n"
    )


def _metrics(settings: Settings) -> str:
    url = settings.prometheus_url
    return f"\nSee metrics and alerts: {url}\n" if url else ""


def _tokens(secret_file: str | None) -> list[str]:
    if secret_file is None:
        return []
    return [
        typer.style("Development tokens, not for production:", fg="yellow")
        + f" who can read {secret_file}\ncan be any user. In production, set CECOCHAT_JWKS_FILE.",
        "",
    ]


def _command() -> str:
    """How this program is started from here, ready to be pasted."""
    program = Path(sys.argv[0]).absolute()
    found = shutil.which("cecochat")
    if found and Path(found).absolute() == program:
        return "cecochat"
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else str(program)
