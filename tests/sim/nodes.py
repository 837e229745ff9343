"""The nodes and their clocks: time passes, nodes pause, crash, come back and hear of changes."""

from __future__ import annotations

from tests.sim.assigning import Assigning

TICK_MS = 30_000


class Nodes(Assigning):
    """The part of the world that runs servers."""

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
        self.do_learn(node)
        return True

    def do_limit(self, node: int, refuses: bool) -> bool:
        """A node's limits change, so that it refuses all or nothing."""
        changes = self.runs(node) and self.refuses[node] != refuses
        self.refuses[node] ^= changes
        return changes
