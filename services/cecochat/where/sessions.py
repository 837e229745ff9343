"""What messaging servers say about the sessions of users, asked over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx

from cecochat.ports.discovery import Instance
from cecochat.where.answer import Device


class Sessions(NamedTuple):
    """One user on the server that owns its partition, which has read that to below `read_to`."""

    read_to: int
    devices: tuple[Device, ...]


async def sessions_on(
    client: httpx.AsyncClient, server: Instance, users: Sequence[str]
) -> dict[str, Sessions]:
    """Of the users that it owns. Empty also where it does not answer, or another has its address
    now.
    """
    try:
        answer = await client.get(f"{server.health_url}/sessions", params={"user": list(users)})
        return _read(answer.json(), server.instance_id) if answer.is_success else {}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return {}


def _read(body: Any, server_id: str) -> dict[str, Sessions]:
    if body["server_id"] != server_id:
        return {}
    return {user: _sessions(each) for user, each in body["users"].items()}


def _sessions(of: Any) -> Sessions:
    known = Device._fields
    devices = (Device(**{name: each[name] for name in known}) for each in of["sessions"])
    return Sessions(int(of["read_to"]), tuple(devices))
