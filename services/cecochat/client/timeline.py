"""Keeps messages as they are now, for an application that shows them."""

from __future__ import annotations

from dataclasses import replace

from cecochat.client.events import (
    Change,
    Deletion,
    Edit,
    Entry,
    Event,
    Mention,
    Message,
    Reaction,
    Sent,
    answered_by,
    change_of,
    to_proto,
)
from cecochat.client.group import GroupChange
from cecochat.domain.changes.changes import Changes
from cecochat.v1 import events_pb2


class Timeline:
    """Messages, each as it is after all changes that were added, in whatever order they come. In a
    group, also the changes of the group between them.

        timeline = Timeline()
        for entry in (await client.history("bob")).entries:
            timeline.add(entry)
        async for event in client:
            if message := timeline.add(event):
                show(message)

    It keeps all that is added, until it is told to `forget` one; but a message that comes again
    without its text, since its sender was erased, has none from then on.
    """

    def __init__(self) -> None:
        self._messages: dict[int, Message] = {}
        self._group_changes: dict[int, GroupChange] = {}
        self._changes: dict[int, Changes] = {}

    def add(self, event: Event) -> Message | None:
        """Take in an event. Return the message that it is or changes as that is now, or None if
        there is nothing to show: it is about no message, or about one that was not added.
        """
        if isinstance(event, Sent):
            event = event.message
        if isinstance(event, Message):
            if event.erased or event.expired or event.id not in self._messages:
                self._messages[event.id] = event
            changes = self._changes.setdefault(event.id, Changes())
            for change in _changes_in(event):
                changes.add(event_of_change(change))
            return self.get(event.id)
        if isinstance(event, Edit | Deletion | Reaction):
            changes = self._changes.setdefault(event.message_id, Changes())
            return self.get(event.message_id) if changes.add(event_of_change(event)) else None
        if isinstance(event, GroupChange):
            self._group_changes[event.id] = event
        return None

    def get(self, message_id: int) -> Message | None:
        """Return a message as it is now; None if it was not added."""
        message = self._messages.get(message_id)
        return message and _current(message, self._changes[message_id])

    def messages(self) -> list[Message]:
        """Return all messages as they are now, sorted by id."""
        return [_current(self._messages[id_], self._changes[id_]) for id_ in sorted(self._messages)]

    def entries(self) -> list[Entry]:
        """Return all messages as they are now and all changes of groups, sorted by id."""
        found: list[Entry] = [*self.messages(), *self._group_changes.values()]
        return sorted(found, key=lambda entry: entry.id)

    def forget(self, message_id: int) -> None:
        """Drop a message and its changes, or a change of a group."""
        self._group_changes.pop(message_id, None)
        self._messages.pop(message_id, None)
        self._changes.pop(message_id, None)


def _current(message: Message, changes: Changes) -> Message:
    said = events_pb2.Message(text=message.text, mentions=map(to_proto, message.mentions))
    event = events_pb2.Event(id=message.id, user_id=message.user_id, message=said)
    now = changes.of(event)
    reactions = () if now.deletion_id else map(change_of, changes.reactions())
    is_gone = message.erased or message.expired
    mentions = () if is_gone else now.mentions
    current = replace(
        message,
        text="" if is_gone else now.text,
        mentions=tuple(Mention(each.user_id, each.start, each.length) for each in mentions),
        revision_id=now.revision_id,
        deletion_id=now.deletion_id,
        attachments=() if now.deletion_id else message.attachments,
        reactions=tuple(r for r in reactions if isinstance(r, Reaction) and not r.removed),
    )
    return answered_by(current, message._send) if hasattr(message, "_send") else current


def _changes_in(message: Message) -> list[Change]:
    """Return the changes that the history has folded into a message."""
    place, found = (message.chat_id, message.user_id, message.id), list[Change](message.reactions)
    if message.revision_id:
        found.append(Edit(message.revision_id, *place, message.text, message.mentions))
    if message.deletion_id:
        found.append(Deletion(message.deletion_id, *place, as_admin=True))
    return found


def event_of_change(change: Change) -> events_pb2.Event:
    """Convert a change into an event, as it is sent."""
    event = events_pb2.Event(id=change.id, chat_id=change.chat_id, user_id=change.user_id)
    match change:
        case Edit():
            mentions = map(to_proto, change.mentions)
            event.edit.CopyFrom(
                events_pb2.Edit(message_id=change.message_id, text=change.text, mentions=mentions)
            )
        case Deletion():
            event.deletion.message_id = change.message_id
            event.deletion.as_admin = change.as_admin
        case Reaction():
            event.reaction.message_id = change.message_id
            event.reaction.emoji, event.reaction.removed = change.emoji, change.removed
    return event
