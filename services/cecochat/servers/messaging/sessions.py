"""`GET /sessions?user=ID&user=ID`: the live sessions of some users, and how far this server has
read their partitions.
"""

from __future__ import annotations

import json
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import Refusal
from cecochat.domain.session.session import Session
from cecochat.runtime.http import App, error_response
from cecochat.servers.messaging.server import MessagingServer
from cecochat.v1 import errors_pb2

USERS_MAX = 100


def show_sessions(app: App, server: MessagingServer) -> None:
    """Users of partitions that this server does not own are left out of the answer."""

    @app.get("/sessions", ctx_scope="people")
    async def sessions(request: Request) -> HTTPResponse:
        users = dict.fromkeys(request.args.getlist("user", []))
        if not 1 <= len(users) <= USERS_MAX:
            return error_response(_which(len(users)))
        found = {user: shown for user in users if (shown := _of(server, user))}
        return json_response({"server_id": server.server_id, "users": found}, dumps=json.dumps)


def _of(server: MessagingServer, user: str) -> dict[str, Any] | None:
    try:
        partition = server.ownership.partition_for(user)
    except Refusal:
        return None
    assert partition.owner, "it is ready"
    return {
        "partition": partition.partition,
        "read_to": partition.owner.cursor,
        "sessions": [shown for each in server.sessions_of(user) if (shown := _shown(each))],
    }


def _shown(session: Session) -> dict[str, Any] | None:
    """None: its client has not said hello, or is being sent away."""
    began = session.began
    if began is None or session.closed:
        return None
    return {
        "session_id": session.id,
        "device": began.device,
        "position": session.position,
        "began_at": began.position,
        "began": began.how,
        "queued_bytes": session.queued_bytes,
    }


def _which(count: int) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_INVALID_ARGUMENT,
        f"{count} users: name 1 to {USERS_MAX}, as /sessions?user=alice&user=bob",
    )
