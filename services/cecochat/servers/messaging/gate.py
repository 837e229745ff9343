"""What a connection needs of its server."""

from __future__ import annotations

from typing import Protocol

from cecochat.auth.tokens import Verifier
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.log.ids import UserId
from cecochat.domain.session.session import Session
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.servers.messaging.before import Asker
from cecochat.servers.messaging.blocking import Blocking
from cecochat.servers.messaging.credit import SendCredit
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.ownership import Ownership
from cecochat.servers.messaging.replaying import Replays
from cecochat.servers.messaging.signalling import Signalling
from cecochat.servers.messaging.strangers import Strangers
from cecochat.uploads.receipts import Receipts


class Gate(Protocol):
    """The side of a messaging server that its connections see."""

    server_id: str
    verifier: Verifier
    metrics: MessagingMetrics
    ownership: Ownership
    signalling: Signalling
    keys: KeyRing
    opening: Opening
    receipts: Receipts
    asker: Asker
    blocking: Blocking
    strangers: Strangers

    @property
    def config(self) -> Config:
        """The configuration in force."""

    def sessions_of(self, user_id: UserId) -> list[Session]:
        """Return the open sessions of a user, including those that are catching up."""

    def send_credit(self, user_id: UserId) -> SendCredit:
        """Return the send credit that all sessions of a user share."""

    def replays(self, user_id: UserId) -> Replays:
        """Return the turns that the sessions of a user take to catch up."""
