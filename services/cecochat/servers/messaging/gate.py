"""What a connection needs of its server."""

from __future__ import annotations

from typing import Protocol

from cecochat.auth.tokens import Verifier
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.session.session import Session
from cecochat.servers.messaging.credit import SendCredit
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.ownership import Ownership
from cecochat.servers.messaging.replaying import Replays


class Gate(Protocol):
    """All connections of a server share it."""

    server_id: str
    verifier: Verifier
    metrics: MessagingMetrics
    ownership: Ownership

    @property
    def config(self) -> Config:
        """The configuration in force."""

    def sessions_of(self, user_id: str) -> list[Session]:
        """Those that are open, also while they catch up."""

    def send_credit(self, user_id: str) -> SendCredit:
        """What all sessions of a user share."""

    def replays(self, user_id: str) -> Replays:
        """Whose turn it is among the sessions of a user that missed something."""
