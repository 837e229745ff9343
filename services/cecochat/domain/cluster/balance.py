"""Which partitions should move so that live servers own all of them, and about equally many."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import Literal, NamedTuple

Reason = Literal["failover", "unowned", "stuck", "balance"]
URGENT: frozenset[Reason] = frozenset({"failover", "unowned", "stuck"})
"""The reasons of moves of partitions that nobody serves. All other moves are improvements."""

CONTROL = "control/"
"""If `changed_by` of an assignment begins with this, a control server wrote it."""


class Move(NamedTuple):
    """One partition gets another owner. `source` is None if it had none."""

    partition: int
    source: str | None
    target: str
    reason: Reason


def plan(
    partitions: int,
    owners: Mapping[int, str],
    live: Collection[str],
    closed: Collection[str] = (),
) -> list[Move]:
    """Return the fewest moves, ordered by partition, after which every partition has a live owner
    and no server has over one more than another.

    The partitions are spread as evenly as can be. Servers that are `closed` keep what they have and
    get nothing more, unless all are. If no server is live, nothing moves. The same input gives the
    same plan, and a plan made of the result is empty.
    """
    if not live:
        return []
    live = frozenset(live)
    open_ = live.difference(closed) or live
    kept = {p: owners[p] for p in range(partitions) if owners.get(p) in live}
    wanted = kept | _placed(partitions, kept, open_)
    return [
        Move(p, owners.get(p), wanted[p], _reason(owners.get(p), live))
        for p in range(partitions)
        if owners.get(p) != wanted[p]
    ]


def _placed(partitions: int, kept: Mapping[int, str], open_: Collection[str]) -> dict[int, str]:
    """Partition -> server, for partitions that nobody keeps or that a server has too many of."""
    held: dict[str, list[int]] = {server: [] for server in sorted(open_)}
    for partition, server in kept.items():
        held.get(server, []).append(partition)
    counts = {server: len(partitions_) for server, partitions_ in held.items()}
    shared = partitions - len(kept) + sum(counts.values())  # all but those of closed servers
    shares = _shares(shared, counts)
    homeless = [p for p in range(partitions) if p not in kept]
    targets: list[str] = []
    for server, share in shares.items():
        homeless += held[server][share:]
        targets += [server] * (share - counts[server])
    return dict(zip(sorted(homeless), targets, strict=True))


def _shares(partitions: int, counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many partitions each server gets: the same for all. The remainder goes to servers
    that hold the most already, so that fewer move.
    """
    level, left_over = divmod(partitions, len(counts))
    fullest = sorted(counts, key=lambda server: -counts[server])[:left_over]
    return {server: level + (server in fullest) for server in counts}


def _reason(source: str | None, live: Collection[str]) -> Reason:
    if source is None:
        return "unowned"
    return "balance" if source in live else "failover"


def by_server(owners: Mapping[int, str]) -> dict[str, set[int]]:
    """Server -> the partitions that it owns."""
    partitions: dict[str, set[int]] = {}
    for partition, server in owners.items():
        partitions.setdefault(server, set()).add(partition)
    return partitions


def after(owners: Mapping[int, str], moves: Iterable[Move]) -> dict[int, str]:
    """Return the owners after these moves."""
    return {**owners, **{move.partition: move.target for move in moves}}


def may_balance(owners: Mapping[int, str], live: Collection[str], changed_by: str) -> bool:
    """Return whether partitions may move between live servers.

    What a person has assigned stays as it is, even if it is uneven. That ends when a server leaves,
    since control then assigns its partitions, or when one joins, that is, a live server owns
    nothing.
    """
    return changed_by.startswith(CONTROL) or not set(live) <= set(owners.values())


def ranges(partitions: Iterable[int]) -> str:
    """Return the partitions as a person writes them: `0-3, 7`."""
    runs = groupby(enumerate(sorted(partitions)), key=lambda pair: pair[1] - pair[0])
    bounds = [[partition for _, partition in run] for _, run in runs]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in bounds)


class Group(NamedTuple):
    """Moves from one server to another for the same reason."""

    source: str | None
    target: str
    reason: Reason
    partitions: list[int]


def grouped(moves: Iterable[Move]) -> list[Group]:
    """Return the moves, grouped by source, target and reason, so that they can be told in a few
    lines.
    """
    groups: dict[tuple[str | None, str, Reason], list[int]] = {}
    for partition, source, target, reason in moves:
        groups.setdefault((source, target, reason), []).append(partition)
    return [Group(*key, partitions) for key, partitions in groups.items()]


def why(group: Group) -> str:
    """Return the reason of these moves in plain words."""
    match group.reason:
        case "failover":
            return f"{group.source} is not live"
        case "unowned":
            return "nobody owns them"
        case "stuck":
            return f"{group.source} did not take them over"
        case "balance":
            return f"{group.target} has fewer than {group.source}"
