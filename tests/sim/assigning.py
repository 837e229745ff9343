"""The assignment as a central document: a store that may lose its last versions or all of them, two
control servers that write it, and nodes that follow it.

The faults are drawn from a stream of their own, so that the others of a seed stay as they are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from cecochat.domain.cluster.versions import Claim, Rank, missing, rank
from tests.sim.server import MOVED
from tests.sim.shape import Shape
from tests.sim.spoiling import Action
from tests.sim.state import State

if TYPE_CHECKING:
    from tests.sim.world import World

Owners = tuple[int, ...]
"""Partition -> node; -1: nobody."""


class Assignment(NamedTuple):
    """One version of the document. Version 0 of an empty store gives no partition to anybody."""

    version: int = 0
    owners: Owners = ()

    @property
    def rank(self) -> Rank:
        """Where it stands among all versions."""
        return rank(self.version, self.owners)


NONE = Assignment()


class Memory:
    """What a node or a control server knows, as long as it runs."""

    def __init__(self) -> None:
        self.document = NONE
        self.taken_over = 0  # see `cecochat.documents.remembered.Memory`

    def keep(self, document: Assignment) -> bool:
        """Follow a version, where it is later; whether it is."""
        later = document.rank > self.document.rank
        if later:
            self.document = document
        return later

    def see_takeover(self, version: int) -> None:
        """Some node took a partition over by that version."""
        self.taken_over = max(self.taken_over, version)


class Control:
    """A control server. It writes on top of the version that it has read, or looks again."""

    def __init__(self, world: Assigning) -> None:
        self._world = world
        self.move()

    def move(self) -> None:
        """It starts somewhere else, without its copy."""
        self._memory = Memory()
        self._read = -1  # version in the store; -1: not read yet

    def check(self) -> None:
        """Ask the servers what they remember, and look at the store."""
        self.remember()
        self.judge()

    def judge(self) -> None:
        """Read the store, and give it what it lacks."""
        stored, memory = self._world.stored, self._memory
        memory.keep(stored)
        if version := missing(stored.rank, memory.document.rank, memory.taken_over):
            self._world.store(memory.document._replace(version=version))
            memory.keep(self._world.stored)
        self._read = self._world.stored.version

    def remember(self) -> None:
        """What the live servers know."""
        for node, memory in enumerate(self._world.memories):
            if self._world.runs(node):
                self._memory.keep(memory.document)
                self._memory.see_takeover(memory.taken_over)

    def assign(self, partition: int, node: int) -> None:
        """Write the next version, if the store still holds the one that was read."""
        if self._read == self._world.stored.version:
            owners = list(self._world.stored.owners or self._world.planned)
            owners[partition] = node
            self._world.store(Assignment(self._read + 1, tuple(owners)))
        self.judge()


class Assigning(State):
    """The part of the world that says who owns what."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.planned = tuple(p % shape.nodes for p in range(shape.partitions))
        self.versions = [NONE, Assignment(1, self.planned)]  # of the store, oldest first
        self.memories = [Memory() for _ in range(shape.nodes)]
        self.reachable = True  # whether the store answers
        self.controls = [Control(self), Control(self)]
        self.outdone: dict[tuple[int, int], Claim] = {}  # (node, partition) -> by a later takeover

    @property
    def stored(self) -> Assignment:
        """What the store holds."""
        return self.versions[-1]

    def store(self, document: Assignment) -> None:
        """The store holds another version."""
        self.versions.append(document)

    @property
    def assignment(self) -> Owners:
        """Who is to own what, by the store."""
        return self.stored.owners or (-1,) * self.shape.partitions

    @property
    def agrees(self) -> bool:
        """Whether every node that is up follows what the store holds."""
        return all(
            memory.document == self.stored
            for memory, up in zip(self.memories, self.up, strict=True)
            if up
        )

    # -- what happens

    def do_assign(self, partition: int, node: int, control: int = 0) -> None:
        self.controls[control].assign(partition, node)

    def do_check(self, control: int) -> None:
        """A control server compares what is remembered with the store."""
        self.controls[control].check()

    def do_move_control(self, control: int) -> None:
        self.controls[control].move()

    def do_lose_versions(self, back: int) -> bool:
        """The store loses so many of its last versions."""
        back = min(back, len(self.versions) - 1)
        del self.versions[len(self.versions) - back :]
        return back > 0

    def do_learn(self, node: int) -> bool:
        """A node hears of the assignment. What is given to another node is served on until that
        one has taken over.
        """
        if not self.runs(node):
            return False
        changed = self.reachable and self.memories[node].keep(self.stored)
        for partition in range(self.shape.partitions):
            if self._to_start(node, partition):
                self.start_server(node, partition)
                changed = True
            elif self._to_stop(node, partition):
                self.servers[node, partition].stop(MOVED)
                changed = True
            elif self.waits_for_ever(node, partition):
                self.memories[node].see_takeover(self.memories[node].document.version + 1)
        return changed

    def is_stale(self, node: int) -> bool:
        """Whether hearing of it would change anything."""
        return self.stored.rank > self.memories[node].document.rank or any(
            self._to_start(node, p) or self._to_stop(node, p) for p in range(self.shape.partitions)
        )

    def _to_start(self, node: int, partition: int) -> bool:
        if (node, partition) in self.servers or self.owner_by(node, partition) != node:
            return False
        return not self.is_outdone(node, partition)

    def is_outdone(self, node: int, partition: int) -> bool:
        """Whether another node took it over by a later claim than this one has."""
        claim = Claim(self.memories[node].document.version, f"n{node}")
        return claim < self.outdone.get((node, partition), Claim(0, ""))

    def waits_for_ever(self, node: int, partition: int) -> bool:
        """Whether it is given to a node by the same version that another one took it by, which
        meant another content, and may be gone.
        """
        version = self.memories[node].document.version
        outdone = self.outdone.get((node, partition), Claim(0, ""))
        given = self.owner_by(node, partition) == node and self.is_outdone(node, partition)
        return given and version == outdone.version

    def _to_stop(self, node: int, partition: int) -> bool:
        server, owner = self.servers.get((node, partition)), self.owner_by(node, partition)
        return bool(server and owner != node and (owner < 0 or not server.claimed))

    def owner_by(self, node: int, partition: int) -> int:
        """Whose it is, as far as that node knows."""
        owners = self.memories[node].document.owners
        return owners[partition] if owners else -1

    def took_over(self, node: int, partition: int, claim: Claim) -> None:
        """A node sees that another one has a partition now."""
        self.outdone[node, partition] = claim
        self.memories[node].see_takeover(claim.version)

    def forget_assignment(self, node: int) -> None:
        """A node has crashed."""
        self.memories[node] = Memory()
        self.outdone = {at: claim for at, claim in self.outdone.items() if at[0] != node}


