"""`cecochat up`: runs the whole system in the foreground."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cecochat.cli import logs, options, ports, systems
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
            help="The folder of the log, the history and the configuration. It is made if it does "
            "not exist. By default CECOCHAT_DATA_DIR, or else ~/.local/share/cecochat/default."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on. By default 127.0.0.1.")
    ] = None,
    port_base: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65_535 - len(ports.NAMES) + 1,
            help=f"The first of {len(ports.NAMES)} ports in a row. By default "
            f"{ports.DEFAULT_BASE}, or others if those are in use.",
        ),
    ] = None,
    processes: Annotated[
        bool,
        typer.Option(
            "--processes", help="Run each server in a process of its own. Needs --backends real."
        ),
    ] = False,
    backends: Annotated[
        Literal["embedded", "real"],
        typer.Option(
            help="embedded means SQLite; real means Kafka, Cassandra, Redis and Consul, as "
            "`make backends-up` has started them, or as CECOCHAT_KAFKA and so on say."
        ),
    ] = "embedded",
    servers: Annotated[
        list[str],
        typer.Option(
            metavar="SERVER=NUMBER",
            help="With --processes, run always this many, such as messaging=3. Of the others, "
            "control runs as many as the load needs.",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    settings_file: options.SettingsFile = None,
    json: Annotated[
        bool, typer.Option("--json", help="Once ready, print one line of JSON with every address.")
    ] = False,
) -> None:
    """Run the whole system, by default in one process on SQLite.

    Ctrl-C stops it in order, and a second Ctrl-C at once. Further settings are CECOCHAT_*
    variables, such as CECOCHAT_JWKS_FILE.
    """
    from cecochat.settings import settings

    flags: dict[str, Any] = {"data_dir": data and data.expanduser().absolute(), "host": host}
    file = _settings_file(settings_file, backends)
    loaded = settings.load(file=file, **flags)
    if loaded.log_format == "auto":
        flags["log_format"] = "text"  # also for the servers that it starts: a person looks on
    logs.to_standard_error(flags.get("log_format", loaded.log_format))
    if servers and not processes:
        raise UsageError("--servers says how many processes to run: add --processes")
    _refuse_some(loaded)
    counts = _counts(servers, loaded) if processes else None
    given = {**(settings.from_file(file) if file else {}), **os.environ}
    chosen = ports.choose({loaded.host, loaded.internal_host}, port_base, given)
    if chosen.note and loaded.edge:
        raise UsageError(
            f"{chosen.note}, but the edge does not look there: stop what uses the port first"
        )
    if chosen.note:
        logs.say(chosen.note, logging.WARNING)
    flags |= chosen.ports
    _serve(settings.load(file=file, **flags), counts, json)


def _settings_file(given: Path | None, backends: str) -> Path | None:
    """Return the settings file that says where the backends are. Raises `UsageError`."""
    from cecochat.settings.backends import choices

    if given or backends == "embedded" or any(map(os.environ.get, choices("backplane"))):
        return given
    noted = systems.state_dir() / "backends.env"
    if not noted.exists():
        raise UsageError(
            "nothing says where the backends are: start them with `make backends-up`, "
            "or set CECOCHAT_KAFKA, _CASSANDRA, _REDIS and _CONSUL"
        )
    return noted


def _refuse_some(settings: Settings) -> None:
    """Raise `UsageError` if only some of the backends are real.

    Two systems on one log that do not know about each other would take its partitions from each
    other for ever.
    """
    from cecochat.settings import backends

    missing = backends.not_shared(settings)
    if 0 < len(missing) < len(backends.DATA):
        names = backends.to_share(missing)
        raise UsageError(f"real backends are only used together: set {names}, too")


def _counts(servers: list[str], settings: Settings) -> Counts:
    """Return how many servers of each kind to run, and which of these numbers are fixed.

    Raises `UsageError`.
    """
    from cecochat.run.processes import COUNTS
    from cecochat.settings.backends import not_shared

    if not_shared(settings):
        raise UsageError("several processes need backends that they can share: add --backends real")
    counts: dict[Service, int] = {}
    for each in servers:
        service, _, number = each.partition("=")
        if service not in COUNTS or not number.isdecimal() or not int(number):
            raise UsageError(
                f"--servers {each} is not a server and a number: use one of {', '.join(COUNTS)}, "
                "then = and a number, such as messaging=3"
            )
        counts[service] = int(number)
    return COUNTS | counts, counts


def _serve(settings: Settings, counts: Counts | None, as_json: bool) -> None:
    import uvloop

    from cecochat.run import processes, system
    from cecochat.settings.backends import chosen

    def ready(addresses: Addresses) -> None:
        started = addresses.as_json()
        _remember(started, settings)
        if as_json:
            json_line(started)
        else:
            typer.echo(_welcome(started) + _traces(settings) + _metrics(settings))
        sys.stdout.flush()

    servers = processes.started(settings, *counts) if counts else system.started(settings)
    uvloop.run(system.run(servers, ready))
    if not as_json:
        where = chosen("backplane", settings).keeps_in
        typer.echo(f"Stopped; every acknowledged message is in {where}.")


def _remember(started: dict[str, Any], settings: Settings) -> None:
    try:
        systems.remember(started, settings)
    except OSError as error:
        logs.say(
            f"commands will not find this system by themselves, since {systems.state_dir()} cannot "
            f"be written ({error.strerror}): give them --connect {started['connect']}",
            logging.WARNING,
        )


def _welcome(started: dict[str, Any]) -> str:
    command = _command()
    lines = [
        typer.style(f"CecoChat is ready ({started['started_in_s']:.1f} s).", bold=True)
        + " Ctrl-C stops it.",
        "",
        *_page(started["page"]),
        f"  connect    {started['connect']}/v1/connect",
        f"  messaging  {started['messaging']} (gRPC)",
        f"             {started['websocket']}",
        f"  history    {started['history']} (gRPC)",
        f"             {started['history_http']}",
        f"  data       {started['data']}",
        *(f"  health     {url}/readyz ({name})" for name, url in started["health"].items()),
        f"  operate    {_operators_page(started['health'])}",
        "",
        *_tokens(started["token_secret_file"]),
        "To chat in two more terminals:",
        "",
        f"  {command} chat --as alice bob",
        f"  {command} chat --as bob alice",
        "",
    ]
    return "\n".join(lines)


def _page(url: str) -> list[str]:
    if not url:
        return []
    return ["To chat, open " + typer.style(url, bold=True) + " in two windows.", ""]


def _operators_page(health: dict[str, str]) -> str:
    """Return the URL of the operator's page, which any history server has."""
    url = next(url for name, url in health.items() if name.partition("-")[0] == "history")
    return f"{url}/ (needs a token: {_command()} token --operator NAME)"


def _traces(settings: Settings) -> str:
    if not settings.otlp_url:
        return ""
    command = _command()
    return (
        f"\nTo see what a message went through ({settings.jaeger_url or settings.otlp_url}):\n\n"
        f"  {command} trace $({command} send --trace --as alice bob hello)\n"
    )


def _metrics(settings: Settings) -> str:
    url = settings.prometheus_url
    return f"\nMetrics and alerts are at {url}\n" if url else ""


def _tokens(secret_file: str | None) -> list[str]:
    if secret_file is None:
        return []
    return [
        typer.style("These are development tokens, not for production:", fg="yellow")
        + f" whoever can read\n{secret_file} can be any user. In production, set "
        "CECOCHAT_JWKS_FILE.",
        "",
    ]


def _command() -> str:
    """Return the command that starts this program from here, ready to be pasted."""
    program = Path(sys.argv[0]).absolute()
    found = shutil.which("cecochat")
    if found and Path(found).absolute() == program:
        return "cecochat"
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else str(program)
