"""What is tried once all is healed and at rest: what must go without a hitch then."""

from __future__ import annotations

from cecochat.v1.events_pb2 import Message
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Send, ServerFrame
from tests.sim.connection import Connection
from tests.sim.evidence import Acknowledgement
from tests.sim.healing import comes_to_rest, mend, settle_log, settle_servers
from tests.sim.shape import GROUP
from tests.sim.world import World

CHAT = "d:a~b"
EVERYBODY = [
    ("d0", "d:a~d"),
    ("d0", GROUP),
    ("a0", CHAT),
    ("a1", CHAT),
    ("b0", CHAT),
    ("c0", "d:a~c"),
]


def afterwards(world: World) -> bool:
    """Try a third of it, by how much was sent before; whether everything came to rest again."""
    world.note_unanswered()
    world.do_member("a0", "d", True)
    if not comes_to_rest(world):
        return False
    return all(attempt(world) for attempt in ATTEMPTS[world.sends % 3 :: 3])


def _after_a_long_silence(world: World) -> bool:
    """Who was connected all the time need not come back before the next send is taken."""
    if world.sends % 2:
        world.do_send("a0", CHAT)  # it moves the partition on; d0, which lives there, is not told
    world.do_send("b0", CHAT)  # and so do copies from the group's home
    if not comes_to_rest(world):
        return False
    _forget_old_sends(world)
    if not comes_to_rest(world):
        return False
    before = {name: len(client.record.sent_away) for name, client in world.clients.items()}
    for name, chat in EVERYBODY:
        world.do_send(name, chat)
    rests = comes_to_rest(world)
    world.sent_away = [
        name
        for name, client in world.clients.items()
        if len(client.record.sent_away) > before[name]
    ]
    return rests


def _forget_old_sends(world: World) -> None:
    """It takes two steps: what is announced first is forgotten then."""
    world.do_tick(world.shape.window_ms + 5_000)
    for _ in range(2):
        for server in list(world.servers.values()):
            server.keep_house()


def _one_send_on_two_streams(world: World) -> bool:
    """Both are acknowledged, as where two windows of one person share what is unanswered."""
    client = world.clients["a0"]
    first = client.connection
    assert first is not None, "all is at rest"
    assert first.server is not None
    server, other = first.server, Connection(client, first.node)
    server.join(other, Hello(device="another window"))
    world.do_send("a0", CHAT)
    frame = ClientFrame(offset=server.owner.cursor - 1, sends=client.device.outbox.values())
    while first.to_server:
        world.do_to_server("a0", client.connections.index(first))
    server.receive(other, frame)
    rests = comes_to_rest(world)
    assert other.session is not None
    items = ServerFrame.FromString(b"".join(other.session.take(1 << 20))).items
    number = world.sends
    acked = {int(item.ack.client_message_id) for item in items if item.HasField("ack")}
    acked_first = {each.number for each in client.record.wire if isinstance(each, Acknowledgement)}
    if number not in acked & acked_first:
        world.unacknowledged.append(str(number))
    server.hang_up(other)
    return rests


def _one_send_in_two_windows(world: World) -> bool:
    """A window sends again what it has seen long ago, as sent by another; then it fills a gap."""
    window = world.clients["a1"]
    chat = GROUP if world.founded and world.sends // 3 % 2 else CHAT
    world.do_send("a0", chat)
    if not comes_to_rest(world):
        return False
    number = world.sends
    send = Send(client_message_id=str(number), chat_id=chat, message=Message(text="."))
    world.do_send("a0", chat)
    if not comes_to_rest(world):
        return False
    window.device.submit(send)
    window.flush()
    if not comes_to_rest(world):
        return False
    shown = window.record.shown
    again = [at for at, each in enumerate(shown) if (each.sender, each.number) == ("a", number)]
    for at in reversed(again[1:]):
        del shown[at]  # its person sees the answer at what is there
    world.do_elsewhere("a1", 0)
    return comes_to_rest(world)


# -- a device that comes back while its send is on the way


def _comes_back(world: World, *, accepted: bool) -> Connection:
    """c0 sends and comes back before that is answered; it has written it again. The stream that it
    had, where the server has read the send or not yet.
    """
    client = world.clients["c0"]
    old = client.connection
    assert old is not None, "all is at rest"
    world.do_send("c0", "d:a~c")
    if accepted:
        world.do_to_server("c0", client.connections.index(old))
    client.cut()
    world.do_connect("c0", old.node)
    world.do_to_server("c0", len(client.connections) - 1)
    while world.do_to_device("c0", 1_000):
        pass
    return old


