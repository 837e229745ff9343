"""The rules of the Python client less one each, by their names in `conformance/rules.json`."""

from __future__ import annotations

from typing import Any

from cecochat.client import stream
from cecochat.client.backoff import BackOff
from cecochat.client.client import Client
from cecochat.client.local import LocalDevice
from cecochat.client.lookup import Lookup
from cecochat.client.progress import Progress
from cecochat.client.stream import Stream
from cecochat.domain.device import device
from cecochat.domain.device.device import Device
from tests.conformance import without, without_gaps, without_groups
from tests.conformance.scripted import ScriptedHistory

Override = tuple[Any, str, object]  # class or module, name, what it is replaced by

ABLATIONS: dict[str, tuple[Override, ...]] = {
    "what another device of the user wrote is shown": ((Device, "show", without.show_only_others),),
    "sends wait for caught_up": ((Device, "submit", without.submit_and_write_at_once),),
    "only the first caught_up sends again": (
        (Device, "receive", without.receive_and_resend_at_each_caught_up),
    ),
    "a frame has no more sends than the limit": ((Device, "outgoing", without.outgoing_all),),
    "a frame is measured in bytes": ((Device, "outgoing", without.outgoing_by_characters),),
    "a token that expires is renewed": ((Stream, "_take", without.take_no_expiry),),
    "unanswered sends are stored": ((Device, "snapshot", without.snapshot_without_sends),),
    "a send is stored before it is written": ((Stream, "_write", without.write_unsaved),),
    "the position is stored": ((Device, "snapshot", without.snapshot_without_position),),
    "marks are stored": ((Device, "snapshot", without.snapshot_without_marks),),
    "the position never goes back": ((Device, "_move", without.move_anywhere),),
    "the clock moves with the offset": ((Device, "_move", without.move_the_offset_alone),),
    "the offset and the clock are of one item": (
        (Device, "_move", without.move_each_to_its_highest),
    ),
    "an ack moves the position": ((Device, "receive", without.receive_acks_without_moving),),
    "what was shown is not shown again": ((Device, "show", without.show_again),),
    "ids are integers of 64 bits": ((Device, "show", without.show_by_floats),),
    "marks are of one chat": ((Device, "show", without.show_above_all_of_its_sender),),
    "an answer lowers no mark": ((Device, "answered", without.answered_with_a_lower_mark),),
    "an answer raises the mark": ((Device, "answered", without.answered_without_a_mark),),
    "marks are of one sender": ((Device, "show", without.show_above_all_of_its_chat),),
    "unanswered sends are sent again": ((Device, "resends", without.resends_nothing),),
    "resends keep their order": ((Device, "resends", without.resends_newest_first),),
    "an own event is an ack": ((Device, "show", without.show_without_answering),),
    "only own events are acks": ((Device, "show", without.show_answers_whoever_wrote),),
    "a frame of sends says the offset": ((Device, "outgoing", without.outgoing_without_offset),),
    "a gap is filled": ((Device, "receive", without_gaps.receive_gaps_as_nothing),),
    "a gap leaves to the stream what it brings": ((Device, "fill", without_gaps.fill_with_all),),
    "what is older than the device is not news": (
        (Device, "fill", without_gaps.fill_with_what_is_older),
    ),
    "the first welcome counts": ((Device, "_welcomed", without_gaps.welcomed_anew),),
    "the first welcome is stored": ((Device, "snapshot", without.snapshot_without_first_welcome),),
    "what is older than the log is in the history": (
        (Device, "fill", without_gaps.fill_up_to_alone),
    ),
    "the position moves once the gap is filled": (
        (Device, "_welcomed", without_gaps.welcomed_and_moved),
    ),
    "the position moves over the gap": ((Device, "filled", without_gaps.filled_without_moving),),
    "a chat is read from the lower mark": (
        (Device, "shown_up_to", without_gaps.shown_up_to_the_higher),
    ),
    "partitions are by murmur2": ((Device, "_partition", without_gaps.partition_of_all),),
    "the list of chats is asked with the token": (
        (ScriptedHistory, "chats", without_gaps.chats_without_token),
    ),
    "pages are asked with the token": (
        (ScriptedHistory, "messages", without_gaps.messages_without_token),
    ),
    "chats are listed by their ids": ((ScriptedHistory, "chats", without_gaps.chats_newest_first),),
    "all chats are listed": ((ScriptedHistory, "chats", without_gaps.one_page_of_chats),),
    "all pages are read": ((ScriptedHistory, "messages", without_gaps.one_page_of_messages),),
    "a list of chats that brings nothing new has not ended": (
        (ScriptedHistory, "chats", without_gaps.chats_that_end),
    ),
    "a page that brings nothing new is not the last": (
        (ScriptedHistory, "messages", without_gaps.messages_that_end),
    ),
    "a hole is told": ((Stream, "_take_hole", without.never),),
    "a hole of one message is that message": (
        (Stream, "_take_hole", without_gaps.take_hole_as_no_message),
    ),
    "holes of chats without messages are told": (
        (ScriptedHistory, "chats", without_gaps.chats_without_holes),
    ),
    "marks of the history are told": ((LocalDevice, "tell", without_gaps.tell_but_marks),),
    "what is too old is not shown": ((Device, "show", without_gaps.show_what_is_too_old),),
    "a hello names the device": ((Device, "hello", without.hello_without_device_id),),
    "REPLACED is final": ((Lookup, "mends", without.mends_all),),
    "a send says what was seen": ((Device, "submit", without.submit_without_seen),),
    "what was seen is of one chat": ((Device, "submit", without.submit_having_seen_all_chats),),
    "a refused send is forgotten": (
        (Device, "receive", without.receive_without_forgetting_refusals),
        (Progress, "answered", without.never),
    ),
    "each message has an id of its own": ((Client, "post", without.post_by_text),),
    "a session that was too slow is resumed": ((Lookup, "mends", without.mends_but_for("slow")),),
    "a refusal ends the session": ((Stream, "_take", without.take_refusals_and_go_on),),
    "a disconnect says where to go": ((device, "_disconnected", without.disconnected_to_nowhere),),
    "a server that asks for time gets it": ((BackOff, "wait_s", without.waits_as_it_likes),),
    "a revoked token is not used again": ((Lookup, "note", without.never),),
    "an expired token is replaced": ((Lookup, "mends", without.mends_but_for("token_expired")),),
    "unknown items are ignored": ((Device, "receive", without.receive_known_alone),),
    "unknown events move the position": ((Device, "receive", without.receive_known_events_alone),),
    "an unknown code may be retriable": ((Lookup, "mends", without.mends_known),),
    "an unknown code may be final": ((Lookup, "mends", without.mends_unknown),),
    "a gap is filled with changes, too": (
        (ScriptedHistory, "messages", without_gaps.messages_without_changes),
    ),
    "changes are shown": ((Device, "show", without.show_messages_alone),),
    "changes are stored as they are sent": (
        (Device, "snapshot", without.snapshot_of_messages_alone),
    ),
    "changes of groups are shown": ((Device, "show", without_groups.show_all_but_changes),),
    "changes of groups are stored as they are sent": (
        (Device, "snapshot", without_groups.snapshot_without_changes),
    ),
    "a group is read from its highest mark": (
        (Device, "shown_up_to", without_groups.shown_up_to_the_lower),
    ),
    "a group lives where its chat id says": (
        (Device, "_partition", without_groups.partition_of_the_user),
    ),
    "what a user sets for a group is no part of it": (
        (Device, "_marks", without_groups.marks_of_all),
    ),
    "what a home has accepted is asked for there": (
        (LocalDevice, "_note_accepted", without_groups.note_accepted_here),
    ),
    "settings of a chat are shown": ((Device, "show", without_groups.show_all_but_settings),),
    "settings of a chat are stored as they are sent": (
        (Device, "snapshot", without_groups.snapshot_without_settings),
    ),
    "a gap is filled with settings, too": ((stream, "settings_in", without_groups.no_settings_in),),
    "what a message carries is stored as it is sent": (
        (Device, "snapshot", without_groups.snapshot_without_attachments),
    ),
}
