"""The end of every schedule: all faults are over, and everything has to come to rest."""

from __future__ import annotations

from cecochat.domain.ownership.clock import LOOK_AGAIN_MS
from cecochat.domain.ownership.incoming import ASK_SELDOM_MS
from cecochat.domain.ownership.owner import Owner
from tests.sim.world import World

ROUNDS_MAX = 120
HOUSES_MAX = 8
"""What is asked for and does not come after so many times was dropped by the log, or is lost."""


def settle(world: World) -> bool:
    """Everybody comes back, nothing is lost any more; whether it comes to rest."""
    for node in range(world.shape.nodes):
        world.do_resume(node)
        _set_right(world, node)
        world.do_restart(node)
        world.do_limit(node, False)
        world.do_judge(node, False)
        world.do_skew(node, 0)
    for partition in range(world.shape.partitions):
        world.do_stall(partition, False)
        world.do_leave(partition, False)
    if world.sends % 2 and not (world.agrees or _rests_by_what_is_known(world)):
        return False
    if not comes_to_rest(world):
        return False
    for partition, owner in enumerate(world.assignment):
        if owner < 0:
            world.do_assign(partition, 0)
    return mend(world)


def _set_right(world: World, node: int) -> None:
    if world.counts[node] != world.shape.partitions:
        world.do_crash(node)
        world.do_set_partitions(node, world.shape.partitions)


def _rests_by_what_is_known(world: World) -> bool:
    """Whether servers that follow different versions leave each other alone."""
    world.reachable = False
    rests = comes_to_rest(world)
    world.reachable = True
    return rests


def mend(world: World) -> bool:
    """Come to rest, with what is missing asked for."""
    for _ in range(HOUSES_MAX):
        if not comes_to_rest(world):
            return False
        if not _keep_houses(world):
            break
    return True


def comes_to_rest(world: World) -> bool:
    """Let everybody go on for as long as that moves anything."""
    return any(not _moves(world) for _ in range(ROUNDS_MAX))


def _moves(world: World) -> bool:
    return any([settle_log(world), settle_servers(world), _settle_clients(world)])


def _waits(owner: Owner) -> bool:
    asks = owner.asking.waits_since_ms is not None
    return asks or owner.incoming.unread >= 0 or bool(owner.fold.owed)


def _keep_houses(world: World) -> bool:
    """Owners that know of copies that are missing ask for them; whether there are any."""
    short = [server for server in world.servers.values() if _waits(server.owner)]
    if short:
        world.do_tick(ASK_SELDOM_MS)
    for server in short:
        server.keep_house()
    return bool(short)


def _look_at_clock(world: World, node: int, partition: int) -> bool:
    """An owner that was ahead of its log finds out that it is not any more."""
    server = world.running(node, partition)
    if not server or not server.owner.ready or server.owner.clock.is_right(server.now_ms()):
        return False
    world.do_tick(LOOK_AGAIN_MS)
    server.keep_house()
    return True


def settle_log(world: World) -> bool:
    """All appends land, and are answered."""
    moved = False
    for name, producer in list(world.producers.items()):
        for target in list(producer.requests):
            while producer.requests[target]:
                moved |= world.do_land(name, target)
            while world.do_answer(name, target):
                moved = True
    while world.do_land_commit(0):
        moved = True
    return moved


def _control_looks(world: World) -> bool:
    """At what the servers remember, and at the store; whether it gave the store anything."""
    before = world.stored
    if world.reachable:
        world.do_check(0)
    return world.stored != before


def settle_servers(world: World) -> bool:
    """All servers do all that they can."""
    moved = _control_looks(world)
    for node in range(world.shape.nodes):
        moved |= world.do_learn(node)
    for node, partition in list(world.servers):
        moved |= world.do_claim(node, partition)
        while world.do_read(node, partition, 50):
            moved = True
        moved |= _settle_asks(world, node, partition)
        moved |= world.do_forward(node, partition, 1_000)
        moved |= world.do_recall(node, partition, 1_000)
        moved |= _look_at_clock(world, node, partition)
    moved |= _settle_calls(world)
    for partition in range(world.shape.partitions):
        moved |= world.do_materialize(partition, 1_000)
        while world.do_land_row(partition, 0) or world.do_land_stray(partition, 0):
            moved = True
        world.do_commit_materialized(partition)
    for node, partition in list(world.servers):
        if world.logs[partition].is_cut:
            moved |= world.do_release(node, partition)
    return moved


def _settle_asks(world: World, node: int, partition: int) -> bool:
    """What an owner asks for comes, and is answered."""
    moved = False
    world.do_ask(node, partition)
    while world.requests:
        lands = world.do_land_ask(0, world.assignment[world.requests[0].home])
        moved |= lands or not world.do_lose_ask(0)
    while world.do_answer_ask(0):
        moved = True
    return moved


def _settle_calls(world: World) -> bool:
    """Calls come to who can answer them; what cannot come is tried again in the next round."""
    moved = False
    for index in range(len(world.calls)):
        world.do_try_call(index)
    while world.call_requests:
        node = world.assignment[world.call_requests[0].partition]
        lands = world.do_land_call(0, node)
        moved |= lands or not world.do_lose_call(0)
    for index in reversed(range(len(world.call_replies))):
        moved |= world.do_answer_call(index)
    for index in reversed(range(len(world.calls))):
        moved |= world.do_look_up(index)
    return moved


def _settle_clients(world: World) -> bool:
    moved = False
    for name, client in world.clients.items():
        moved |= world.do_connect(name, world.assignment[world.place(client.user)])
        for number, connection in enumerate(client.connections):
            while connection.to_server and world.do_to_server(name, number):
                moved = True
            world.do_hang_up(name, number)
        moved |= world.do_replay(name, 1_000)
        moved |= world.do_to_device(name, 1_000)
        while world.do_fill(name):
            moved = True
    return moved
