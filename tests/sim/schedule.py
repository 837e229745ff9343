"""Schedules: drawn from a seed, replayed, healed at the end, judged, and shrunk.

A schedule is a list of actions; what is not enabled when its turn comes is skipped, so any part of
a schedule is one.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.sim.afterwards import afterwards
from tests.sim.aging import Ages
from tests.sim.assigning import Upheavals
from tests.sim.calling import Calls
from tests.sim.changing import Changes
from tests.sim.cutting import Cuts
from tests.sim.healing import mend, settle
from tests.sim.judging import Judges
from tests.sim.opening import founding, opening, unfit
from tests.sim.oracle import EXCEPTION, Broken, judge
from tests.sim.shape import DEVICES, GROUP, Shape
from tests.sim.spoiling import Action, Spoils
from tests.sim.upgrading import Upgrades
from tests.sim.vanishing import Vanishings
from tests.sim.world import World

DEFAULT = Shape()
STEPS = 600

# How often each kind of action is tried.
WEIGHTS: dict[str, float] = {
    "send": 12, "to_server": 14, "to_device": 16, "land": 24, "answer": 16, "read": 20,
    "forward": 14, "commit": 6, "land_commit": 6, "connect": 8, "replay": 6, "fill": 3,
    "materialize": 8, "commit_materialized": 4, "expire": 3, "learn": 4, "tick": 3,
    "resume": 2, "restart": 4, "hang_up": 1, "trim": 4, "release": 3,
    "claim": 8, "recall": 6, "land_row": 12, "land_stray": 1, "look": 3,
    "ask": 14, "land_ask": 14, "answer_ask": 14,
}  # fmt: skip
FAULTS: dict[str, float] = {
    "pause": 1, "crash": 0.6, "crash_all": 0.15, "assign": 1.2, "skew": 0.6, "cut": 2.5,
    "fail": 0.7, "drop": 0.7, "member": 1, "long_tick": 0.4, "crash_materializer": 0.4,
    "forget": 0.2, "reload": 0.5, "elsewhere": 0.15, "limit": 0.4,
    "lose_ask": 0.7, "lose_answer": 0.7, "give_up_ask": 0.7,
    "stall": 0.8, "spoil": 0.2, "lose": 0.05, "leave": 0.1, "wrong_clock": 0.02,
}  # fmt: skip

Weights = Mapping[str, float]
Aside = Spoils | Upheavals | Cuts | Upgrades | Vanishings | Changes | Calls | Ages | Judges

# What a run is about, as factors: what needs several rare things at once would hardly ever happen.
THEMES: list[Weights] = [
    {},
    {},
    {"commit": 3, "land_commit": 3, "commit_materialized": 3, "materialize": 2, "trim": 4,
     "release": 3, "cut": 4, "connect": 0.5, "fill": 3, "crash": 0.3},  # retention and gaps
    {"elsewhere": 60, "cut": 4, "connect": 3, "fill": 20, "send": 3, "forward": 0.1, "look": 5,
     "materialize": 8, "land_row": 0.7, "to_device": 2, "to_server": 3, "land": 2, "read": 2,
     "crash": 0.1, "assign": 0.1, "trim": 0.1},  # the history is read while it is written
    {"cut": 5, "long_tick": 4, "expire": 4, "reload": 3, "to_server": 0.5, "hang_up": 0},  # repeats
    {"to_device": 0.15, "send": 2, "land": 1.5, "forward": 1.5, "read": 1.5},  # slow clients
    {"member": 5, "limit": 5, "cut": 4},  # refusals
    {"member": 6, "lose_ask": 6, "lose_answer": 6, "give_up_ask": 9, "land_ask": 0.5,
     "assign": 4, "learn": 3},  # requests that are given up
    {"pause": 6, "resume": 4, "assign": 4, "learn": 3, "crash": 0.3},  # owners that come back
    {"stall": 12, "send": 2, "to_server": 2, "forward": 2, "recall": 0.7},  # slow targets
    {"assign": 12, "learn": 4, "claim": 0.5, "crash": 0.2, "send": 1.5},  # planned handoffs
    {"wrong_clock": 100, "expire": 3, "connect": 2},  # clocks years apart
    {"lose": 30, "commit": 2, "land_commit": 2, "materialize": 3, "connect": 3, "cut": 2,
     "land_row": 2, "crash": 0.3, "leave": 20, "member": 3},  # logs that lose their end
]  # fmt: skip


class Run(NamedTuple):
    """What was done, and which promises broke."""

    actions: list[Action]
    broken: list[Broken]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of broken promises."""
        return frozenset(each.kind for each in self.broken)


