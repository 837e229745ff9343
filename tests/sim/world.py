"""The world of the simulator: nodes, the log, the history, clients. Every action is a method that a
schedule names.

A request stays in its producer's FIFO until it `land`s (the high watermark passes it); its answer
is a second step. What a dead or abandoned producer sent may land later, or a tail of it be dropped.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from typing_extensions import override

from cecochat.domain.log.chain import PlaceOf
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import EPOCH_MS, UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.v1.messaging_pb2 import ReadToken
from tests.sim.assigning import Assigning
from tests.sim.client import Client
from tests.sim.cutting import Cut, Cutting
from tests.sim.history import Audit, History, Materializer
from tests.sim.log import LOG_ID, Log, Producer
from tests.sim.losing import Losing
from tests.sim.oracle import Evidence, Look, Loss
from tests.sim.server import Server, recipients_of
from tests.sim.spoiling import Action, Spoiling

USERS = "abcd"  # user i lives on partition i modulo their count: by default a and d share one
DEVICES = ("a0", "a1", "b0", "c0", "d0")
GROUP = "g:all"  # its members change
CHATS = ("d:a~b", "d:a~c", GROUP)
OUTBOX_MAX = 3
LOOK = 6  # messages of a page
ROUNDS_MAX = 120
TICK_MS = 30_000


class Shape(NamedTuple):
    """Sizes: small, so that every bound is reached."""

    partitions: int = 3
    nodes: int = 3
    queue_max_bytes: int = 500
    tail_max_bytes: int = 200
    state_every: int = 5
    window_ms: int = 10_000
    entries_max: int = 4
    resend_records: int = 3
    lane_max_bytes: int = 60
    state_after_ms: int = 60_000

    def limits(self) -> OwnerLimits:
        """The owner's part of it."""
        return OwnerLimits(
            resend_window_ms=self.window_ms,
            resend_entries_max=self.entries_max,
            tail_max_bytes=self.tail_max_bytes,
            lane_max_bytes=self.lane_max_bytes,
            state_every=self.state_every,
            state_after_ms=self.state_after_ms,
        )


