"""What stands in the place of a rule about groups or settings that is taken from the Python client:
see `ablations`.
"""

from __future__ import annotations

from typing import Any

from cecochat.client.local import LocalDevice
from cecochat.domain.device.device import Device, Happening
from cecochat.domain.log.ids import is_group
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import Chat
from cecochat.v1.messaging_pb2 import Ack, Delivered

_show, _snapshot, _shown_up_to = Device.show, Device.snapshot, Device.shown_up_to
_partition, _note_accepted = Device._partition, LocalDevice._note_accepted


def show_all_but_changes(self: Device, event: Event) -> Happening | None:
    happening = _show(self, event)
    return None if event.HasField("membership") else happening


def snapshot_without_changes(self: Device) -> dict[str, Any]:
    kept = _snapshot(self)
    outbox = [{k: v for k, v in each.items() if k != "membership"} for each in kept["outbox"]]
    return kept | {"outbox": outbox}


def show_all_but_settings(self: Device, event: Event) -> Happening | None:
    happening = _show(self, event)
    return None if event.HasField("settings") else happening


def snapshot_without_settings(self: Device) -> dict[str, Any]:
    kept = _snapshot(self)
    outbox = [{k: v for k, v in each.items() if k != "settings"} for each in kept["outbox"]]
    return kept | {"outbox": outbox}


def snapshot_without_attachments(self: Device) -> dict[str, Any]:
    kept = _snapshot(self)
    for message in (each["message"] for each in kept["outbox"] if "message" in each):
        message.pop("attachments", None)
    return kept


def no_settings_in(_: Chat, __: str) -> Event | None:
    return None


def shown_up_to_the_lower(self: Device, chat_id: str) -> int:
    if not is_group(chat_id):
        return _shown_up_to(self, chat_id)
    return min(self.shown.get(chat_id, {}).values(), default=0)


def partition_of_the_user(self: Device, name: str) -> int:
    return _partition(self, self.user_id if is_group(name) else name)


def marks_of_all(self: Device, chat_id: str, id_: int) -> dict[str, int]:
    return self.shown.setdefault(chat_id, {})


def note_accepted_here(self: LocalDevice, item: Ack | Delivered) -> None:
    if isinstance(item, Ack):
        item.ClearField("home_offset")
    _note_accepted(self, item)
