"""`cecochat where`: tells how far a message has come, and what it waits for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cecochat.cli import options
from cecochat.cli.asking import Server, ask_history
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table, shown_ms
from cecochat.cli.target import traces
from cecochat.where.words import verdict

MARKS = {"done": "✓", "waits": "…", "unknown": "?", "refused": "✗"}

Jaeger = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where Jaeger is, for a link to the trace. By default CECOCHAT_JAEGER_URL, or else "
        "that of the last `cecochat up`.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("where", epilog="Example: cecochat where 778254961901568000")(where)


def where(
    message_id: Annotated[
        int,
        typer.Argument(
            metavar="MESSAGE_ID", min=1, help="As `send` or `history --json` prints it."
        ),
    ],
    chat: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Its chat, to look into the history if the log has dropped it."
        ),
    ] = None,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    server: Server = None,
    jaeger: Jaeger = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Print how far a message has come, and which step it waits for.

    The steps are: accepted, acknowledged, forwarded, delivered, materialized. A history server
    answers from the log, the watermarks, the sessions and the database.

    By default it is asked at its internal listener, which is for operators. With --as USER it is
    asked as clients may ask: about what that user sent or receives, without the sessions of others.

    The exit code is 1 if there is no such message, or if it does not count.
    """
    if as_:
        found = run(_ask_as(message_id, chat, as_, connect, token))
    else:
        found = run(_ask(message_id, chat, server, settings))
    base = (jaeger or traces("jaeger_url")).rstrip("/")
    link = f"{base}/trace/{found['trace_id']}" if base and found["trace_id"] else ""
    if json:
        json_line({**found, "trace_url": link or None})
    else:
        _print(found, link, chat)
    if found["state"] in ("void", "absent") or not found["steps"]:
        raise typer.Exit(1)


# -- asking


async def _ask(
    message_id: int, chat: str | None, server: str | None, file: Path | None
) -> dict[str, Any]:
    """Ask a history server as an operator. Raises `UsageError`, `Failed`."""
    path = f"where/{message_id}"
    return await ask_history(path, "steps", "people", server, file, chat=chat or "")


async def _ask_as(
    message_id: int, chat: str | None, as_: str, url: str | None, token: str | None
) -> dict[str, Any]:
    """Ask a history server as a participant. Raises `ChatError`."""
    from cecochat.cli.target import check_user, target, token_for
    from cecochat.client import open_history

    where = target(url)
    async with open_history(where.connect_url, token_for(where, as_, token)) as opened:
        check_user(as_, opened.user_id)
        found = asdict(await opened.where(message_id, chat))
    for step in found["steps"]:
        at = step.pop("at")
        step["at_ms"] = at and round(at.timestamp() * 1_000)
    return {**found, "message_id": str(message_id)}


# -- for people


def _print(found: dict[str, Any], link: str, chat: str | None) -> None:
    if event := found.get("event"):
        to = f" to {', '.join(event['recipient_ids'])}" if event["recipient_ids"] else ""
        echo(f"{event['kind']} of {event['user_id']}{to}, in {event['chat_id']}")
    if found["steps"]:
        print_table([_line(step) for step in found["steps"]])
    if found["trace_id"]:
        echo(f"trace {found['trace_id']}  {link}".rstrip())
    in_history = bool(found["steps"])
    echo(verdict(found["state"], found["waits_for"], chat, in_history=in_history))


def _line(step: dict[str, Any]) -> tuple[str, ...]:
    name = f"{MARKS[step['state']]} {step['name']} {step['subject']}".rstrip()
    waits = "waits: " if step["state"] == "waits" else ""
    return name, _time(step["at_ms"]), waits + step["text"]


def _time(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    return shown_ms(at_ms, "milliseconds")
