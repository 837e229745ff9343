"""Two users chat, the server is killed between them with SIGKILL and started again; then what both
saw and what the history holds is compared: every message once and in order.

scripts/demo.py    takes about 15 seconds; exit code 1 if anything is missing, doubled or swapped
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cecochat.auth.minting import mint
from cecochat.client import Client, Event, Message, Reconnecting, connect

CECOCHAT = Path(sys.executable).with_name("cecochat")
ALICE, HATTER = "alice", "hatter"
PAUSE_S = 0.12  # between two lines of one person
KILL_AFTER = 24  # messages
DOWN_S = 1.5
READY_WITHIN_S, DONE_WITHIN_S = 20.0, 40.0

# Lewis Carroll, Alice's Adventures in Wonderland (1865), chapter VII. Who speaks, and what.
TEA_PARTY = """
H Your hair wants cutting.
A You should learn not to make personal remarks. It's very rude.
H Why is a raven like a writing-desk?
A Come, we shall have some fun now! I'm glad they've begun asking riddles.
A I believe I can guess that.
H Do you mean that you think you can find out the answer to it?
A Exactly so.
H Then you should say what you mean.
A I do; at least—at least I mean what I say—that's the same thing, you know.
H Not the same thing a bit! You might just as well say that 'I see what I eat' is the same thing \
as 'I eat what I see'!
H It is the same thing with you.
H What day of the month is it?
A The fourth.
H Two days wrong! I told you butter wouldn't suit the works!
A What a funny watch! It tells the day of the month, and doesn't tell what o'clock it is!
H Why should it? Does your watch tell you what year it is?
A Of course not, but that's because it stays the same year for such a long time together.
H Which is just the case with mine.
A I don't quite understand you.
H Have you guessed the riddle yet?
A No, I give it up. What's the answer?
H I haven't the slightest idea.
A I think you might do something better with the time than waste it in asking riddles that have no \
answers.
H If you knew Time as well as I do, you wouldn't talk about wasting it. It's him.
A I don't know what you mean.
H Of course you don't! I dare say you never even spoke to Time!
A Perhaps not, but I know I have to beat time when I learn music.
H Ah! that accounts for it. He won't stand beating.
A That would be grand, certainly, but then—I shouldn't be hungry for it, you know.
H Not at first, perhaps, but you could keep it to half-past one as long as you liked.
A Is that the way you manage?
H Not I! We quarrelled last March—just before he went mad, you know.
H And ever since that, he won't do a thing I ask! It's always six o'clock now.
A Is that the reason so many tea-things are put out here?
H Yes, that's it: it's always tea-time, and we've no time to wash the things between whiles.
A Then you keep moving round, I suppose?
H Exactly so, as the things get used up.
A But what happens when you come to the beginning again?
H Take some more tea.
A I've had nothing yet, so I can't take more.
H You mean you can't take less: it's very easy to take more than nothing.
A Nobody asked your opinion.
H Who's making personal remarks now?
"""


def lines_of(letter: str) -> list[str]:
    """Return what one of the two says."""
    return [line[2:] for line in TEA_PARTY.strip().splitlines() if line[0] == letter]


def tell(text: str, colour: str = "") -> None:
    """Print one line of the story."""
    plain = not (colour and sys.stdout.isatty())
    print(text if plain else f"\x1b[{colour}m{text}\x1b[0m", flush=True)


class Server:
    """Runs `cecochat up` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.addresses: dict[str, str] = {}
        self.environment = os.environ | {"XDG_STATE_HOME": str(folder / "state")}

    async def start(self) -> None:
        """Start it, always on the same ports, and wait until it is ready."""
        ports = ["--port-base", str(urlsplit(self.connect_url).port)] if self.addresses else []
        self._process = await asyncio.create_subprocess_exec(
            CECOCHAT, "up", "--json", "--data", self._folder / "data", *ports,
            stdout=asyncio.subprocess.PIPE, env=self.environment,
        )  # fmt: skip
        assert self._process.stdout
        async with asyncio.timeout(READY_WITHIN_S):
            self.addresses = json.loads(await self._process.stdout.readline())
        tell(f"   server ready as process {self._process.pid}: {self.connect_url}", "32")

    async def kill(self) -> int:
        """Kill it with SIGKILL, so that it cannot write anything more. Return its return code."""
        assert self._process
        self._process.kill()
        return await self._process.wait()

    async def stop(self) -> None:
        """Stop it in order."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    @property
    def connect_url(self) -> str:
        return self.addresses["connect"]

    def token(self, user: str) -> str:
        """Make a token, as an application's back end does."""
        secret = Path(self.addresses["token_secret_file"]).read_bytes()
        return mint(secret, user, lifetime_s=600)

    async def history(self, user: str, other: str) -> list[dict[str, str]]:
        """Return what the history holds, asked by the command line in a process of its own."""
        process = await asyncio.create_subprocess_exec(
            CECOCHAT, "history", "--as", user, other, "--limit", "1000", "--json",
            stdout=asyncio.subprocess.PIPE, env=self.environment,
        )  # fmt: skip
        output, _ = await process.communicate()
        return [json.loads(line) for line in output.splitlines()]


@dataclass
class Record:
    """What one person said and saw, in order."""

    user: str
    other: str
    said: list[str] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)  # text -> message id
    seen: list[Message] = field(default_factory=list)  # the messages of the other
    reconnects: int = 0

    @property
    def unanswered(self) -> int:
        """How many messages have not been acknowledged yet."""
        return len(self.said) - len(self.acknowledged)


