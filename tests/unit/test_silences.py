"""Of whom an endpoint is told, under any order of messages, sessions, receipts, deaths and answers.

A silence is told once; none is left out once the endpoint takes what it is sent; and nothing is
told that was read before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from cecochat.domain.hooks.silences import (
    SHOWN_MS,
    Count,
    Counts,
    Seen,
    Silence,
    Silences,
    Unread,
)
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place

USERS = (UserId("bob"), UserId("carol"))
CHATS = (ChatId("d:alice~bob"), ChatId("g:hikers"))
DELAY_MS = 5_000
DEATHS = ("", "decided", "stored", "sent", "taken", "kept")
"""Where the hook server dies in a round: after that step, if it comes to it."""


class Died(Exception):
    """The hook server has died."""


class Said(NamedTuple):
    """A record of the log: a message to everybody, or a receipt of one."""

    chat_id: ChatId
    id: int
    at_ms: int
    reader: UserId | None = None


@dataclass
class Person:
    """A user, as they really are."""

    sessions: dict[str, int] = field(default_factory=dict)  # id -> position
    made: int = 0  # sessions
    gone_ms: int = 0
    last: str = ""  # the session that ended last, as the owner remembers it
    read: dict[ChatId, int] = field(default_factory=lambda: defaultdict(int))
    muted: set[ChatId] = field(default_factory=set)
    was_muted: set[ChatId] = field(default_factory=set)
    # The offsets at which sessions came, went, and sent receipts.
    moves: list[int] = field(default_factory=list)
    proven: bool = True  # whether all sessions but the last one have left a receipt
    forgotten: bool = False  # an owner has died that alone knew of a session


class Sent(NamedTuple):
    """What the endpoint took, and what was so when it was decided."""

    user_id: UserId
    silence: Silence
    moves: int  # of the user, by then


@dataclass
class World:
    """People, a log, an owner that may die, an endpoint that may be away, and a hook server."""

    now_ms: int = 0
    log: list[Said] = field(default_factory=list)
    people: dict[UserId, Person] = field(default_factory=lambda: {u: Person() for u in USERS})
    owned_ms: int = 0
    is_up: bool = True
    took: list[Sent] = field(default_factory=list)
    store: dict[UserId, bytes] = field(default_factory=dict)
    committed: int = 0
    moves_at: dict[str, int] = field(default_factory=dict)  # by id, when it was decided
    decided: list[Sent] = field(default_factory=list)  # and stored

    def __post_init__(self) -> None:
        self.start()

    # -- people

    def say(self, chat_id: ChatId) -> None:
        self.now_ms += 1
        self.log.append(Said(chat_id, len(self.log) + 1, self.now_ms))
        for person in self.people.values():
            for each in person.sessions:
                person.sessions[each] = len(self.log) - 1

    def come(self, user_id: UserId) -> None:
        person = self.people[user_id]
        person.made += 1
        person.proven = False
        person.sessions[f"{user_id}/{person.made}"] = len(self.log) - 1
        person.moves.append(len(self.log))

    def go(self, user_id: UserId) -> None:
        person = self.people[user_id]
        if person.sessions:
            person.last = next(iter(person.sessions))
            del person.sessions[person.last]
            person.gone_ms = self.now_ms
            person.moves.append(len(self.log))

    def read(self, user_id: UserId, chat_id: ChatId) -> None:
        """Only who has a session reads."""
        person = self.people[user_id]
        ids = [each.id for each in self.log if each.chat_id == chat_id and not each.reader]
        if person.sessions and ids:
            self.now_ms += 1
            person.read[chat_id] = ids[-1]
            person.proven, person.forgotten = True, False
            self.log.append(Said(chat_id, ids[-1], self.now_ms, user_id))
            person.moves.append(len(self.log))

    def move_owner(self) -> None:
        """The owner dies. All sessions end, and the next one knows of none."""
        self.owned_ms = self.now_ms
        for user_id, person in self.people.items():
            while person.sessions:
                self.go(user_id)
            person.forgotten |= not person.proven
            person.last = ""

    def unread(self, user_id: UserId, chat_id: ChatId) -> list[Said]:
        read = self.people[user_id].read[chat_id]
        return [e for e in self.log if e.chat_id == chat_id and e.id > read and not e.reader]

    # -- the hook server

    def start(self) -> None:
        told = {user_id: Silence.decode(value) for user_id, value in self.store.items()}
        self.silences = Silences(told, Place(0, self.committed))
        self.read_to = self.committed
        self.to_send = self.silences.untaken

    def take_log(self) -> int:
        for offset in range(self.read_to, len(self.log)):
            said, place = self.log[offset], Place(0, offset)
            if said.reader:
                self.silences.receipt(said.reader, said.chat_id, said.id, offset)
            else:
                for user_id in USERS:
                    unread = Unread(said.chat_id, said.id, UserId("alice"), place, said.at_ms)
                    self.silences.message(user_id, unread, DELAY_MS)
        self.read_to = len(self.log)
        self.silences.read_to(Place(0, self.read_to))
        return self.read_to

    def seen(self, user_id: UserId) -> Seen:
        person = self.people[user_id]
        if person.sessions:
            return Seen(dict(person.sessions))
        since_ms = max(self.owned_ms, person.gone_ms)
        return Seen({}, max(1, self.now_ms - since_ms), person.last)

    def counts(self, user_id: UserId) -> Counts:
        muted = self.people[user_id].muted
        return {c: Count(len(self.unread(user_id, c)), c in muted) for c in CHATS}

    def away(self, user_ids: list[UserId]) -> list[UserId]:
        below = self.take_log()
        return [
            each
            for each in user_ids
            if self.silences.seen(each, self.seen(each), below, DELAY_MS, self.now_ms)
        ]

    def round(self, dies_after: str = "", meanwhile: object = None) -> None:
        """As `servers/hooks/noticing.py` does it. `meanwhile`, a step, happens in the middle."""
        try:
            self._round(dies_after, meanwhile)
        except Died:
            self.start()

    def _round(self, dies_after: str, meanwhile: object) -> None:
        away = self.away(self.silences.due(self.now_ms))
        counted, below = {each: self.counts(each) for each in away}, self.read_to
        for each in away:
            if not self.silences.choose(each, counted[each], below):
                self.silences.dismiss(each, below)
        self.do(meanwhile)
        for each in self.away(away):
            last = self.people[each].last
            if self.silences.decide(each, last, counted[each], self.read_to, self.now_ms):
                self.note_decision(each)
                self.to_send.append(each)
        self.die_if(dies_after == "decided")
        self.keep()
        self.die_if(dies_after == "stored")
        self.send(dies_after)
        place = self.silences.place.offset
        self.keep()
        self.die_if(dies_after == "kept")
        self.committed = place
        self.silences.forget(place)

    def note_decision(self, user_id: UserId) -> None:
        """What was so when it was decided: the user was away, long enough, and had not read it."""
        silence, person = self.silences.to_send(user_id), self.people[user_id]
        assert silence, "it is not among those that are told"
        assert not person.sessions
        assert self.now_ms - max(person.gone_ms, self.owned_ms) >= DELAY_MS
        assert silence.message_id > person.read[ChatId(silence.chat_id)], "it was read before"
        assert silence.chat_id not in person.muted
        self.moves_at[silence.id] = len(person.moves)

    def send(self, dies_after: str) -> None:
        for user_id in list(self.to_send if self.is_up else ()):
            if silence := self.silences.to_send(user_id):
                known = [each for each in self.log[: self.read_to] if each.reader == user_id]
                read = [each.id for each in known if each.chat_id == silence.chat_id]
                assert silence.message_id > max(read, default=0), "it was read meanwhile"
                self.took.append(Sent(user_id, silence, self.moves_at[silence.id]))
                self.die_if(dies_after == "sent")
                self.silences.taken(user_id, silence.id)
                self.die_if(dies_after == "taken")
            self.to_send.remove(user_id)

    def keep(self) -> None:
        for user_id, silence in self.silences.changes().items():
            self.store[user_id] = silence.encode()
            self.decided.append(Sent(user_id, silence, self.moves_at[silence.id]))

    def die_if(self, dies: bool) -> None:
        if dies:
            raise Died

    # -- schedules

    def do(self, step: object) -> None:
        match step:
            case ("say", int(chat)):
                self.say(CHATS[chat])
            case ("come", int(user)):
                self.come(USERS[user])
            case ("go", int(user)):
                self.go(USERS[user])
            case ("read", int(user), int(chat)):
                self.read(USERS[user], CHATS[chat])
            case ("mute", int(user), int(chat)):
                person = self.people[USERS[user]]
                person.muted ^= {CHATS[chat]}
                person.was_muted |= person.muted
            case ("pass", int(ms)):
                self.now_ms += ms
            case ("round", str(death), meanwhile):
                self.round(death, meanwhile)
            case "move owner":
                self.move_owner()
            case "endpoint":
                self.is_up = not self.is_up

    def settle(self) -> None:
        """Nothing happens any more, and the endpoint takes what it is sent."""
        self.is_up = True
        for _ in range(2 * SHOWN_MS // 5_000):
            self.now_ms += 5_000
            self.round()


def wrong(world: World) -> Iterator[str]:
    """What breaks the promise."""
    by_id: dict[str, Sent] = {}
    for sent in world.took:
        first = by_id.setdefault(sent.silence.id, sent)
        if first.silence.told(first.user_id) != sent.silence.told(sent.user_id):
            yield f"{sent.silence.id} came again as something else"
    for user_id in USERS:
        told = [each for each in by_id.values() if each.user_id == user_id]
        if len({each.moves for each in told}) != len(told):
            yield f"{user_id}: a silence was told twice"
        yield from untold(world, user_id)


def untold(world: World, user_id: UserId) -> Iterator[str]:
    """The silence of now, if there is one: it began at the user's last move. A message that came
    before a decision to tell or in a silence that was told, or that a session has had for long,
    need not be told any more.
    """
    person = world.people[user_id]
    told = [each for each in world.decided if each.user_id == user_id]
    in_told = {each.moves for each in told}
    if person.sessions or person.forgotten or len(person.moves) in in_told:
        return
    known_below = max((each.silence.read_below for each in told), default=0)
    new_ms = person.gone_ms - SHOWN_MS + 2 * 5_000
    for chat_id in set(CHATS) - person.was_muted:
        for said in world.unread(user_id, chat_id):
            offset = world.log.index(said)
            moves = sum(each <= offset for each in person.moves)
            if said.at_ms > new_ms and offset >= known_below and moves not in in_told:
                yield f"{user_id} is not told of {said.id}"


users, chats = st.integers(0, 1), st.integers(0, 1)
small = st.one_of(
    st.tuples(st.just("say"), chats),
    st.tuples(st.just("come"), users),
    st.tuples(st.just("go"), users),
    st.tuples(st.just("read"), users, chats),
    st.tuples(st.just("pass"), st.sampled_from([100, 2_000, 6_000, 70_000])),
)
steps = st.one_of(
    small,
    st.tuples(st.just("mute"), users, chats),
    st.tuples(st.just("round"), st.sampled_from(DEATHS), st.none() | small),
    st.sampled_from(["move owner", "endpoint"]),
)


@settings(max_examples=500)
@given(st.lists(steps, max_size=60))
def test_each_silence_is_told_once(schedule: list[object]) -> None:
    world = World()
    for step in schedule:
        world.do(step)
    world.settle()
    assert list(wrong(world)) == []
