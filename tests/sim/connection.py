"""The streams between devices and servers."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cecochat.domain.session.session import Replay, Session
from cecochat.v1.messaging_pb2 import ClientFrame, ServerItem

if TYPE_CHECKING:
    from tests.sim.client import Client
    from tests.sim.server import Server


class Connection:
    """One stream of a client: frames on the way to the server, items on the way to the device."""

    def __init__(self, client: Client, node: int) -> None:
        self.client = client
        self.node = node
        self.to_server: deque[ClientFrame] = deque()
        self.to_device: deque[ServerItem] = deque()
        self.client_open = True
        self.server_open = True
        self.server: Server | None = None
        self.session: Session | None = None
        self.replay: Replay | None = None

    def refuse(self) -> None:
        """The server hangs up before or instead of a session."""
        self.server_open = False
        self.to_server.clear()