class Person:
    """One user with one client."""

    def __init__(self, client: Client, record: Record) -> None:
        self._client = client
        self.record = record
        self._changed = asyncio.Event()

    async def speak(self, texts: list[str]) -> None:
        """Say everything, whether the server runs or not."""
        async with asyncio.TaskGroup() as group:
            for number, text in enumerate(texts, 1):
                numbered = f"{number:02} {text}"  # no two texts are the same
                self.record.said.append(numbered)
                answer = await self._client.post(self.record.other, numbered)
                group.create_task(self._note(numbered, answer))
                await asyncio.sleep(PAUSE_S)
                if not answer.done():
                    tell(f"   {self.record.user:>6} … {numbered[:60]}  (waits)", "2")

    async def _note(self, text: str, answer: asyncio.Future[int]) -> None:
        self.record.acknowledged[text] = await answer

    async def listen(self) -> None:
        """Receive everything, until cancelled."""
        async for event in self._client:
            self._take(event)
            self._changed.set()

    def _take(self, event: Event) -> None:
        match event:
            case Message() if event.user_id == self.record.other:
                self.record.seen.append(event)
                tell(f"   {event.user_id:>6}: {event.text[:88]}")
            case Reconnecting() if not self.record.reconnects:
                self.record.reconnects += 1
                tell(f"   {self.record.user} has lost the connection and tries again", "33")

    async def until_seen(self, count: int) -> None:
        """Wait until so many messages of the other have arrived."""
        while len(self.record.seen) < count:
            self._changed.clear()
            await self._changed.wait()


async def chat(server: Server, alice: Person, hatter: Person) -> None:
    """Tell the story."""
    async with asyncio.TaskGroup() as group:
        listening = [group.create_task(person.listen()) for person in (alice, hatter)]
        speaking = [
            group.create_task(alice.speak(lines_of("A"))),
            group.create_task(hatter.speak(lines_of("H"))),
        ]
        await alice.until_seen(KILL_AFTER // 2)
        await kill_and_restart(server, alice, hatter)
        await asyncio.wait(speaking)
        await alice.until_seen(len(hatter.record.said))
        await hatter.until_seen(len(alice.record.said))
        for task in listening:
            task.cancel()


async def kill_and_restart(server: Server, alice: Person, hatter: Person) -> None:
    """Kill the server in the middle of it, and start it again."""
    code = await server.kill()
    tell(
        f"\n2. kill -9: the server is dead (return code {code}), while they go on talking\n", "31;1"
    )
    if code != -9:
        raise AssertionError("the server did not die of SIGKILL: this shows nothing")
    await asyncio.sleep(DOWN_S)
    waiting = alice.record.unanswered + hatter.record.unanswered
    tell(f"\n3. {waiting} messages wait for an answer. The server is started again\n", "32;1")
    if not waiting:
        raise AssertionError("no message was waiting: this shows nothing")
    begun_s = time.monotonic()
    await server.start()
    tell(f"   it took {time.monotonic() - begun_s:.1f} s", "32")


def faults(me: Record, other: Record, rows: list[dict[str, str]]) -> Iterator[str]:
    """Compare what one of them has with what was said and with the history, and yield faults."""
    ids = [int(row["id"]) for row in rows]
    if ids != sorted(set(ids)):
        yield f"the history for {me.user} is not in the order of ids, or repeats one"
    for record in (me, other):
        kept = [row["text"] for row in rows if row["from"] == record.user]
        yield from differences(f"{record.user} in the history for {me.user}", record.said, kept)
    seen = [message.text for message in me.seen]
    yield from differences(f"{other.user} as {me.user} saw it", other.said, seen)
    by_text = {row["text"]: int(row["id"]) for row in rows}
    if {message.text: message.id for message in me.seen}.items() - by_text.items():
        yield f"{me.user} saw other ids than the history has"
    if set(me.acknowledged) != set(me.said) or me.acknowledged.items() - by_text.items():
        yield f"{me.user} was promised ids that the history does not have"
    if not me.reconnects:
        yield f"{me.user} never lost the connection: this shows nothing"


def differences(what: str, said: list[str], found: list[str]) -> Iterator[str]:
    """Yield what is lost, doubled or out of order."""
    if lost := Counter(said) - Counter(found):
        yield f"{what}: lost {list(lost)}"
    if extra := Counter(found) - Counter(said):
        yield f"{what}: doubled or made up {list(extra)}"
    if found != said and Counter(found) == Counter(said):
        yield f"{what}: out of order"


async def main() -> int:
    """Run the demonstration, and return the exit code."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cecochat-demo-")))
        server = Server(folder)
        stack.push_async_callback(server.stop)
        tell("1. One process is the whole system; Alice and the Hatter chat\n", "32;1")
        await server.start()
        people = []
        for user, other in ((ALICE, HATTER), (HATTER, ALICE)):
            opening = connect(server.connect_url, server.token(user), state=folder / user)
            client = await stack.enter_async_context(opening)
            people.append(Person(client, Record(user, other)))
        async with asyncio.timeout(DONE_WITHIN_S):
            await chat(server, *people)
        return await judge(server, *(person.record for person in people))


async def judge(server: Server, alice: Record, hatter: Record) -> int:
    """Compare what was said, what each of them saw, and what the history holds."""
    tell("\n4. What was said, what each of them saw and what the history holds, compared\n", "32;1")
    found: list[str] = []
    for me, other in ((alice, hatter), (hatter, alice)):
        rows = await server.history(me.user, other.user)
        wrong = list(faults(me, other, rows))
        found += wrong
        tell(
            f"   {me.user:>6}: said {len(me.said)}, acknowledged {len(me.acknowledged)}, "
            f"saw {len(me.seen)} of {len(other.said)}; the history has {len(rows)}"
        )
    for fault in found:
        tell(f"   WRONG: {fault}", "31;1")
    if not found:
        tell(
            "\n   Every message is there once, in order, on both sides and in the history.", "32;1"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