def _server_reads_the_repeat(world: World, *, refuses: bool) -> None:
    client = world.clients["c0"]
    if client.connection:
        world.do_limit(client.connection.node, refuses)
        world.do_to_server("c0", client.connections.index(client.connection))
        world.do_limit(client.connection.node, False)
    world.do_to_device("c0", 1_000)


def _a_refusal_holds(world: World) -> bool:
    """Also when the first of the two comes late, once the server refuses no more."""
    old = _comes_back(world, accepted=False)
    _server_reads_the_repeat(world, refuses=True)
    world.do_to_server("c0", world.clients["c0"].connections.index(old))
    return comes_to_rest(world)


def _what_is_accepted_is_not_refused(world: World) -> bool:
    _comes_back(world, accepted=True)
    _server_reads_the_repeat(world, refuses=True)
    return comes_to_rest(world)


def _a_repeat_that_nobody_remembers_is_not_taken(world: World) -> bool:
    _comes_back(world, accepted=True)
    settle_log(world)
    settle_servers(world)
    _forget_old_sends(world)
    _server_reads_the_repeat(world, refuses=False)
    return comes_to_rest(world)


# -- a gap that is filled while people go on


def _a_gap_is_filled_up_to_the_stream(world: World) -> bool:
    """What comes with the stream is in the history in part, and never all of it at once."""
    for node in range(world.shape.nodes):
        world.do_skew(node, 0)
    world.do_tick(120_000)  # all clocks are above all that was
    world.do_elsewhere("a1", 0)
    world.do_connect("a1", world.assignment[world.place("a")])
    world.do_to_server("a1", len(world.clients["a1"].connections) - 1)
    world.do_to_device("a1", 1_000)
    _is_accepted(world, "b0")
    between = _is_accepted(world, "a0")
    _is_accepted(world, "a0")
    _is_in_the_history(world, "a")
    while not _has_read(world, "a1", between) and world.do_fill("a1"):
        pass
    _is_accepted(world, "b0")
    _is_in_the_history(world, "b")
    return comes_to_rest(world)


def _is_accepted(world: World, name: str) -> int:
    """A send in the chat of a and b, some time after all before."""
    world.do_tick(10)
    world.do_send(name, CHAT)
    world.do_to_server(name, len(world.clients[name].connections) - 1)
    settle_log(world)
    partition = world.place(name[0])
    world.do_read(world.assignment[partition], partition, 50)
    return world.sends


def _is_in_the_history(world: World, user: str) -> None:
    partition = world.place(user)
    while world.do_materialize(partition, 100):
        while world.do_land_row(partition, 0):
            pass


def _has_read(world: World, name: str, number: int) -> bool:
    """A device that fills its gap is beyond that message."""
    filling = world.clients[name].filling
    ids = [row.id for row in world.history.rows if row.number == number]
    return filling is not None and filling.after >= max(ids, default=0)


# -- an owner that is new


def _the_next_owner_knows_what_is_missing(world: World) -> bool:
    """b's partition gets a last copy from a's that nobody can read, then records of its own."""
    at, place = world.assignment, world.place
    world.do_send("a0", CHAT)
    world.do_to_server("a0", len(world.clients["a0"].connections) - 1)
    settle_log(world)
    for partition in {place("a"), place("b")}:
        world.do_read(at[partition], partition, 50)
    world.do_forward(at[place("a")], place("a"), 10)
    sender = world.servers[at[place("a")], place("a")].producer.name
    world.do_spoil_other(sender, place("b"))
    if not comes_to_rest(world):
        return False
    for _ in range(2):
        for _ in range(3):
            world.do_send("b0", CHAT)
        if not comes_to_rest(world):
            return False
    world.do_commit(at[place("b")], place("b"))
    settle_log(world)
    world.do_assign(place("b"), (at[place("b")] + 1) % world.shape.nodes)
    return mend(world)


ATTEMPTS = [
    _after_a_long_silence,
    _one_send_on_two_streams,
    _one_send_in_two_windows,
    _a_refusal_holds,
    _what_is_accepted_is_not_refused,
    _a_repeat_that_nobody_remembers_is_not_taken,
    _a_gap_is_filled_up_to_the_stream,
    _the_next_owner_knows_what_is_missing,
]
