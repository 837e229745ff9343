"""What has become of each message: a recount of the changes that a log has, for the judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from cecochat.client.events import Message
from cecochat.v1.events_pb2 import Event
from tests.sim.evidence import Change, Now, Row
from tests.sim.shape import FOUNDER, GROUP

FIRST_TEXT = "."


DELETED = Now("", True, frozenset())


def change_in(event: Event) -> Change | None:
    """The change that an event is, if it is one."""
    match event.WhichOneof("body"):
        case "edit":
            edit = event.edit
            return Change(event.id, edit.message_id, event.user_id, "edit", edit.text)
        case "deletion":
            deletion = event.deletion
            of = deletion.message_id, event.user_id
            return Change(event.id, *of, "deletion", flag=deletion.as_admin)
        case "reaction":
            reaction = event.reaction
            of = reaction.message_id, event.user_id
            return Change(event.id, *of, "reaction", reaction.emoji, reaction.removed)
    return None


def now_of(message: Message) -> Now:
    """What a client shows of a message."""
    reactions = frozenset((each.emoji, each.user_id) for each in message.reactions)
    return Now(message.text, bool(message.deletion_id), reactions)


class Recount:
    """What a message may be for somebody who was told of those of its changes whose ids are in
    `told`, and maybe of others.
    """

    def __init__(
        self, row: Row, changes: Iterable[Change], told: Set[int], admins: Mapping[str, int]
    ) -> None:
        self._row = row
        self._admins = {FOUNDER: 0, **admins} if row.chat == GROUP else {}
        changes = sorted(changes)
        self._told = [each for each in changes if each.id in told]
        self._maybe = [each for each in changes if each.id not in told]

    def allows(self, now: Now) -> bool:
        """Whether a message may look like that."""
        if any(map(self._deletes, self._told)):
            return now == DELETED
        may_be_deleted = any(map(self._deletes, self._maybe))
        if now.is_deleted:
            return may_be_deleted and now == DELETED
        texts = self._texts() | ({""} if may_be_deleted else set())
        keys = {(each.text, each.user) for each in (*self._told, *self._maybe)} | now.reactions
        return now.text in texts and all(
            (key in now.reactions) in self._reacts(key) for key in keys
        )

    def _deletes(self, change: Change) -> bool:
        if change.kind != "deletion":
            return False
        since = self._admins.get(change.user)
        is_admin = since is not None and since < change.id
        return is_admin if change.flag else change.user == self._row.sender

    def _texts(self) -> set[str]:
        last = Change(0, 0, "", "edit", FIRST_TEXT)
        for each in filter(self._edits, self._told):
            last = each
        return {last.text} | {each.text for each in filter(self._edits, self._maybe) if each > last}

    def _edits(self, change: Change) -> bool:
        return change.kind == "edit" and change.user == self._row.sender

    def _reacts(self, key: tuple[str, str]) -> set[bool]:
        """Whether that user's reaction may be there."""
        last = Change(0, 0, "", "reaction", flag=True)
        for each in self._told:
            last = each if _is(each, key) else last
        later = {not each.flag for each in self._maybe if _is(each, key) and each > last}
        return {not last.flag} | later


def _is(change: Change, key: tuple[str, str]) -> bool:
    return change.kind == "reaction" and (change.text, change.user) == key
