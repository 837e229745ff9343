"""The owners of partitions: they take over, read their log, forward, and bring sessions what they
missed.
"""

from __future__ import annotations

from tests.sim.state import State


class Owners(State):
    """The part of the world that owns partitions."""

    def do_claim(self, node: int, partition: int) -> bool:
        server = self.running(node, partition)
        return server.claim() if server else False

    def do_read(self, node: int, partition: int, records: int) -> bool:
        server = self.running(node, partition)
        if not server or (server.owner.cursor == server.log.end and not server.is_lost):
            return False
        left = server.log.offsets(server.owner.cursor, server.log.end)
        for _ in range(min(records, max(1, len(left)))):
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