class World(Assigning, Spoiling, Cutting, Losing):
    """Everything there is; `do` performs an action and says whether it was enabled."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        Losing.__init__(self)
        self.shape = shape
        self.now_ms = EPOCH_MS + 1_000_000_000
        self.logs = [Log() for _ in range(shape.partitions)]
        self.cuts: list[Cut] = []
        self.afresh: set[str] = set()
        self.watermark = [NOWHERE] * shape.partitions  # what the group `forward` has committed
        self.commits: list[tuple[int, Place]] = []  # under way, in any order
        self.producers: dict[str, Producer] = {}
        self.sessions: Counter[tuple[int, int]] = Counter()
        self.up = [True] * shape.nodes
        self.paused = [False] * shape.nodes
        self.skew_ms = [0] * shape.nodes
        self.left: set[int] = set()  # partitions that nobody materializes just now
        self.stalled: set[int] = set()  # partitions that take no appends just now
        self.members = frozenset("abc")
        self.known_members = [self.members] * shape.nodes
        self.refuses = [False] * shape.nodes  # whether its limits are set so that it refuses all
        self.servers: dict[tuple[int, int], Server] = {}
        self.history = History()
        self.talkers: list[tuple[str, str]] = []  # (device, chat), of those that write
        self.looks: list[Look] = []
        self.sent_away: list[str] = []  # devices, in what is tried afterwards
        self.unacknowledged: list[str] = []  # sends, there
        self.told: set[tuple[int, int]] = set()  # (message id, target): lost, and its owner said so
        self.materializers = [Materializer(self, p) for p in range(shape.partitions)]
        self.audits = [Audit(self, p) for p in range(shape.partitions)]
        self.clients = {name: Client(self, name) for name in DEVICES}
        self.sends = 0
        self.places = {user: i % shape.partitions for i, user in enumerate(USERS)}
        self.counts = [shape.partitions] * shape.nodes  # of partitions, as each node is set

    def do(self, action: Action) -> bool:
        """Perform an action; False where it is not enabled."""
        perform: Callable[..., bool | None] = getattr(self, f"do_{action[0]}")
        return perform(*action[1:]) is not False

    # -- what the shells ask

    def place(self, user: str) -> int:
        """The partition of a user."""
        return self.places[user]

    def place_by(self, node: int, user: str) -> int:
        """The same, as that node reckons."""
        return USERS.index(user) % self.counts[node]

    def fits(self, node: int) -> bool:
        """Whether a node is set to as many partitions as the log was made with."""
        return self.counts[node] == self.shape.partitions

    def known_fold_at(
        self, partition: int, position: int, place: PlaceOf | None = None
    ) -> Fold | None:
        """What a reader of the log knows after `position`; None: what is left does not tell."""
        return self.logs[partition].known_fold_at(position, place or self.place)

    def fold_at(self, partition: int, position: int, place: PlaceOf | None = None) -> Fold:
        """The same. Raises `Trimmed`."""
        if fold := self.known_fold_at(partition, position, place):
            return fold
        return self.logs[partition].fold_at(position, place or self.place)

    def recipients(self, node: int, user: str, chat: str) -> Sequence[UserId] | None:
        """Whom a send concerns, as far as that node knows; None: it is to be refused."""
        if self.refuses[node]:
            return None
        return recipients_of(user, chat, self.known_members[node])

    def new_producer(self, server: Server) -> Producer:
        """Open a producer session."""
        key = (server.node, server.partition)
        self.sessions[key] += 1
        name = f"{server.node}.{server.partition}.{self.sessions[key]}"
        self.producers[name] = Producer(name, server)
        return self.producers[name]

    @override
    def start_server(self, node: int, partition: int) -> None:
        """A node takes a partition over."""
        self.servers[node, partition] = Server(self, node, partition)

    @override
    def runs(self, node: int) -> bool:
        """Whether a node is up and not paused."""
        return self.up[node] and not self.paused[node]

    @override
    def running(self, node: int, partition: int) -> Server | None:
        """The server of a partition on a node, if it can do anything just now."""
        return self.servers.get((node, partition)) if self.runs(node) else None

    def running_producer(self, name: str) -> Producer | None:
        """The producer of that name, if its server can do anything just now."""
        producer = self.producers.get(name)
        return (
            producer if producer and producer.server and self.runs(producer.server.node) else None
        )

    # -- time and nodes

    @override
    def do_tick(self, ms: int) -> None:
        """Time passes, and those that are awake notice."""
        for step_ms in [TICK_MS] * (ms // TICK_MS) + [ms % TICK_MS]:
            self.now_ms += step_ms
            for (node, _), server in self.servers.items():
                if self.runs(node):
                    server.owner.clock.go_on(server.now_ms())

    def do_skew(self, node: int, ms: int) -> None:
        self.skew_ms[node] = ms

    def do_pause(self, node: int) -> bool:
        enabled = self.runs(node)
        self.paused[node] |= enabled
        return enabled

    def do_resume(self, node: int) -> bool:
        enabled = self.up[node] and self.paused[node]
        self.paused[node] &= not enabled
        return enabled

    def do_crash(self, node: int) -> bool:
        if not self.up[node]:
            return False
        for partition in range(self.shape.partitions):
            if server := self.servers.get((node, partition)):
                server.stop(None)
        for client in self.clients.values():
            for connection in client.connections:
                if connection.node == node:
                    connection.refuse()
        self.up[node] = self.paused[node] = False
        self.forget_assignment(node)
        return True

    def do_crash_all(self) -> bool:
        return any([self.do_crash(node) for node in range(self.shape.nodes)])  # noqa: C419 - all of them

    def do_set_partitions(self, node: int, count: int) -> bool:
        """A node that is down is set to another number of partitions."""
        if not self.up[node]:
            self.counts[node] = count
        return not self.up[node]

    def do_restart(self, node: int) -> bool:
        if self.up[node] or not self.fits(node):
            return False
        self.up[node] = True
        self.known_members[node] = self.members
        self.do_learn(node)
        return True

    def do_member(self, user: str, joins: bool) -> bool:
        """A user joins or leaves the group."""
        if joins == (user in self.members):
            return False
        self.members = self.members | {user} if joins else self.members - {user}
        return True

    def do_refresh(self, node: int) -> bool:
        """A node hears who is in the group."""
        if not self.runs(node) or self.known_members[node] == self.members:
            return False
        self.known_members[node] = self.members
        return True

    def do_limit(self, node: int, refuses: bool) -> bool:
        """A node's limits change, so that it refuses all or nothing."""
        changes = self.runs(node) and self.refuses[node] != refuses
        self.refuses[node] ^= changes
        return changes

    # -- appends

    def do_stall(self, partition: int, stalls: bool) -> bool:
        """A partition takes no appends for a while, or does again."""
        if stalls == (partition in self.stalled):
            return False
        self.stalled ^= {partition}
        return True

    def do_land(self, name: str, target: int) -> bool:
        """The oldest request to a partition is in its log."""
        producer = self.producers.get(name)
        if target in self.stalled or not producer or not producer.requests.get(target):
            return False
        record = producer.requests[target].popleft()
        offset = self.logs[target].append(record, self.now_ms)
        if producer.server:
            producer.answers.setdefault(target, deque()).append((record, offset))
        return True

    def do_land_all(self, partition: int) -> bool:
        """All requests to a partition are in its log."""
        return any([self.do_land(name, partition) for name in list(self.producers)])  # noqa: C419 - all of them

    def do_answer(self, name: str, target: int) -> bool:
        """The producer hears that its oldest request has landed."""
        producer = self.running_producer(name)
        if not producer or not producer.server or not producer.answers.get(target):
            return False
        producer.server.appended(*producer.answers[target].popleft())
        return True

    def do_drop(self, name: str, target: int, keep: int) -> bool:
        """What a dead producer sent last never lands."""
        producer = self.producers.get(name)
        if not producer or producer.server or len(producer.requests.get(target, ())) <= keep:
            return False
        while len(producer.requests[target]) > keep:
            producer.requests[target].pop()
        return True

    def do_fail(self, name: str, target: int, landed: bool) -> bool:
        """The oldest request is given up; it is in the log or not, and those behind it go on."""
        producer = self.running_producer(name)
        if not producer or not producer.server or not producer.requests.get(target):
            return False
        record = producer.requests[target].popleft()
        if landed:
            self.logs[target].append(record, self.now_ms)
        producer.server.append_failed(target, record)
        return True

    # -- servers

    def do_claim(self, node: int, partition: int) -> bool:
        server = self.running(node, partition)
        return server.claim() if server else False

    def do_read(self, node: int, partition: int, records: int) -> bool:
        server = self.running(node, partition)
        if not server or (server.owner.cursor == server.log.end and not server.is_lost):
            return False
        for _ in range(min(records, max(1, server.log.end - server.owner.cursor))):
            if self.servers.get((node, partition)) is server:
                server.read()
        return True

    def do_forward(self, node: int, partition: int, limit: int) -> bool:
        server = self.running(node, partition)
        return server.forward(limit) if server else False

    def do_recall(self, node: int, partition: int, records: int) -> bool:
        server = self.running(node, partition)
        return server.read_again(records) if server else False

    def do_commit(self, node: int, partition: int) -> bool:
        server = self.running(node, partition)
        return server.commit() if server else False

    def do_expire(self, node: int, partition: int) -> bool:
        server = self.running(node, partition)
        if not server or not server.owner.ready:
            return False
        server.keep_house()
        return True

    def do_replay(self, name: str, records: int) -> bool:
        """A server brings a joining session what it missed."""
        connection = self.clients[name].connection
        server = connection.server if connection else None
        if not connection or not server or connection not in server.joining:
            return False
        if not self.runs(connection.node):
            return False
        assert connection.session is not None
        before = connection.session.position
        server.attach(connection, records)
        return connection not in server.joining or connection.session.position > before

    # -- clients

    def do_connect(self, name: str, node: int) -> bool:
        client = self.clients[name]
        server = self.running(node, self.place(client.user))
        if client.connection or not server or not server.owner.ready:
            return False
        client.connect(node)
        return True

    def do_cut(self, name: str) -> bool:
        if not self.clients[name].connection:
            return False
        self.clients[name].cut()
        return True

    def do_reload(self, name: str) -> None:
        self.clients[name].reload()

    def do_elsewhere(self, name: str, offset: int) -> bool:
        """A device has a position of another log, or one beyond the end of this one."""
        client = self.clients[name]
        if client.device.position is None:
            return False
        if client.connection:
            client.cut()
        if offset:
            client.device.position.offset += offset
        else:
            client.device.position.log_id = "another"
        client.record.gap_expected = True
        return True

    def do_send(self, name: str, chat: str) -> bool:
        client = self.clients[name]
        if (
            recipients_of(client.user, chat, self.members) is None
            if chat == GROUP
            else (client.user not in chat[2:].split("~"))
        ):
            return False
        if len(client.device.outbox) >= OUTBOX_MAX:
            return False
        self.sends += 1
        client.send(chat, self.sends)
        return True

    def do_to_server(self, name: str, number: int) -> bool:
        """The server reads a client's next frame."""
        connections = self.clients[name].connections
        if number >= len(connections):
            return False
        connection = connections[number]
        if not connection.to_server or not self.runs(connection.node):
            return False
        frame = connection.to_server.popleft()
        server = self.servers.get((connection.node, self.place_by(connection.node, name[0])))
        if frame.HasField("hello"):
            server.join(connection, frame.hello) if server else connection.refuse()
        elif server and connection.server is server:
            server.receive(connection, frame)
        return True

    def do_hang_up(self, name: str, number: int) -> bool:
        """The server notices that a client has gone."""
        connections = self.clients[name].connections
        if number >= len(connections):
            return False
        connection = connections[number]
        server = connection.server
        if connection.client_open or not server or not connection.server_open:
            return False
        if not self.runs(connection.node):
            return False
        server.hang_up(connection)
        connection.to_server.clear()
        return True

    def do_to_device(self, name: str, limit_bytes: int) -> bool:
        """A device reads what the network has for it."""
        return self.clients[name].take(limit_bytes)

    def do_fill(self, name: str) -> bool:
        """A device reads one more page into its gap, where the history holds what the token asks
        for.
        """
        client = self.clients[name]
        gap = client.device.gap
        if not client.connection or not gap or not self.covers(gap.token):
            return False
        client.fill()
        return True

    def covers(self, token: ReadToken) -> bool:
        """Whether everything up to there is in the history."""
        assert token.log_id == LOG_ID
        held = self.history.progress
        asked = {p: Place(token.clocks.get(p, 0), at) for p, at in token.offsets.items()}
        return not any(at.lies_above(held.get(p, NOWHERE)) for p, at in asked.items())

    # -- the history

    def do_leave(self, partition: int, leaves: bool) -> bool:
        """Nobody materializes a partition for a while, or somebody does again."""
        if leaves == (partition in self.left):
            return False
        self.left ^= {partition}
        self.materializers[partition].restart()
        return True

    def do_materialize(self, partition: int, records: int) -> bool:
        reads = partition not in self.left and self.materializers[partition].step(records)
        return reads and self._audited(partition)

    def do_land_row(self, partition: int, index: int) -> bool:
        return self.materializers[partition].land(index) and self._audited(partition)

    def do_land_stray(self, partition: int, index: int) -> bool:
        return self.materializers[partition].land_stray(index)

    def do_unfit(self, *numbers: int) -> None:
        """The history will take these messages never."""
        self.history.unfit = frozenset(numbers)

    def do_look(self, name: str, chat: str) -> bool:
        """A person reads the newest messages of a chat in the history."""
        client = self.clients[name]
        events, _ = self.history.page(client.user, chat, after=0, limit=1_000)
        page = events[-LOOK:]
        ids = tuple(event.id for event in page if event.HasField("message"))
        told = frozenset(event.id for event in page if not event.HasField("message"))
        self.looks.append(Look(client.user, chat, ids, told))
        client.read[chat] = max(*ids, client.read.get(chat, 0), 0)
        return bool(events)

    def do_commit_materialized(self, partition: int) -> bool:
        materializer = self.materializers[partition]
        if materializer.committed == materializer.place:
            return False
        materializer.committed = materializer.place
        return self._audited(partition)

    def _audited(self, partition: int) -> bool:
        self.audits[partition].step()
        return True

    def do_crash_materializer(self, partition: int) -> None:
        self.materializers[partition].restart()

    # -- the end

    def evidence(self, quiet: bool) -> Evidence:
        """What the oracle judges."""
        for client in self.clients.values():
            client.record.unanswered = [int(each) for each in client.device.outbox]
        valid, gone = self.valid(), self.gone()
        late = self.history.late & gone
        return Evidence(
            [client.record for client in self.clients.values()],
            self.history.rows.keys() - late,
            set(valid),
            quiet,
            self.looks,
            self.history.holes - late,
            Loss(self.lost, self.lost_copies),
            self.now_ms,
            self.told_lost(),
            self.sent_away,
            self.unacknowledged,
            [row for audit in self.audits for row in audit.alarms],
            self.agrees,
            gone,
            self.history.ranges(),
            self.to_be_told(),
            self.told_too_often(),
        )
