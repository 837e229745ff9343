"""The live sessions of some users, and how far this server has read their partitions: for servers
and commands, and at `GET /sessions?user=ID&user=ID` for people.
"""

from __future__ import annotations

import json
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import Refusal
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
    """Users of partitions that this server does not own are left out of the answer."""

    @app.get("/sessions", ctx_scope="people")
    async def sessions(request: Request) -> HTTPResponse:
        try:
            users = users_in(request)
        except Refusal as refusal:
            return error_response(refusal)
        found = {user: _shown(said) for user in users if (said := user_sessions(server, user))}
        return json_response({"server_id": server.server_id, "users": found}, dumps=json.dumps)


def user_sessions(server: MessagingServer, user: str) -> UserSessions | None:
    """None: this server does not own the partition of that user, or not yet."""
    try:
        partition = server.ownership.partition_for(user)
    except Refusal:
        return None
    return UserSessions(
        user_id=user,
        partition=partition.partition,
        read_to=partition.owner.cursor,
        sessions=[said for each in server.sessions_of(user) if (said := _session(each))],
    )


def _session(session: domain.Session) -> Session | None:
    """None: its client has not said hello, or is being sent away."""
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


def _shown(said: UserSessions) -> dict[str, Any]:
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
        for each in said.sessions
    ]
    return {"partition": said.partition, "read_to": said.read_to, "sessions": sessions}
