"""Schedules that are written, as they are too rare to be drawn."""

from __future__ import annotations

from tests.sim.healing import settle
from tests.sim.oracle import judge
from tests.sim.shape import Shape
from tests.sim.world import World

HOME = 0  # the partition of a and d, and the node that has it


def world() -> World:
    """Every partition is taken over; d has joined the group."""
    made = World(Shape())
    for node in range(3):
        made.do_learn(node)
        made.do_claim(node, node)
        append(made, node)
    made.do_connect("b0", 1)
    made.do_to_server("b0", 0)
    made.do_to_device("b0", 10_000)
    return made


def append(made: World, partition: int) -> None:
    """What is on the way to a partition lands and is read."""
    for name in list(made.producers):
        while made.do_land(name, partition):
            made.do_answer(name, partition)
    while made.do_read(partition, partition, 10):
        pass


def say(made: World, device: str, chat: str, messages: int) -> None:
    """So many messages of a device, acknowledged."""
    made.do_connect(device, HOME)
    for _ in range(messages):
        assert made.do_send(device, chat)
        for _ in range(4):
            made.do_to_server(device, 0)
            append(made, HOME)
            made.do_to_device(device, 10_000)
    assert not made.clients[device].device.outbox


def broken(made: World) -> set[str]:
    """The promises that are broken in the end."""
    return {each.kind for each in judge(made.evidence(settle(made)))}
