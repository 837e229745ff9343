"""What a messaging server says about its partitions, asked over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from cecochat.ports.discovery import Instance


async def owned_by(client: httpx.AsyncClient, server: Instance) -> frozenset[int] | None:
    """The partitions that it owns: whose takeover it has read back. None: no answer, or that of
    another server, which has its address now.
    """
    try:
        answer = await client.get(f"{server.health_url}/partitions")
        return _owned(answer.json(), server.instance_id) if answer.is_success else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


def _owned(body: Any, server_id: str) -> frozenset[int] | None:
    """Raises ValueError for what is no such answer."""
    match body:
        case {"server_id": str(said), "owned": dict(owned)}:
            return frozenset(map(int, owned)) if said == server_id else None
    raise ValueError("not the partitions of a messaging server")
