"""What befalls groups too rarely to be drawn."""

from __future__ import annotations

from unittest.mock import patch

from tests.sim import oracle
from tests.sim.shape import GROUP
from tests.sim.world import World
from tests.sim.written import append, broken, world

A, B = (
    0,
    1,
)  # partitions, and the nodes that have them: of a and d, and of b and the group
NEXT = 2  # the node that takes the group over


def ask(made: World, home: int) -> None:
    """What is asked of a node is answered, as often as it takes."""
    while made.do_ask(A, A):
        made.do_land_ask(0, home)
        while made.do_answer_ask(0):
            pass


def send(made: World, device: str) -> None:
    """What a device has to send comes to its server."""
    made.do_connect(device, A)
    for number in range(len(made.clients[device].connections)):
        while made.do_to_server(device, number):
            made.do_to_device(device, 10_000)


def an_owner_refuses_what_the_next_has_accepted(made: World) -> None:
    """It does not know yet that there is a next one, which has made d a member."""
    send(made, "a0")
    made.do_found()
    send(made, "a0")
    ask(made, B)
    append(made, B)
    made.do_forward(B, B, 10)
    append(made, A)
    made.do_check(0)
    made.do_assign(B, NEXT)
    made.do_learn(NEXT)
    made.do_claim(NEXT, B)
    made.do_land_all(B)
    made.do_read(NEXT, B, 10)
    made.do_member("a0", "d", True)
    send(made, "a0")
    ask(made, NEXT)
    made.do_land_all(B)
    made.do_read(NEXT, B, 10)
    send(made, "d0")
    made.do_send("d0", GROUP)
    send(made, "d0")
    ask(made, NEXT)
    made.do_land_all(B)
    made.do_crash(A)
    made.do_restart(A)
    made.do_claim(A, A)
    append(made, A)
    made.do_to_device("d0", 10_000)
    send(made, "d0")
    ask(made, B)
    made.do_to_device("d0", 10_000)


def test_no_owner_refuses_what_the_next_has_accepted() -> None:
    made = world()
    an_owner_refuses_what_the_next_has_accepted(made)
    assert broken(made) == set()
    with patch.object(World, "end_to_read", return_value=0):
        made = world()
        an_owner_refuses_what_the_next_has_accepted(made)
        assert broken(made) == {oracle.REFUSED_YET_ACCEPTED}
