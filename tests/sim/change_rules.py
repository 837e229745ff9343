"""The rules about changes of messages, less one each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from cecochat.domain.changes import changes, rights
from cecochat.domain.changes.about import About, about
from cecochat.domain.changes.changes import Changes, Current
from cecochat.domain.device.device import Happening
from cecochat.domain.groups.changes import Seen
from cecochat.domain.groups.rights import Act
from cecochat.domain.ownership import home
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send
from tests.sim import history, oracle, without
from tests.sim.ablation import ablation
from tests.sim.client import Client
from tests.sim.device_rules import GAPS

_CHANGES = {"change": 0.6, "send": 2, "to_device": 3, "to_server": 2, "read": 2, "forward": 2}
_CHANGES |= {"crash": 0.2, "pause": 0.2, "stall": 0.2, "trim": 0.2}
_LOOKS = _CHANGES | {"to_device": 0.5, "look": 20, "materialize": 3, "land_row": 3}
_LEAVES = _CHANGES | {"member": 10, "ask": 2, "land_ask": 2, "answer_ask": 2}


def the_last_to_come_counts(self: Changes, event: Event) -> bool:
    key = about(event)
    if key is None:
        return False
    self._standing[key] = event
    return True


_of = Changes.of


def edited_by_anybody(self: Changes, message: Event) -> Current:
    now, edits = _of(self, message), [e for k, e in self._standing.items() if k.kind == "edit"]
    last = max(edits, key=lambda event: event.id, default=None)
    return now if now.deletion_id or last is None else replace(now, text=last.edit.text)


def deletions_by_anybody(self: Changes, message: Event) -> Iterator[Event]:
    return (each for key, each in self._standing.items() if key.kind == "deletion")


def one_reaction_of_a_user(event: Event) -> About | None:
    found = about(event)
    return found._replace(key=event.user_id) if found and found.kind == "reaction" else found


def act_of_a_member(send: Send) -> Act:
    return Act.RETRACT


def fill_without_changes(self: Client, event: Event) -> Happening | None:
    return None if about(event) else self.device.fill(event)


def all_changes(
    changes: Mapping[int, Sequence[bytes]], seen: Seen
) -> Mapping[int, Sequence[bytes]]:
    return changes


CHANGE_RULES = [
    ablation(
        "changes fill a gap",
        (Client, "fills", fill_without_changes),
        expect=frozenset({oracle.MISSING}),
        seed=1,
        weights=GAPS | {"change": 0.3, "to_device": 2},
    ),
    ablation(
        "the change with the highest id counts",
        (Changes, "add", the_last_to_come_counts),
        expect=frozenset({oracle.DIVERGED}),
        seed=16,
        weights=_LOOKS,
    ),
    ablation(
        "only who wrote a message edits it",
        (Changes, "of", edited_by_anybody),
        expect=frozenset({oracle.DIVERGED}),
        seed=12,
        weights=_LEAVES,
    ),
    ablation(
        "only who wrote a message deletes it",
        (Changes, "_deletions", deletions_by_anybody),
        expect=frozenset({oracle.DIVERGED}),
        seed=4,
        weights=_CHANGES,
    ),
    ablation(
        "each emoji of a user counts by itself",
        (changes, "about", one_reaction_of_a_user),
        expect=frozenset({oracle.DIVERGED}),
        seed=0,
        weights=_CHANGES,
    ),
    ablation(
        "only an admin deletes what others wrote",
        (home, "act_of", act_of_a_member),
        expect=frozenset({oracle.DIVERGED}),
        seed=15,
        weights=_LEAVES,
    ),
    ablation(
        "a dialog has no admin",
        (rights, "check_deletion", without.never),
        expect=frozenset({oracle.DIVERGED}),
        seed=0,
        weights=_CHANGES,
    ),
    ablation(
        "who has left a group sees no later changes",
        (history, "changes_seen", all_changes),
        expect=frozenset({oracle.DIVERGED}),
        seed=12,
        weights=_LEAVES,
    ),
]