def random_run(
    seed: int, steps: int = STEPS, shape: Shape = DEFAULT, weights: Weights | None = None
) -> Run:
    """The run of a seed; `weights` overrides those of some kinds of action."""
    rng = random.Random(seed)
    more = weights or {}
    upgrades = Upgrades(seed, shape.nodes, more)
    aside: list[Aside] = [Spoils(seed, more), Upheavals(seed, more), Cuts(seed, steps, weights)]
    aside += [upgrades, Vanishings(seed, steps, weights), Changes(seed, weights)]
    aside += [Calls(seed, weights), Ages(seed, weights), Judges(seed, weights)]
    first = unfit(seed, more) + upgrades.first()
    return _run(shape, _drawn(rng, steps, more, aside, (first, founding(seed, more))))


def replay(actions: Sequence[Action], shape: Shape = DEFAULT) -> Run:
    """The run of a schedule."""
    return _run(shape, lambda _: iter(actions))


def _run(shape: Shape, schedule: Callable[[World], Iterator[Action]]) -> Run:
    world = World(shape)
    done: list[Action] = []
    action: Action = ()
    try:
        for action in schedule(world):
            if world.do(action):
                done.append(action)
        quiet = settle(world) and afterwards(world) and mend(world)
    except Exception:  # noqa: BLE001 - whatever the code under test raises is a finding
        return Run(
            [*done, action] if action else done, [Broken(EXCEPTION, traceback.format_exc(limit=-4))]
        )
    return Run(done, judge(world.evidence(quiet)))


# -- drawing


def _drawn(
    rng: random.Random,
    steps: int,
    overrides: Weights,
    aside: Sequence[Aside],
    around: tuple[list[Action], list[Action]],
) -> Callable[[World], Iterator[Action]]:
    def schedule(world: World) -> Iterator[Action]:
        yield from around[0]
        yield from opening(rng, world)
        yield from around[1]
        weights = _mood(rng, overrides)
        world.talkers = rng.sample(SENDERS, rng.choice([2, 5, len(SENDERS)]))
        for kind in rng.choices(list(weights), list(weights.values()), k=steps):
            if action := draw(rng, world, kind):
                yield action
            for each in aside:
                yield from each.draw(world)

    return schedule


def _mood(rng: random.Random, overrides: Weights) -> dict[str, float]:
    """Every seed has its own: some things slow, some eager, calm or stormy."""
    storm = rng.choice([0.1, 0.3, 1, 1, 3])
    weights = WEIGHTS | {kind: weight * storm for kind, weight in FAULTS.items()}
    theme = {} if overrides else rng.choice(THEMES)
    for kind in rng.sample(sorted(weights), 6):
        weights[kind] *= rng.choice([0.1, 0.3, 3])
    factor = {kind: theme.get(kind, 1) * overrides.get(kind, 1) for kind in weights}
    return {kind: weight * factor[kind] for kind, weight in weights.items()}


def draw(rng: random.Random, world: World, kind: str) -> Action | None:
    """An action of that kind, if one is enabled as far as can be told cheaply."""
    make = _DRAW.get(kind)
    return make(rng, world) if make else None


def _land_row(rng: random.Random, world: World, kind: str) -> Action | None:
    rows: list[tuple[object, ...]] = [
        (each.partition, index)
        for each in world.materializers
        for index in range(len(each.writing if kind == "land_row" else each.strays))
    ]
    return _some(rng, kind, rows)


def _some(
    rng: random.Random, kind: str, among: list[tuple[object, ...]], *more: object
) -> Action | None:
    return (kind, *rng.choice(among), *more) if among else None


def _node(rng: random.Random, world: World) -> int:
    return rng.randrange(world.shape.nodes)


def _partition(rng: random.Random, world: World) -> int:
    return rng.randrange(world.shape.partitions)


def _requests(world: World) -> list[tuple[object, ...]]:
    return [
        (name, target)
        for name, producer in world.producers.items()
        for target, requests in producer.requests.items()
        if requests and target not in world.stalled
    ]


def _dead_requests(world: World) -> list[tuple[object, ...]]:
    dead = [(n, p) for n, p in world.producers.items() if not p.server]
    return [(n, t) for n, p in dead for t, q in p.requests.items() if q]


