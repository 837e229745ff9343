"""What the simulated world is made of at any moment.

What may happen to it is said by the classes that inherit from this one, a file each. Together they
are the `World`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cecochat.domain.log.chain import Here, PartitionOf
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import EPOCH_MS
from cecochat.domain.log.place import NOWHERE, Place
from tests.sim.evidence import Look
from tests.sim.history import Audit, History, Materializer
from tests.sim.log import Log, Producer
from tests.sim.shape import HOMES, USERS, Shape

if TYPE_CHECKING:
    from tests.sim.asking import Reply, Request
    from tests.sim.calling import Call, CallReply, CallRequest
    from tests.sim.client import Client
    from tests.sim.cutting import Cut
    from tests.sim.server import Server


class State:
    """Nodes with their clocks, the log and what is on its way to it, owners, people, the history;
    and what is asked about them.
    """

    materializers: list[Materializer]  # these three act in the world, so the `World` makes them
    audits: list[Audit]
    clients: dict[str, Client]

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.now_ms = EPOCH_MS + 1_000_000_000
        self._begin_nodes(shape)
        self._begin_log(shape)
        self._begin_people(shape)
        self.history = History()
        self.left: set[int] = set()  # partitions that nobody materializes just now

    def _begin_nodes(self, shape: Shape) -> None:
        self.up = [True] * shape.nodes
        self.paused = [False] * shape.nodes
        self.skew_ms = [0] * shape.nodes  # how far the clock of each is from the true one
        self.counts = [shape.partitions] * shape.nodes  # of partitions, as each node is set
        self.old_versions: set[int] = set()  # nodes whose next owners are of the first version
        self.refuses = [False] * shape.nodes  # whether its limits are set so that it refuses all
        self.judges = [False] * shape.nodes  # whether its judge refuses all
        self.servers: dict[tuple[int, int], Server] = {}  # (node, partition)
        self.afresh: set[str] = set()  # sessions that found no state record: what counts is unknown
        self.told: set[tuple[int, int]] = set()  # (message id, target): lost, and its owner said so

    def _begin_log(self, shape: Shape) -> None:
        self.logs = [Log() for _ in range(shape.partitions)]
        self.cuts: list[Cut] = []
        self.stalled: set[int] = set()  # partitions that take no appends just now
        self.producers: dict[str, Producer] = {}
        self.sessions: Counter[tuple[int, int]] = Counter()  # of producers
        self.watermark = [NOWHERE] * shape.partitions  # what the group `forward` has committed
        self.commits: list[tuple[int, Place]] = []  # under way, in any order
        self.requests: list[Request] = []  # to homes of groups, under way in any order
        self.replies: list[Reply] = []  # the same
        self.calls: list[Call] = []  # of the back end
        self.call_requests: list[CallRequest] = []  # under way in any order
        self.call_replies: list[CallReply] = []  # the same
        self.call_places = [NOWHERE] * shape.partitions  # that the back end was told last

    def _begin_people(self, shape: Shape) -> None:
        self.places = {id_: home % shape.partitions for id_, home in HOMES.items()}
        self.talkers: list[tuple[str, str]] = []  # (device, chat), of those that write
        self.founded = False  # whether somebody wants to make the group
        self.sends = 0
        self.looks: list[Look] = []
        self.sent_away: list[str] = []  # devices, in what is tried afterwards
        self.unacknowledged: list[str] = []  # sends, there

    def place(self, id_: str) -> int:
        """The partition of a user or a group."""
        return self.places[id_]

    def users_in(self, partition: int) -> list[str]:
        """Those who live in a partition."""
        return [user for user in USERS if self.places[user] == partition]

    def place_by(self, node: int, id_: str) -> int:
        """The same, as that node reckons."""
        return HOMES[id_] % self.counts[node]

    def fits(self, node: int) -> bool:
        """Whether a node is set to as many partitions as the log was made with."""
        return self.counts[node] == self.shape.partitions

    def known_fold_at(
        self, partition: int, position: int, partition_of: PartitionOf | None = None
    ) -> Fold | None:
        """What a reader of the log knows after `position`; None: what is left does not tell."""
        here = Here(partition, partition_of or self.place)
        return self.logs[partition].known_fold_at(position, here)

    def fold_at(
        self, partition: int, position: int, partition_of: PartitionOf | None = None
    ) -> Fold:
        """The same. Raises `Trimmed`."""
        if fold := self.known_fold_at(partition, position, partition_of):
            return fold
        return self.logs[partition].fold_at(position, Here(partition, partition_of or self.place))

    def runs(self, node: int) -> bool:
        """Whether a node is up and not paused."""
        return self.up[node] and not self.paused[node]

    def running(self, node: int, partition: int) -> Server | None:
        """The server of a partition on a node, if it can do anything just now."""
        return self.servers.get((node, partition)) if self.runs(node) else None

    def start_server(self, node: int, partition: int) -> None:
        """A node takes a partition over."""
        raise NotImplementedError
