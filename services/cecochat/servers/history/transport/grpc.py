"""Serves `cecochat.v1.History` over gRPC."""

from __future__ import annotations

from functools import partial

from cecochat.runtime.exchange import handler
from cecochat.runtime.grpc import Service
from cecochat.runtime.hangup import HangUp
from cecochat.servers.history.calls import RECEIVE_MAX_BYTES, SERVICE, Calls

CONNECTION_AGE_MS = 120_000
"""How long a connection may last, and with it an answer that nobody reads. It ends before if such
answers are too many bytes.
"""


def service(calls: Calls) -> Service:
    """Return the service, which `calls` answer."""
    hanging_up = HangUp()
    handlers = {
        call.name: handler(partial(calls.respond, call), hanging_up) for call in calls.offered
    }
    return Service(SERVICE, handlers, RECEIVE_MAX_BYTES, CONNECTION_AGE_MS)
