"""What messaging servers say about the sessions of users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cecochat.domain.session.session import How
from cecochat.internal.client import InternalClient
from cecochat.internal.v1.internal_pb2 import (
    BEGAN_GAP,
    BEGAN_RESUMED,
    Began,
    Session,
    UserSessions,
)
from cecochat.ports.discovery import Instance
from cecochat.where.answer import Device

# A way to begin that only a newer server knows is no proof that a device had a message.
HOW: dict[Began.ValueType, How] = {BEGAN_RESUMED: "resumed", BEGAN_GAP: "gap"}


class Sessions(NamedTuple):
    """One user on the server that owns its partition, which has read that to below `read_to`."""

    read_to: int
    devices: tuple[Device, ...]


async def sessions_on(
    client: InternalClient, server: Instance, users: Sequence[str]
) -> dict[str, Sessions]:
    """Of the users that it owns. Empty also where it does not answer."""
    said = await client.sessions(server, users)
    return {user: _sessions(each) for user, each in (said or {}).items()}


def _sessions(said: UserSessions) -> Sessions:
    return Sessions(said.read_to, tuple(map(_device, said.sessions)))


def _device(said: Session) -> Device:
    return Device(
        session_id=said.session_id,
        device=said.device,
        position=said.position,
        began_at=said.began_at,
        began=HOW.get(said.began, "live"),
        queued_bytes=said.queued_bytes,
    )