def _answers(world: World) -> list[tuple[object, ...]]:
    live = [(n, p) for n, p in world.producers.items() if p.server]
    return [(n, t) for n, p in live for t, q in p.answers.items() if q]


def _connect(rng: random.Random, world: World) -> Action | None:
    idle = [name for name, client in world.clients.items() if not client.connection]
    if not idle:
        return None
    device = rng.choice(idle)
    place = world.place(device[0])
    nodes = [n for (n, p), server in world.servers.items() if p == place and server.owner.ready]
    return ("connect", device, rng.choice(nodes)) if nodes else None


def _to_server(rng: random.Random, world: World) -> Action | None:
    waiting: list[tuple[object, ...]] = [
        (name, number)
        for name, client in world.clients.items()
        for number, connection in enumerate(client.connections)
        if connection.to_server
    ]
    return _some(rng, "to_server", waiting)


def _to_device(rng: random.Random, world: World) -> Action | None:
    waiting: list[tuple[object, ...]] = [
        (name,)
        for name, client in world.clients.items()
        if client.connection and not client.device.gap
    ]
    return _some(rng, "to_device", waiting, rng.choice([1, 100, 100, 1000]))


def _learn(rng: random.Random, world: World) -> Action | None:
    stale: list[tuple[object, ...]] = [(n,) for n in range(world.shape.nodes) if world.is_stale(n)]
    return _some(rng, "learn", stale)


def _toggle(rng: random.Random, world: World, kind: str, those: set[int]) -> Action:
    if those and rng.random() < 0.5:
        return (kind, rng.choice(sorted(those)), False)
    return (kind, _partition(rng, world), True)


def _hang_up(rng: random.Random, world: World) -> Action | None:
    gone: list[tuple[object, ...]] = [
        (name, number)
        for name, client in world.clients.items()
        for number, connection in enumerate(client.connections)
        if not connection.client_open and connection.server_open
    ]
    return _some(rng, "hang_up", gone)


SENDERS = [("a0", "d:a~b"), ("a0", "d:a~c"), ("a0", GROUP), ("a1", "d:a~b"), ("a1", "d:a~c")]
SENDERS += [("a1", GROUP), ("b0", "d:a~b"), ("b0", "d:a~b"), ("b0", GROUP), ("c0", "d:a~c")]
SENDERS += [("c0", GROUP), ("d0", GROUP)]


LOOKS = [("b0", "d:a~b"), ("a1", "d:a~b"), ("c0", "d:a~c"), ("b0", GROUP)]


def _joining(world: World) -> list[tuple[object, ...]]:
    return [(c.client.name,) for each in world.servers.values() for c in each.joining]


def _servers(world: World) -> list[tuple[object, ...]]:
    return [key for key in world.servers if not world.paused[key[0]]]


def _unread(world: World) -> list[tuple[object, ...]]:
    return [
        key
        for key, each in world.servers.items()
        if (each.owner.cursor != each.log.end or each.is_lost) and not world.paused[key[0]]
    ]


def _owing(world: World) -> list[tuple[object, ...]]:
    return [key for key, each in world.servers.items() if each.owner.forwarder.owes]


def _asking(world: World) -> list[tuple[object, ...]]:
    return [
        key for key, each in world.servers.items() if each.owner.asking.waits_since_ms is not None
    ]


def _landing(world: World) -> list[tuple[object, ...]]:
    """Requests and nodes that own the home, or did and do not know better yet."""
    return [
        (index, node)
        for index, request in enumerate(world.requests)
        for node, partition in world.servers
        if partition == request.home
    ]


def _at(rng: random.Random, kind: str, among: Sequence[object], *more: object) -> Action | None:
    return (kind, rng.randrange(len(among)), *more) if among else None


def _change(rng: random.Random) -> tuple[str, str, bool]:
    user, joins = rng.choice("bcd"), rng.random() < 0.5
    leaves = not joins and rng.random() < 0.3
    return f"{user}0" if leaves else rng.choice(["a0", "a0", "a1", "b0"]), user, joins


_YEARS_MS = 10 * 366 * 86_400_000
_SKEWS_MS = [-20_000, -50, -3, 0, 3, 50, 20_000]

