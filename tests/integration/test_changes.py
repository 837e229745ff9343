"""Edits, deletions, reactions and replies from one client to the other, and in the history."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from cecochat.client import (
    Client,
    Deletion,
    Edit,
    Mention,
    Message,
    Reaction,
    SendRejected,
    Timeline,
    open_history,
)
from cecochat.client.events import Event
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import partition_in
from cecochat.v1.history_pb2 import GetChatsRequest, GetMessagesRequest
from cecochat.v1.messaging_pb2 import Send
from tests.integration.clients import device, edit, next_of
from tests.integration.streams import message
from tests.integration.systems import Refused, Running
from tests.support.eventually import eventually

CHAT = "d:alice~bob"


async def happened(client: Client, count: int) -> list[Event]:
    """The next events that are messages or changes."""
    found: list[Event] = []
    while len(found) < count:
        event = await anext(client)
        if isinstance(event, Message | Edit | Deletion | Reaction):
            found.append(event)
    return found


async def test_changes_arrive_and_the_history_has_them_folded_in(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        first = await alice.send("bob", "frist")
        second = await alice.send("bob", "oops")
        edited_at = await alice.edit("bob", first, "first @bob", mentions=[Mention("bob", 6, 4)])
        deletion = await alice.delete("bob", second)
        *_, arrived_edit, arrived_deletion = await happened(bob, 4)
        assert (arrived_edit, arrived_deletion) == (edited_at, deletion)
        liked = await bob.react("alice", first, "👍")
        gone = await bob.react("alice", first, "❤️")
        taken = await bob.react("alice", first, "❤️", removed=True)
        await bob.send("alice", "yes", reply_to_id=first)
        *reactions, reply = await happened(alice, 4)
        assert reactions == [liked, gone, taken]
        assert isinstance(reply, Message)
        assert reply.reply_to_id == first

        async def has_all() -> bool:
            edited, *_ = (await bob.history("alice")).messages
            return bool(edited.revision_id)

        await eventually(has_all)
        edited, deleted, answer = (await bob.history("alice")).messages
        assert (edited.text, edited.revision_id) == ("first @bob", edited_at.id)
        assert edited.mentions == (Mention("bob", 6, 4),)
        assert [(each.id, each.emoji) for each in edited.reactions] == [(liked.id, "👍")]
        assert (deleted.text, deleted.deletion_id, deleted.reactions) == ("", deletion.id, ())
        assert (answer.text, answer.reply_to_id) == ("yes", first)


async def test_a_timeline_comes_to_what_the_history_says(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        ids = [await alice.send("bob", f"m{n}") for n in range(3)]
        await alice.edit("bob", ids[0], "edited")
        await alice.edit("bob", ids[0], "edited again")
        await alice.delete("bob", ids[1])
        await alice.edit("bob", ids[1], "too late")
        await alice.react("bob", ids[2], "👍")
        timeline = Timeline()
        for event in reversed(await happened(bob, 8)):
            timeline.add(event)
        assert timeline.messages() == (await alice.history("bob")).messages
        assert [each.text for each in timeline.messages()] == ["edited again", "", "m2"]


async def test_a_gap_is_filled_with_changes_once_and_in_order(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "bob.json"
    async with device(up, "alice", listen=False) as alice:
        first = await alice.send("bob", "first")
        old = await alice.send("bob", "old")
        async with device(up, "bob", state) as bob:
            await alice.send("bob", "seen")
            await next_of(bob, Message)
        missed = [
            await alice.edit("bob", old, "new"),
            await alice.react("bob", first, "👍"),
            await alice.delete("bob", first),
            await alice.react("bob", old, "👍"),
        ]
        forget_the_log(state)
        async with device(up, "bob", state) as bob:
            assert await happened(bob, 4) == missed  # no message is new in this chat
            last = await alice.edit("bob", old, "newer")
            assert await happened(bob, 1) == [last]


def forget_the_log(state: Path) -> None:
    """The device comes from another log, so it is told of a gap."""
    kept = json.loads(state.read_text())
    edit(state, position={**kept["position"], "logId": "another log"})


async def test_unanswered_changes_outlive_the_process(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "alice.json"
    async with device(up, "alice", state) as alice:
        said = await alice.send("bob", "first")
    send = Send(client_message_id="e1", chat_id=CHAT)
    send.edit.message_id, send.edit.text = said, "edited"
    edit(state, outbox=[json_format.MessageToDict(send)])
    async with device(up, "alice", state) as alice:
        accepted = await next_of(alice, Edit)
        assert (accepted.message_id, accepted.text) == (said, "edited")
        assert (await alice.history("bob")).messages[0].revision_id == accepted.id


async def test_who_did_not_write_a_message_can_neither_edit_nor_delete_it(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        said = await alice.send("bob", "mine")
        if partition_in(said) != partition_in(await bob.send("alice", "hello")):
            for change in (bob.edit("alice", said, "forged"), bob.delete("alice", said)):
                with pytest.raises(SendRejected) as rejected:
                    await change
                assert rejected.value.code == "forbidden"
        assert (await alice.history("bob")).messages[0].text == "mine"


async def test_a_user_of_the_same_partition_changes_nothing_of_others(up: Running) -> None:
    """The id of a message names a partition, so the server lets this pass; readers see the rest."""
    async with device(up, "alice") as alice:
        said = await alice.send("bob", "mine")
        count = alice._local.welcome.partition_count
        names = (f"user-{n}" for n in range(1_000))
        other = next(each for each in names if partition_of(each, count) == partition_in(said))
        async with device(up, other) as mallory:
            said = await alice.send(other, "mine")
            await mallory.edit("alice", said, "forged")
            await mallory.delete("alice", said)
            (found,) = (await mallory.history("alice")).messages
            assert (found.text, found.revision_id, found.deletion_id) == ("mine", 0, 0)


async def test_a_deleted_text_is_in_no_answer(up: Running) -> None:
    secret = "the old text"
    async with device(up, "alice") as alice:
        said = await alice.send("bob", secret)
        await alice.edit("bob", said, f"{secret}, edited")
        await alice.react("bob", said, "👍")
        await alice.delete("bob", said)
        assert (await alice.history("bob")).messages[0].deletion_id
    for request in (
        GetMessagesRequest(chat_id=CHAT),
        GetMessagesRequest(chat_id=CHAT, before=said + 1),
        GetMessagesRequest(chat_id=CHAT, after=0),
        GetMessagesRequest(chat_id=CHAT, after=0, with_changes=True),
    ):
        page = await up.messages("bob", request)
        assert len(page.messages) == (4 if request.with_changes else 1)
        assert secret.encode() not in page.SerializeToString()
    answer = await up.chats("bob", GetChatsRequest())
    assert secret.encode() not in answer.SerializeToString()
    (chat,) = answer.chats
    assert chat.unread_count == 0
    assert chat.last_message_state.deletion_id == chat.last_change_id


async def test_unread_mentions_are_those_of_the_messages_as_they_are_now(up: Running) -> None:
    mentions = [Mention("bob", 0, 4)]
    async with device(up, "alice") as alice, device(up, "bob", receipts=False) as bob:
        ids = [await alice.send("bob", "@bob", mentions=mentions) for _ in range(4)]
        ids.append(await alice.send("bob", "hello"))

        async def unread(count: int, naming: int) -> None:
            async def are_counted() -> bool:
                chats = await bob.chats()
                found = [(each.unread_count, each.unread_mention_count) for each in chats]
                return found == [(count, naming)]

            await eventually(are_counted)

        await unread(5, 4)
        bob.mark_read("alice", ids[0])
        await unread(4, 3)
        await alice.edit("bob", ids[1], "nobody")
        await alice.edit("bob", ids[4], "@bob", mentions=mentions)
        await alice.edit("bob", ids[2], "@bob!", mentions=mentions)
        await alice.delete("bob", ids[3])
        await unread(3, 2)
        bob.mark_read("alice", ids[4])
        await unread(0, 0)
        (own,) = await alice.chats()
        assert (own.unread_count, own.unread_mention_count) == (0, 0)


async def test_where_a_change_is_can_be_asked(up: Running) -> None:
    async with device(up, "alice") as alice:
        said = await alice.send("bob", "first")
        made = await alice.edit("bob", said, "edited")
    async with open_history(up.addresses.connect, up.token("bob")) as history:

        async def has_a_row() -> bool:
            steps = (await history.where(made.id)).steps
            return any((step.name, step.state) == ("materialized", "done") for step in steps)

        await eventually(has_a_row)


async def test_changes_without_after_are_refused(up: Running) -> None:
    with pytest.raises(Refused, match="with_changes"):
        await up.messages("bob", GetMessagesRequest(chat_id=CHAT, with_changes=True))


async def test_an_edit_that_is_sent_again_is_one(up: Running) -> None:
    async with up.stream("alice") as alice, up.stream("bob") as bob:
        await alice.send(message("m", CHAT))
        (ack,) = await alice.until_acks(1)
        change = message("e", CHAT)
        change.edit.message_id, change.edit.text = ack.ack.message_id, "edited"
        await alice.send(change)
        await alice.until_acks(2)
        await alice.send(change)
        acks = await alice.until_acks(3)
        assert acks[1].ack.message_id == acks[2].ack.message_id
        await alice.send(message("last", CHAT))
        await bob.until_texts(2)
        kinds = [
            item.delivered.event.WhichOneof("body")
            for item in bob.items
            if item.HasField("delivered")
        ]
        assert kinds == ["message", "edit", "message"]
