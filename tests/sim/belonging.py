"""Who gets what happens in the group: a recount from what its home's log says, for the judge."""

from __future__ import annotations

from collections.abc import Mapping

from cecochat.v1.events_pb2 import ROLE_ADMIN, Membership
from tests.sim.evidence import Row
from tests.sim.shape import GROUP


class Belonging:
    """Made of all events of the group by id; those that change nothing have an empty change."""

    def __init__(self, changes: Mapping[int, Membership]) -> None:
        self._those: dict[int, tuple[str, ...]] = {}
        self.left: dict[str, int] = {}  # who is there no more -> the last id that they get
        self.admins: dict[str, int] = {}  # who became one, or the owner -> by which event
        here: list[str] = []
        for id_, change in sorted(changes.items()):
            before = here
            here = [user for user in here if user not in change.removed_ids]
            here += [user for user in change.added_ids if user not in here]
            for each in change.appointments:
                if each.role >= ROLE_ADMIN:
                    self.admins.setdefault(each.user_id, id_)
            self._those[id_] = tuple(dict.fromkeys([*before, *here]))
            self.left |= {user: id_ for user in before if user not in here}
            self.left = {user: at for user, at in self.left.items() if user not in here}

    def recipients(self, row: Row) -> tuple[str, ...]:
        """Whom a message is for, besides its sender."""
        if row.chat != GROUP:
            return row.recipients
        return tuple(user for user in self._those.get(row.id, ()) if user != row.sender)

    def named(self, rows: set[Row]) -> set[Row]:
        """The same rows, with those whom they are for."""
        return {row._replace(recipients=self.recipients(row)) for row in rows}
