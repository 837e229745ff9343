"""Asks messaging servers about the sessions of users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cecochat.domain.log.ids import UserId
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
from cecochat.where.answer import LiveSession

# If a newer server names another way to begin, that does not prove that a device had a message.
HOW: dict[Began.ValueType, How] = {BEGAN_RESUMED: "resumed", BEGAN_GAP: "gap"}


class Sessions(NamedTuple):
    """The sessions of one user. The owner of its partition has read that to below `read_to`."""

    read_to: int
    devices: tuple[LiveSession, ...]


async def sessions_on(
    client: InternalClient, server: Instance, user_ids: Sequence[UserId]
) -> dict[UserId, Sessions]:
    """Return the sessions of the users whose partitions a server owns; none without an answer."""
    said = await client.sessions(server, user_ids)
    return {user_id: _sessions(each) for user_id, each in (said or {}).items()}


def _sessions(said: UserSessions) -> Sessions:
    return Sessions(said.read_to, tuple(map(_device, said.sessions)))


def _device(said: Session) -> LiveSession:
    return LiveSession(
        session_id=said.session_id,
        device=said.device,
        position=said.position,
        began_at=said.began_at,
        began=HOW.get(said.began, "live"),
        queued_bytes=said.queued_bytes,
    )
