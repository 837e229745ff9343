"""Asks a history server over its HTTP port, which is for operators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cecochat.cli.failure import Failed, UsageError

if TYPE_CHECKING:
    import httpx

ASK_S = 15.0  # above what the server gives itself
NOT_FOUND = 404

Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="HTTP port of a history server; default: one that Consul knows, else that of "
        "what `cecochat up` started last.",
    ),
]


async def ask_history(
    path: str, has: str, server: str | None, file: Path | None, **params: str
) -> dict[str, Any]:
    """The first answer of a history server, which has the field `has`. Raises `UsageError`,
    `Failed`.
    """
    import httpx

    why = "none is known: see `cecochat status`, or name one with --server URL"
    async with httpx.AsyncClient(timeout=ASK_S, trust_env=False) as client:
        for url in [server] if server else await _servers(file):
            try:
                return _read(await client.get(f"{url.rstrip('/')}/{path}", params=params), has)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                why = f"{url}: {str(error) or type(error).__name__}"
    raise Failed(f"no history server answers ({why})")


async def _servers(file: Path | None) -> list[str]:
    """The HTTP ports of history servers: of a cluster, or of what `up` started last."""
    from cecochat.adapters import build
    from cecochat.cli import target

    settings = target.settings(None, file)
    if not settings.consul:
        url = (target.last_up() or {}).get("health", {}).get("history")
        return [url] if url else []
    async with build.discovery(settings) as discovery:
        return [each.health_url for each in discovery.live("history")]


def _read(response: httpx.Response, has: str) -> dict[str, Any]:
    """Raises ValueError for what is no such answer."""
    if response.status_code == NOT_FOUND:
        raise ValueError("what answers there is no history server, or one of a version before")
    body = response.json()
    match body:
        case {"error": {"code": str(code), "message": str(message)}}:
            raise UsageError(message) if code == "invalid_argument" else Failed(message)
        case dict() if has in body:
            return dict(body)
    raise ValueError("what answers there is no history server")
