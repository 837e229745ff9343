"""The history is written: by one materializer a partition, whose rows land in any order."""

from __future__ import annotations

from tests.sim.state import State


class Materializing(State):
    """The part of the world that writes the history, and audits it meanwhile."""

    def do_leave(self, partition: int, leaves: bool) -> bool:
        """Nobody materializes a partition for a while, or somebody does again."""
        if leaves == (partition in self.left):
            return False
        self.left ^= {partition}
        self.materializers[partition].restart()
        return True

    def do_unfit(self, *numbers: int) -> None:
        """The history will take these messages never."""
        self.history.unfit = frozenset(numbers)

    def do_materialize(self, partition: int, records: int) -> bool:
        reads = partition not in self.left and self.materializers[partition].step(records)
        return reads and self._audited(partition)

    def do_land_row(self, partition: int, index: int) -> bool:
        return self.materializers[partition].land(index) and self._audited(partition)

    def do_land_stray(self, partition: int, index: int) -> bool:
        return self.materializers[partition].land_stray(index)

    def do_commit_materialized(self, partition: int) -> bool:
        materializer = self.materializers[partition]
        if materializer.committed == materializer.place:
            return False
        materializer.committed = materializer.place
        return self._audited(partition)

    def do_crash_materializer(self, partition: int) -> None:
        self.materializers[partition].restart()

    def _audited(self, partition: int) -> bool:
        self.audits[partition].step()
        return True
