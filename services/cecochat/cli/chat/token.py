"""`cecochat token`: makes a token for any user or service in development mode, or for an
operator.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cecochat.cli import options, systems
from cecochat.cli.errors import UsageError
from cecochat.cli.output import echo
from cecochat.cli.target import cluster_secret, target

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

T = TypeVar("T", bound=str)

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
EXAMPLE = (
    "Example: CECOCHAT_TOKEN=$(cecochat token alice --lifetime 8h); "
    "cecochat token --operator prometheus --scope metrics --lifetime 90d; "
    "cecochat token --service orders --scope send"
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("token", epilog=EXAMPLE)(token)


def token(
    user: Annotated[
        str | None,
        typer.Argument(help="The user that the token is for, unless --operator is given."),
    ] = None,
    lifetime: Annotated[
        str, typer.Option(help="How long the token is valid, such as 90s, 15m, 1h or 7d.")
    ] = "1h",
    connect: options.Connect = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            help="The file with the secret. By default that of the last `cecochat up`, or the one "
            "that the settings name."
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make a token for the internal listeners, for this person or program, with the "
            "cluster's secret.",
        ),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make a development token for a service of your back end, which may act for all "
            "users.",
        ),
    ] = None,
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="SCOPE",
            help="What the token allows. With --operator: metrics, read (what servers own, follow, "
            "decide and lack), people (who talks to whom, texts of dead letters) or change "
            "(revoking, auditing and repairing). With --service: send (messages), groups (making "
            "and changing them), read (histories), users (ending their sessions) or operate "
            "(moderating). Repeat it to allow several. By default, all are allowed.",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    settings: options.SettingsFile = None,
) -> None:
    """Print a development token of a user or a service, or a token of an operator.

    In production, the embedding application makes the tokens of users and services.
    """
    if [user, operator, service].count(None) != 2:
        raise UsageError(
            "name either a user, or an operator with --operator NAME, or a service with --service "
            "NAME"
        )
    if scope and user is not None:
        raise UsageError(
            "--scope says what the token of an operator or a service allows: add --operator NAME "
            "or --service NAME"
        )
    if service is not None:
        echo(_of_service(service, scope, seconds(lifetime), connect, secret_file))
    elif operator is not None:
        if connect and secret_file is None:
            secret_file = _cluster_secret_at(connect)
        echo(_of_operator(operator, scope, seconds(lifetime), secret_file, settings))
    else:
        echo(_of_user(user or "", seconds(lifetime), connect, secret_file))


def _of_user(user: str, lifetime_s: float, connect: str | None, secret_file: Path | None) -> str:
    from cecochat.auth.minting import mint

    return mint(_secret(connect, secret_file), user, lifetime_s)


def _of_service(
    name: str,
    wanted: Collection[str],
    lifetime_s: float,
    connect: str | None,
    secret_file: Path | None,
) -> str:
    from cecochat.auth.minting import SERVICE_SCOPES, mint_for_service

    scopes = _scopes(wanted, SERVICE_SCOPES)
    return mint_for_service(_secret(connect, secret_file), name, scopes, lifetime_s)


def _secret(connect: str | None, secret_file: Path | None) -> bytes:
    from cecochat.settings.private import drawn_secret

    path = secret_file or target(connect).secret_file
    if path is None or not path.exists():
        raise UsageError(
            "the secret of this system is not on this machine: name its file with --secret-file, "
            "or let the application's back end make the token"
        )
    return drawn_secret(path)


def _cluster_secret_at(connect: str) -> Path | None:
    """Return the secret of the system with this connect server, if it is one of this machine."""
    if system := systems.at(connect):
        return Path(system.cluster_secret_file)
    return None


def _of_operator(
    name: str,
    wanted: Collection[str],
    lifetime_s: float,
    secret_file: Path | None,
    settings: Path | None,
) -> str:
    from cecochat.auth.operators import FOR_OPERATORS, SECRET_FILE, Operators

    path = secret_file or cluster_secret(None, settings)
    if not path.exists():
        raise UsageError(
            f"the secret of the cluster is not at {path}: name its file with --secret-file or "
            f"{SECRET_FILE}"
        )
    return Operators(path.read_bytes()).mint(name, _scopes(wanted, FOR_OPERATORS), lifetime_s)


def _scopes(wanted: Collection[str], known: Sequence[T]) -> list[T]:
    if unknown := set(wanted) - set(known):
        raise UsageError(f"there is no scope {min(unknown)}: use one of {', '.join(known)}")
    return [each for each in known if each in wanted or not wanted]


def seconds(text: str) -> float:
    """Convert `90s`, `1.5h` or `7d` to seconds; a plain number is seconds. Raises `UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not match or not float(match[1]):
        raise UsageError(f"{text!r} is not a duration: use a number and s, m, h or d, such as 1h")
    return float(match[1]) * UNITS_S[match[2] or "s"]