_DRAW: dict[str, Callable[[random.Random, World], Action | None]] = {
    "send": lambda r, w: ("send", *r.choice(w.talkers)),
    "to_server": _to_server,
    "to_device": _to_device,
    "land": lambda r, w: _some(r, "land", _requests(w)),
    "answer": lambda r, w: _some(r, "answer", _answers(w)),
    "fail": lambda r, w: _some(r, "fail", _requests(w), r.random() < 0.5),
    "spoil": lambda r, w: _some(r, "spoil", [(n,) for n, p in w.producers.items() if p.server]),
    "drop": lambda r, w: _some(r, "drop", _dead_requests(w), r.randrange(2)),
    "read": lambda r, w: _some(r, "read", _unread(w), r.choice([1, 1, 2, 4])),
    "forward": lambda r, w: _some(r, "forward", _owing(w), r.choice([1, 1, 3])),
    "claim": lambda r, w: _some(
        r, "claim", [key for key, each in w.servers.items() if not each.claimed]
    ),
    "recall": lambda r, w: _some(r, "recall", _owing(w), r.choice([1, 3, 10])),
    "stall": lambda r, w: _toggle(r, w, "stall", w.stalled),
    "leave": lambda r, w: _toggle(r, w, "leave", w.left),
    "commit": lambda r, w: _some(r, "commit", _servers(w)),
    "expire": lambda r, w: _some(r, "expire", _servers(w)),
    "release": lambda r, w: _some(r, "release", _servers(w)),
    "land_commit": lambda r, w: ("land_commit", r.randrange(len(w.commits))) if w.commits else None,
    "trim": lambda r, w: ("trim", _partition(r, w), r.randrange(3)),
    "connect": _connect,
    "replay": lambda r, w: _some(r, "replay", _joining(w), r.choice([1, 3, 10])),
    "fill": lambda r, w: _some(r, "fill", [(n,) for n, c in w.clients.items() if c.device.gap]),
    "materialize": lambda r, w: ("materialize", _partition(r, w), r.choice([1, 2, 5])),
    "land_row": lambda r, w: _land_row(r, w, "land_row"),
    "land_stray": lambda r, w: _land_row(r, w, "land_stray"),
    "look": lambda r, w: ("look", *r.choice(LOOKS)),
    "commit_materialized": lambda r, w: ("commit_materialized", _partition(r, w)),
    "crash_materializer": lambda r, w: ("crash_materializer", _partition(r, w)),
    "learn": _learn,
    "tick": lambda r, w: ("tick", r.choice([0, 1, 1, 5])),
    "long_tick": lambda r, w: ("tick", w.shape.window_ms + 5_000),
    "resume": lambda r, w: _some(r, "resume", [(n,) for n, each in enumerate(w.paused) if each]),
    "restart": lambda r, w: _some(r, "restart", [(n,) for n, up in enumerate(w.up) if not up]),
    "ask": lambda r, w: _some(r, "ask", _asking(w)),
    "land_ask": lambda r, w: _some(r, "land_ask", _landing(w)),
    "answer_ask": lambda r, w: _at(r, "answer_ask", w.replies),
    "lose_ask": lambda r, w: _at(r, "lose_ask", w.requests),
    "lose_answer": lambda r, w: _at(r, "lose_answer", w.replies),
    "give_up_ask": lambda r, w: _at(r, "give_up_ask", w.requests),
    "hang_up": _hang_up,
    "pause": lambda r, w: ("pause", _node(r, w)),
    "crash": lambda r, w: ("crash", _node(r, w)),
    "crash_all": lambda r, w: ("crash_all",),
    "assign": lambda r, w: (
        "assign",
        _partition(r, w),
        -1 if r.random() < 0.1 else _node(r, w),
    ),
    "skew": lambda r, w: ("skew", _node(r, w), r.choice(_SKEWS_MS)),
    "wrong_clock": lambda r, w: ("skew", _node(r, w), r.choice([0, -_YEARS_MS, _YEARS_MS])),
    "cut": lambda r, w: ("cut", r.choice(DEVICES)),
    "reload": lambda r, w: ("reload", r.choice(DEVICES)),
    "elsewhere": lambda r, w: ("elsewhere", r.choice(DEVICES), r.choice([0, 1_000])),
    "member": lambda r, w: ("member", *_change(r)),
    "limit": lambda r, w: ("limit", _node(r, w), r.random() < 0.4),
    "lose": lambda r, w: ("lose", _partition(r, w), r.choice([1, 2, 3, 5])),
    "forget": lambda r, w: ("forget", _partition(r, w)),
}
