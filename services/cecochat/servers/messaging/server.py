"""The messaging server, which serves the sessions of the users whose partitions it owns."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, defaultdict

from cecochat.auth.tokens import Identity, Verifier
from cecochat.domain.cluster.apps import Apps
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.revocations import Revocations
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId, app_of
from cecochat.domain.moderation.rules import Rules
from cecochat.domain.session.bucket import PerUser, Rates
from cecochat.domain.session.session import Session
from cecochat.internal.ages import of_stages
from cecochat.internal.v1.internal_pb2 import Load, MessagingLoad
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.servers.messaging.before import Asker
from cecochat.servers.messaging.blocking import Blocking
from cecochat.servers.messaging.connection import Connection, Read, Write
from cecochat.servers.messaging.credit import SendCredit, rate_of_app, rate_of_user
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.limits import follow
from cecochat.servers.messaging.ownership import NEXT_OWNER_MS, Ownership
from cecochat.servers.messaging.replaying import Replays
from cecochat.servers.messaging.signalling import Signalling
from cecochat.servers.messaging.strangers import Strangers
from cecochat.uploads.receipts import Receipts
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

STOP_S = 12.0
"""How long a server takes to stop at most, without `drain.spread_s` (2 s). With the 15 s that it
may wait for its turn, it is less than the 30 s after which a deployment kills it.
"""
HAND_OVER_S = 7.0
DRAIN_S = 5.0
LEFT_MAX = 100_000
"""Of how many users a server remembers when they left."""


class MessagingServer:
    """A messaging server. A transport calls `serve` for each stream, and `check_tokens` runs beside
    them.
    """

    def __init__(
        self,
        host: Host,
        ownership: Ownership,
        signalling: Signalling,
        verifier: Verifier,
        keys: KeyRing,
        receipts: Receipts,
        asker: Asker,
        blocking: Blocking,
        strangers: Strangers,
    ) -> None:
        self.server_id = host.server_id
        self.metrics = host.metrics
        self.ownership = ownership
        self.signalling = signalling
        self.verifier = verifier
        self.keys = keys
        self.asker, self.blocking, self.strangers = asker, blocking, strangers
        self._moderation = host.moderation
        self.opening = Opening(keys)
        self.receipts = receipts
        self._limits, self._send_limits = host.limits, host.send_limits
        self._config = Config()
        self._connections: set[Connection] = set()
        self._by_user: defaultdict[UserId, list[Session]] = defaultdict(list)
        # The session of a user that ended last, and when, s by the monotonic clock.
        self._left: OrderedDict[UserId, tuple[str, float]] = OrderedDict()
        self._of_app: Counter[str] = Counter()  # sessions
        self._sends: PerUser[SendCredit] = PerUser()
        self._app_sends: dict[str, SendCredit] = {}  # by app, of which there are few
        self._replays: PerUser[Replays] = PerUser()
        self._connects = Rates("connects")
        self._leaving = False  # other servers should take over; until then this one serves
        self._draining = False
        self._next_session = 0
        self._measure()

    def _measure(self) -> None:
        """Register what is computed when the metrics are read."""
        metrics, ownership = self.metrics, self.ownership
        metrics.sessions_max.set(self._config.sessions_max_per_server)
        metrics.append_wait.set_function(lambda: ownership.append_wait_s)
        metrics.group_wait.set_function(lambda: ownership.group_wait_s)
        metrics.queue_bytes.labels("append").set_function(lambda: ownership.queued_bytes)
        metrics.queue_bytes.labels("sessions").set_function(
            lambda: sum(each.session.queued_bytes for each in self._connections)
        )

    # -- configuration

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def configure(self, config: Config) -> None:
        """Follow a new configuration. Open sessions keep the limit of their queues."""
        self._config = config
        self.verifier.configure(config)
        self.metrics.sessions_max.set(config.sessions_max_per_server)
        self._limits.resend_window_ms = int(config.resend_window_s * 1_000)
        self._limits.tail_max_bytes = config.tail_max_bytes
        follow(self._send_limits, config)

    # -- what others ask

    @property
    def not_ready(self) -> str | None:
        """Why no session should come here now, or None if this server is ready."""
        return "draining" if self._leaving else self.ownership.not_ready

    @property
    def load(self) -> Load:
        """What this server carries now."""
        carried = MessagingLoad(
            sessions=len(self._connections),
            sends_accepted=self.metrics.accepted,
            deliveries=self.metrics.delivered,
            forward_lag_records=self.metrics.forward_lag.most,
            ages=of_stages(self.metrics.ages),
        )
        return Load(messaging=carried)

    # -- sessions

    async def serve(
        self, token: str, identity: Identity, read: Read, write: Write
    ) -> Refusal | None:
        """Serve one stream to its end, and return why the server ended it, or None if the client
        left. Raises `Refusal` before the first frame if the stream is not admitted.
        """
        self._admit(identity.user_id)
        self._next_session += 1
        session_id = f"{self.server_id}/{self._next_session}"
        connection = Connection(self, token, identity, session_id, read, write)
        self._connections.add(connection)
        self._by_user[identity.user_id].append(connection.session)
        self._count(identity.user_id, 1)
        try:
            refusal = await connection.run()
        finally:
            self._forget(connection, identity.user_id)
        if refusal:
            self.metrics.disconnects.labels(refusal.name).inc()
        return refusal

    def sessions_of(self, user_id: UserId) -> list[Session]:
        """Return the open sessions of a user, including those that are catching up."""
        return list(self._by_user.get(user_id, ()))

    def left(self, user_id: UserId) -> tuple[str, float]:
        """Return the session of a user that ended last, and when, s by the monotonic clock; "" and
        0 if this server remembers none.
        """
        return self._left.get(user_id, ("", 0.0))

    def _forget(self, connection: Connection, user_id: UserId) -> None:
        self._connections.discard(connection)
        self._by_user[user_id].remove(connection.session)
        self._left[user_id] = connection.session.id, time.monotonic()
        self._left.move_to_end(user_id)
        if len(self._left) > LEFT_MAX:
            self._left.popitem(last=False)
        if not self._by_user[user_id]:
            del self._by_user[user_id]
        self._count(user_id, -1)

    def _count(self, user_id: UserId, sessions: int) -> None:
        self._of_app[app_of(user_id)] += sessions
        self.metrics.count_sessions(user_id, sessions)

    def _admit(self, user_id: UserId) -> None:
        if self._draining:
            raise Refusal(
                errors_pb2.ERROR_CODE_DRAINING,
                "this server is stopping: ask the connect server for another",
            )
        config = self._config.of(user_id)
        self._connects.check(
            user_id, time.monotonic(), config.connects_rate_per_user, config.connects_burst
        )
        if len(self._connections) >= config.sessions_max_per_server:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS,
                f"this server has {config.sessions_max_per_server} sessions, and more are not "
                "allowed: try again later",
            )
        if self._of_app[app_of(user_id)] >= config.sessions_max_per_app:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS,
                f"the users of this app have {config.sessions_max_per_app} sessions on this "
                "server, and more are not allowed: try again later",
            )
        if len(self._by_user.get(user_id, ())) >= config.sessions_max_per_user:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS,
                f"{user_id} has {config.sessions_max_per_user} sessions, and more are not allowed: "
                "close one of them first",
            )

    def send_credit(self, user_id: UserId) -> SendCredit:
        """Return the send credit that all sessions of a user share."""
        shared = self._send_credit_of_app(app_of(user_id))
        return self._sends.of(
            user_id, lambda: SendCredit(lambda: rate_of_user(self._config.of(user_id)), shared)
        )

    def _send_credit_of_app(self, app: str) -> SendCredit:
        if app not in self._app_sends:
            self._app_sends[app] = SendCredit(
                lambda: rate_of_app(self._config.apps.get(app, self._config))
            )
        return self._app_sends[app]

    def replays(self, user_id: UserId) -> Replays:
        """Return the turns that the sessions of a user take to catch up."""
        return self._replays.of(user_id, Replays)

    def end_revoked(self, revoked: Revocations) -> None:
        """End the sessions whose tokens are revoked, and forget the keys of those who may have been
        erased.
        """
        self.opening.follow(revoked)
        self._end_those_refused()

    def moderate(self, rules: Rules) -> None:
        """Follow new rules, and end the sessions of those who are banned."""
        self._moderation.rules = rules
        self.verifier.moderate(rules)
        self._end_those_refused()

    def know(self, apps: Apps) -> None:
        """Follow which apps there are, and end the sessions of those that are disabled."""
        self.verifier.know(apps)
        self._end_those_refused()

    def _end_those_refused(self) -> None:
        for connection in list(self._connections):
            connection.token.end_if_refused()

    async def check_tokens(self) -> None:
        """Send those away whose tokens have expired, until cancelled."""
        while True:
            await asyncio.sleep(1)
            now_s = time.time()
            for connection in list(self._connections):
                connection.token.check(now_s)

    # -- the end

    async def drain(self) -> None:
        """Serve on while other servers take over. Then take no new sessions and no more sends,
        answer those under way, send the sessions away over the drain time, and forward what is
        owed.
        """
        self._leaving = True
        until_s = time.monotonic() + STOP_S + self._config.drain_spread_s
        await self.ownership.hand_over(HAND_OVER_S)
        self._draining = True
        await self.ownership.for_each(lambda owned: owned.finish_sends(DRAIN_S))
        connections = list(self._connections)
        pause_s = self._config.drain_spread_s / max(len(connections), 1)
        for number, connection in enumerate(connections):
            await asyncio.sleep(pause_s if number else 0)
            connection.session.close(
                Refusal(
                    errors_pb2.ERROR_CODE_DRAINING,
                    "this server is stopping: ask the connect server where to go, then resume",
                    NEXT_OWNER_MS,
                )
            )
        left_s = min(DRAIN_S, max(0.0, until_s - time.monotonic()))
        await self.ownership.for_each(lambda owned: owned.drain(left_s))
        await self.ownership.store_watermarks()
