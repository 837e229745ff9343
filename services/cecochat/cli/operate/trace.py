"""`cecochat trace`: draws the spans of a message in the terminal, as Jaeger has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cecochat.cli import options
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import json_line
from cecochat.cli.target import traces
from cecochat.domain.printable import printable
from cecochat.telemetry.spans import MATERIALIZE

if TYPE_CHECKING:
    from cecochat.cli.operate.waterfall import Bar

WIDTH = 40
ASK_S = 10.0
TRIES, TRY_S = 8, 1.0
HAVE_A_PART = ("messaging", "materialize")  # only the second if it was just late in the history
Jaeger = Annotated[
    str | None,
    typer.Option(
        "--jaeger",
        metavar="URL",
        help="Where Jaeger is. By default CECOCHAT_JAEGER_URL, or else that of the last "
        "`cecochat up`.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("trace", epilog="Example: cecochat trace 913245669936866304")(trace)


def trace(
    message_id: Annotated[int, typer.Argument(metavar="MESSAGE_ID", help="As `send` prints it.")],
    jaeger: Jaeger = None,
    json: options.Json = False,
) -> None:
    """Draw what a message went through, and how long each step took.

    Only messages that were sampled have a trace. `trace.ratio` in the configuration says how many
    are, and `cecochat send --trace` always asks for one.
    """
    if not (where := jaeger or traces("jaeger_url")):
        raise UsageError("set CECOCHAT_JAEGER_URL to where Jaeger is, or start `make observe`")
    found = run(_find(where, message_id))
    if json:
        for bar in found:
            json_line(bar._asdict())
        return
    for line in lines(found):
        typer.echo(line)
    typer.echo(f"\n{where.rstrip('/')}/trace/{found[0].trace_id}")


async def _find(jaeger: str, message_id: int) -> list[Bar]:
    """Wait until the trace is whole, since spans arrive some seconds late. Raises `Failed`."""
    import asyncio

    from cecochat.cli.operate.waterfall import bars

    found: dict[str, Any] = {}
    for _ in range(TRIES):
        before, found = found, await _ask(jaeger, message_id)
        if found and _is_whole(found, before):
            break
        await asyncio.sleep(TRY_S)
    if not found:
        raise Failed(
            f"Jaeger has no trace of message {message_id}: it was not sampled, or was sent too "
            "long ago. Use `cecochat where`, which answers for every message"
        )
    return bars(found)


def _is_whole(found: dict[str, Any], before: dict[str, Any]) -> bool:
    """Return whether a trace reaches the history, and no span has arrived since the last look."""
    materialized = any(span["operationName"] == MATERIALIZE.name for span in found["spans"])
    return materialized and len(found["spans"]) == len(before.get("spans", ()))


async def _ask(jaeger: str, message_id: int) -> dict[str, Any]:
    """Return the trace as it is now, or nothing if there is none yet. Raises `Failed`."""
    import httpx

    from cecochat.cli.operate.waterfall import query

    try:
        async with httpx.AsyncClient(trust_env=False, timeout=ASK_S) as client:
            for service in HAVE_A_PART:
                answer = await client.get(
                    f"{jaeger.rstrip('/')}/api/traces", params=query(message_id, service)
                )
                found: list[dict[str, Any]] = answer.raise_for_status().json().get("data") or []
                if found:
                    return found[0]
    except httpx.HTTPStatusError as error:
        raise Failed(f"Jaeger at {jaeger}: {error.response.text[:200]}") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Failed(
            f"Jaeger at {jaeger} does not answer ({error!r}): start one with `make observe`, or "
            "name another with --jaeger"
        ) from None
    return {}


def lines(found: list[Bar]) -> list[str]:
    """Return the waterfall, with one line per span."""
    whole_us = max((bar.start_us + bar.duration_us for bar in found), default=0) or 1
    wide = max(len(bar.name) + 2 * bar.depth for bar in found)
    return [_line(bar, whole_us, wide) for bar in found]


def _line(bar: Bar, whole_us: int, wide: int) -> str:
    left = min(bar.start_us * WIDTH // whole_us, WIDTH - 1)
    long = max(1, min(round(bar.duration_us * WIDTH / whole_us), WIDTH - left))
    drawn = f"{' ' * left}{'█' * long}".ljust(WIDTH)
    label = f"{'  ' * bar.depth}{bar.name}".ljust(wide)
    took = f"{bar.duration_us / 1_000:8.2f} ms"
    wrong = f"  {typer.style('ERROR', fg='red')} {printable(bar.error)}" if bar.error else ""
    return printable(f"{label}  {drawn}  {took}  {bar.server}") + wrong
