"""Tells which live sessions some users have here, and how far this server has read their
partitions: to servers and commands, and at `GET /sessions?user=ID&user=ID` to people.
"""

from __future__ import annotations

import json
import time
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.session import session as domain
from cecochat.internal.routes import users_in
from cecochat.internal.v1.internal_pb2 import (
    BEGAN_GAP,
    BEGAN_LIVE,
    BEGAN_RESUMED,
    Began,
    Session,
    UserSessions,
)
from cecochat.runtime.http import App, error_response
from cecochat.servers.messaging.server import MessagingServer

BEGAN: dict[domain.How, Began.ValueType] = {
    "live": BEGAN_LIVE,
    "resumed": BEGAN_RESUMED,
    "gap": BEGAN_GAP,
}


def show_sessions(app: App, server: MessagingServer) -> None:
    """Add `GET /sessions`. Users of partitions that this server does not own are left out."""

    @app.get("/sessions", ctx_scope="people")
    async def sessions(request: Request) -> HTTPResponse:
        try:
            user_ids = users_in(request)
        except Refusal as refusal:
            return error_response(refusal)
        found = {
            user_id: _as_json(sessions)
            for user_id in user_ids
            if (sessions := user_sessions(server, user_id))
        }
        return json_response({"server_id": server.server_id, "users": found}, dumps=json.dumps)


def user_sessions(server: MessagingServer, user_id: UserId) -> UserSessions | None:
    """Return the sessions of a user; None if this server does not own the user's partition, or not
    yet.
    """
    try:
        partition = server.ownership.partition_for(user_id)
    except Refusal:
        return None
    here = server.sessions_of(user_id)
    last_session_id, left_s = server.left(user_id)
    silent_s = time.monotonic() - max(left_s, partition.since_s)
    return UserSessions(
        user_id=user_id,
        partition=partition.partition,
        read_to=partition.owner.cursor,
        sessions=[proto for each in here if (proto := _session(each))],
        silent_ms=0 if here else max(1, int(silent_s * 1_000)),
        last_session_id=last_session_id,
    )


def _session(session: domain.Session) -> Session | None:
    """Return the session as a protobuf message; None if its client was not welcomed yet, or is
    being sent away.
    """
    began = session.began
    if began is None or session.closed:
        return None
    return Session(
        session_id=session.id,
        device=began.device,
        position=session.position,
        began_at=began.position,
        began=BEGAN[began.how],
        queued_bytes=session.queued_bytes,
    )


def _as_json(found: UserSessions) -> dict[str, Any]:
    hows = {began: how for how, began in BEGAN.items()}
    sessions = [
        {
            "session_id": each.session_id,
            "device": each.device,
            "position": each.position,
            "began_at": each.began_at,
            "began": hows[each.began],
            "queued_bytes": each.queued_bytes,
        }
        for each in found.sessions
    ]
    return {"partition": found.partition, "read_to": found.read_to, "sessions": sessions}
