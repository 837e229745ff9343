"""The world of the simulator. Every action is a method `do_...` of one of its parts that a schedule
names:

- `people`: who writes and reads, on which devices
- `aging`: what chats do not keep any more
- `changing`: who edits, deletes and reacts
- `network`: what is on its way, to the log and to devices
- `nodes`: clocks, pauses and crashes
- `assigning`: which node is to own what
- `owners`: what the owner of a partition does
- `asking`: what owners ask of the homes of groups
- `calling`: what the product's back end sends
- `materializing`: how the history is written
- `upgrading`: which version a node runs
- `spoiling`, `cutting`, `losing`, `vanishing`: what goes wrong with the records of a log

`state` is what they act on, and `evidence` is what the oracle gets to see of it.
"""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import override

from tests.sim.aging import Aging
from tests.sim.asking import Asks
from tests.sim.calling import Calling
from tests.sim.changing import Changing
from tests.sim.client import Client
from tests.sim.evidence import Evidence, Loss
from tests.sim.history import Audit, Materializer
from tests.sim.judging import Judging
from tests.sim.materializing import Materializing
from tests.sim.owners import Owners
from tests.sim.recount import now_of
from tests.sim.server import Server
from tests.sim.shape import DEVICES, Shape
from tests.sim.spoiling import Action
from tests.sim.upgrading import Upgrading
from tests.sim.vanishing import Vanishing


class World(Aging, Changing, Owners, Asks, Calling, Judging, Materializing, Upgrading, Vanishing):
    """Everything there is; `do` performs an action and says whether it was enabled."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.materializers = [Materializer(self, p) for p in range(shape.partitions)]
        self.audits = [Audit(self, p) for p in range(shape.partitions)]
        self.clients = {name: Client(self, name) for name in DEVICES}

    def do(self, action: Action) -> bool:
        """Perform an action; False where it is not enabled."""
        perform: Callable[..., bool | None] = getattr(self, f"do_{action[0]}")
        return perform(*action[1:]) is not False

    @override
    def start_server(self, node: int, partition: int) -> None:
        """A node takes a partition over."""
        self.servers[node, partition] = Server(self, node, partition)

    def note_unanswered(self) -> None:
        """Who waits for an answer now that all is at rest. What somebody else sends may bring it,
        so this is noted before that, too.
        """
        for client in self.clients.values():
            client.record.unanswered |= {int(each) for each in client.device.outbox}

    def evidence(self, quiet: bool) -> Evidence:
        """What the oracle judges."""
        self.note_unanswered()
        for client in self.clients.values():
            client.record.messages = {
                each.id: now_of(each)
                for each in client.timeline.messages()
                if each.id >= self.history.kept_from
            }
        again = self.brought_again()
        for client in self.clients.values():
            client.record.brought_again = again[client.user]
        valid = self.valid()
        gone = self.gone() | self.vanished(valid)
        late = self.history.late & gone
        belonging = self.belonging()
        named = belonging.named
        return Evidence(
            [client.record for client in self.clients.values()],
            named(self.history.rows.keys() - late),
            named(set(valid)),
            quiet,
            self.looks,
            named(self.history.holes - late),
            Loss(self.lost, self.lost_copies, self.lost_changes, self.changed),
            self.now_ms,
            self.told_lost(),
            self.sent_away,
            self.unacknowledged,
            list(named({row for audit in self.audits for row in audit.alarms})),
            self.agrees,
            named(gone),
            self.history.ranges(),
            named(self.to_be_told()),
            self.told_too_often(),
            self.changes_in(valid),
            list(self.history.views()),
            belonging.left,
            [call.record for call in self.calls],
            belonging.admins,
        )
