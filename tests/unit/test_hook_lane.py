"""What one endpoint is told of one partition, under every order of answers and any restart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.hooks.lane import (
    AT_ONCE,
    BYTES_MAX,
    ITEMS_MAX,
    LONGEST_WAIT_S,
    OTHERS_MIN,
    TRIED_FOR_S,
    TRIES_MAX,
    Item,
    Lane,
)
from cecochat.domain.hooks.told import Told
from cecochat.domain.log.place import Place

CHATS = ("d:a~b", "g:c", "g:d")


def told(offset: int, chat_id: str = CHATS[0], value: bytes = b"x") -> Told:
    return Told(f"event-{offset}", "message.created", chat_id, 0, None, value)


def lane_of(*chats: str) -> Lane:
    lane = Lane(Place(0, 0))
    for offset, chat in enumerate(chats):
        lane.add(told(offset, chat), Place(0, offset), offset)
        lane.read_to(Place(0, offset + 1))
    return lane


def offsets(items: list[Item]) -> list[int]:
    return [item.place.offset for item in items]


class World:
    """A log of what is told (None: a record that tells nothing), a server that dies, and an
    endpoint that answers as it is drawn.
    """

    def __init__(self, log: list[str | None]) -> None:
        self.log = log
        self.committed = Place(0, 0)
        self.got: list[int] = []  # by the endpoint, repeats too
        self.parked: set[int] = set()
        self.begin()

    def begin(self) -> None:
        self.lane = Lane(self.committed)
        self.next = self.committed.offset
        self.under_way: list[Item] = []
        self.now_s = 0.0

    def read(self) -> None:
        if self.next < len(self.log):
            place = Place(0, self.next)
            if chat := self.log[self.next]:
                self.lane.add(told(self.next, chat), place, 0)
            self.next += 1
            self.lane.read_to(Place(0, self.next))

    def send(self) -> None:
        self.now_s += LONGEST_WAIT_S
        self.under_way += self.lane.due(self.now_s)
        chats = [item.told.chat_id for item in self.under_way]
        assert len(chats) == len(set(chats)), "two of a chat are under way"

    def answer(self, which: int, what: str) -> None:
        if not self.under_way:
            return
        item = self.under_way.pop(which % len(self.under_way))
        if what != "unheard":
            self.got.append(item.place.offset)
        if what == "taken":
            self.lane.taken(item)
        elif what == "refused":
            self.got.pop()
            self.parked.add(item.place.offset)
            self.lane.parked(item)
        else:  # it may have it or not, but nobody hears
            self.lane.failed(item, self.now_s, 0.5)

    def commit(self) -> None:
        self.committed = self.lane.place

    def finish(self) -> None:
        while self.committed.offset < len(self.log):
            self.read()
            self.send()
            self.answer(0, "taken")
            self.commit()


STEPS = st.one_of(
    st.sampled_from(["read", "read", "send", "commit", "begin"]),
    st.tuples(st.integers(0, 5), st.sampled_from(["taken", "taken", "lost", "unheard", "refused"])),
)


@given(
    st.lists(st.sampled_from([None, *CHATS]), min_size=1, max_size=25),
    st.lists(STEPS, max_size=120),
)
def test_nothing_is_missing_and_no_chat_is_out_of_order(
    log: list[str | None], steps: list[str | tuple[int, str]]
) -> None:
    world = World(log)
    for step in steps:
        if isinstance(step, tuple):
            world.answer(*step)
        else:
            doing: Callable[[], None] = getattr(world, step)
            doing()
    world.finish()
    due = {offset for offset, chat in enumerate(log) if chat}
    assert set(world.got) | world.parked == due
    firsts: dict[str | None, list[int]] = defaultdict(list)
    for offset in dict.fromkeys(world.got):
        if offset not in world.parked:
            firsts[log[offset]].append(offset)
    assert all(found == sorted(found) for found in firsts.values())


def test_a_chat_has_one_under_way_and_others_do_not_wait_for_it() -> None:
    lane = lane_of("d:a~b", "d:a~b", "g:c")
    first, other = lane.due(0.0)
    assert offsets([first, other]) == [0, 2]
    lane.failed(first, 0.0, 0.5)
    lane.taken(other)
    assert lane.place == Place(0, 0)
    assert lane.due(0.01) == []
    assert offsets(lane.due(10.0)) == [0]
    lane.taken(first)
    assert lane.place == Place(0, 1)
    (second,) = lane.due(10.0)
    lane.taken(second)
    assert (lane.place, lane.waiting, lane.oldest_ms) == (Place(0, 3), 0, None)


def test_a_bounded_number_is_under_way() -> None:
    lane = lane_of(*(f"g:{number}" for number in range(2 * AT_ONCE)))
    assert len(lane.due(0.0)) == AT_ONCE
    assert lane.due(0.0) == []
    assert lane.next_s is None


def test_it_holds_a_bounded_number_and_size() -> None:
    lane = lane_of(*["g:c"] * (ITEMS_MAX - 1))
    rooms = [lane.has_room]
    lane.add(told(ITEMS_MAX), Place(0, ITEMS_MAX), 0)
    rooms.append(lane.has_room)
    assert rooms == [True, False]
    large = Lane(Place(0, 0))
    large.add(told(0, value=bytes(BYTES_MAX)), Place(0, 0), 0)
    rooms = [large.has_room]
    (item,) = large.due(0.0)
    large.taken(item)
    rooms.append(large.has_room)
    assert rooms == [False, True]


def test_an_endpoint_that_is_away_is_asked_once_at_a_time_and_seldom() -> None:
    lane = lane_of(*(f"g:{number}" for number in range(AT_ONCE)))
    for item in lane.due(0.0):
        lane.failed(item, 0.0, 1.0)
    now_s, asked = 0.0, 0
    while now_s < 600.0:
        now_s = lane.next_s or now_s
        (item,) = lane.due(now_s)
        lane.failed(item, now_s, 1.0)
        asked += 1
    assert asked < AT_ONCE * (600.0 / LONGEST_WAIT_S + 7)
    now_s = lane.next_s or 0.0
    (item,) = lane.due(now_s)
    lane.taken(item)  # it is back: all that waits is due at once
    assert lane.next_s == now_s
    for _ in range(4):
        for item in lane.due(now_s):
            lane.taken(item)
    assert lane.waiting == 0


def test_a_wait_is_spread() -> None:
    waits = []
    for spread in (0.0, 1.0):
        lane = lane_of("g:c")
        (item,) = lane.due(0.0)
        lane.failed(item, 0.0, spread)
        waits.append(lane.next_s)
    assert waits == [0.25, 0.5]


def test_an_endpoint_is_left_alone_as_long_as_it_wants() -> None:
    lane = lane_of("g:c", "g:d")
    first, other = lane.due(0.0)
    lane.failed(first, 0.0, 0.0, pause_s=60.0)
    lane.taken(other)
    assert lane.next_s == 60.0
    assert lane.due(59.9) == []
    assert offsets(lane.due(60.0)) == [0]


def test_what_never_gets_through_while_others_do_is_given_up() -> None:
    lane = lane_of("g:c", *["g:d"] * OTHERS_MIN)
    tries, now_s, given_up = 0, 0.0, False
    while not given_up:
        now_s += LONGEST_WAIT_S
        for item in lane.due(now_s):
            if item.told.chat_id == "g:d":
                lane.taken(item)
            else:
                tries += 1
                if given_up := lane.failed(item, now_s, 1.0):
                    lane.parked(item)
    assert tries == TRIES_MAX
    assert now_s >= TRIED_FOR_S
    assert lane.place == Place(0, OTHERS_MIN + 1)


def test_what_fails_while_nothing_gets_through_is_never_given_up() -> None:
    lane = lane_of("g:c", "g:d")
    now_s = 0.0
    for _ in range(10 * TRIES_MAX):
        now_s += 10 * LONGEST_WAIT_S
        assert not any(lane.failed(item, now_s, 1.0) for item in lane.due(now_s))
    assert lane.place == Place(0, 0)