class Upheavals:
    """What goes wrong with the assignment: with the probability `upheaval` after each step, or in
    one run of eight.
    """

    def __init__(self, seed: int, weights: Mapping[str, float]) -> None:
        self._rng = random.Random(f"{seed}-upheavals")
        own = self._rng.choice([0] * 7 + [0.05])
        self._probability = weights.get("upheaval", own)

    def draw(self, world: World) -> Iterator[Action]:
        """What is done before the next step."""
        if self._rng.random() < self._probability:
            kinds = [self._one, self._fork, self._oblivion, self._odd_start]
            yield from self._rng.choice(kinds)(world.shape)

    def _one(self, shape: Shape) -> list[Action]:
        rng = self._rng
        return rng.choice(
            [
                [("lose_versions", rng.choice([1, 1, 2, 1_000]))],
                [("move_control", rng.randrange(2))],
                [("check", rng.randrange(2))],
            ]
        )

    def _fork(self, shape: Shape) -> list[Action]:
        """Two contents of one version: a node has heard of the first before the store lost it."""
        one, other = self._node(shape), self._node(shape)
        first, second = self._assign(shape, one, 0), self._assign(shape, other, 1)
        fork = [first, ("learn", one), ("lose_versions", 1), second, second]
        return fork if self._rng.random() < 0.5 else [*fork, *self._taken_and_lost(shape, second)]

    def _oblivion(self, shape: Shape) -> list[Action]:
        """A node has taken over by a version that it alone has heard of, and all forget that."""
        assign = self._assign(shape, self._node(shape), 0)
        lost = self._taken_and_lost(shape, assign)
        return [assign, *lost, ("move_control", 0), ("move_control", 1)]

    def _odd_start(self, shape: Shape) -> list[Action]:
        """A node is started for another number of partitions; then that is put right."""
        node, odd = self._node(shape), max(1, shape.partitions - 1)
        wrong, right = (("set_partitions", node, count) for count in (odd, shape.partitions))
        return [("crash", node), wrong, ("restart", node), right, ("restart", node)]

    def _taken_and_lost(self, shape: Shape, assign: Action) -> list[Action]:
        _, partition, node, _ = assign
        taken = [("read", other, partition, 50) for other in range(shape.nodes)]
        took = [("learn", node), ("claim", node, partition), ("land_all", partition), *taken]
        return [*took, ("crash", node), ("lose_versions", 1)]

    def _assign(self, shape: Shape, node: int, control: int) -> Action:
        return ("assign", self._rng.randrange(shape.partitions), node, control)

    def _node(self, shape: Shape) -> int:
        return self._rng.randrange(shape.nodes)
