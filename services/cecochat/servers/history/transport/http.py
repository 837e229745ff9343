"""Serves `cecochat.v1.History` over HTTP, by the Connect protocol."""

from __future__ import annotations

from functools import partial

from cecochat.runtime import exchange
from cecochat.runtime.http import App
from cecochat.servers.history.calls import SERVICE, Calls


def add_routes(app: App, calls: Calls) -> None:
    """Add the calls, each as `POST /cecochat.v1.History/NAME`."""
    for call in calls.offered:
        path = f"/{SERVICE}/{call.name}"
        exchange.add_route(app, path, call.response, partial(calls.respond, call))
