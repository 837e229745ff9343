"""The network: appends on their way to the log, their answers, and the streams of devices.

A request stays in its producer's FIFO until it `land`s (the high watermark passes it); its answer
is a second step. What a dead or abandoned producer sent may land later, or a tail of it be dropped.
"""

from __future__ import annotations

from collections import deque

from tests.sim.log import Producer
from tests.sim.server import Server
from tests.sim.state import State


class Network(State):
    """The part of the world that brings things, late or never."""

    def new_producer(self, server: Server) -> Producer:
        """Open a producer session."""
        key = (server.node, server.partition)
        self.sessions[key] += 1
        name = f"{server.node}.{server.partition}.{self.sessions[key]}"
        self.producers[name] = Producer(name, server)
        return self.producers[name]

    def running_producer(self, name: str) -> Producer | None:
        """The producer of that name, if its server can do anything just now."""
        producer = self.producers.get(name)
        return (
            producer if producer and producer.server and self.runs(producer.server.node) else None
        )

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
        producer.server.appended(target, *producer.answers[target].popleft())
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

    # -- streams

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
