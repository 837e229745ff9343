"""Porcupine, with our model of a chat, says nothing about a good run, and finds what is broken."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from scripts.backends import porcupine
from tests.e2e.test_oracle import CORRUPTIONS
from tests.e2e.test_oracle_on_runs import recorded
from tests.e2e.test_rawclient import ALICE, alice_and_bob, doubling, dropping
from tests.support.backends import Backends
from tests.support.fakeserver import Spoil, fake_server
from tests.support.oracle import Kind, judge
from tests.support.porcupine import Reading, ask, history_of
from tests.support.records import Delivered, Message
from tests.support.spoil import BY_BOTH
from tests.support.story import (
    AB,
    BC,
    GROUP,
    ONE,
    TWO,
    Corruption,
    Entries,
    History,
    acked,
    sent,
    story,
)
from tests.support.texts import real_texts

TRIES = 3
OURS_ALONE = {
    "an answer sorts first": "the order between two senders",
    "the history is out of order": "the order between two senders",
    "a delivered offset stands still": "positions",
    "a first ack lies behind": "positions",
    "caught up with the past": "positions",
    "a session skips ahead of the position asked for": "positions",
    "a session starts behind a gap that it does not tell": "nothing was lost by it",
    "a recipient is added": "recipients",
    "a message to a group names recipients": "recipients",
    "a send that vanished altogether": "that each send is answered",
}
"""What the model knows nothing of, so that the oracle alone finds it."""


@pytest.fixture(scope="module")
def program(backends: Backends) -> Path:
    return porcupine.here() or backends.absent("porcupine")


async def unexplained(program: Path, folder: Path, entries: Entries, history: History) -> list[str]:
    end = len(entries)
    readings = [Reading(end, end, chat_id, rows) for chat_id, rows in history.items()]
    lines = history_of(entries, readings, {entry.who for entry in entries})
    return await ask(program, lines, folder / "history.jsonl")


async def test_a_good_run_is_explained(program: Path, tmp_path: Path) -> None:
    assert await unexplained(program, tmp_path, *story()) == []


@pytest.mark.parametrize(
    ("name", "corrupt"),
    [(name, corrupt) for name, _, corrupt in CORRUPTIONS],
    ids=[name for name, _, _ in CORRUPTIONS],
)
async def test_a_corrupted_run_is_not(
    name: str, corrupt: Corruption, program: Path, tmp_path: Path
) -> None:
    entries, history = story()
    corrupt(entries, history)
    history = {chat_id: history.get(chat_id, []) for chat_id in (AB, BC, GROUP)}
    found = await unexplained(program, tmp_path, entries, history)
    assert bool(found) is (name not in OURS_ALONE)
    assert (tmp_path / "history.html").exists() is bool(found)


async def test_what_is_not_explained_is_named(program: Path, tmp_path: Path) -> None:
    entries, history = story()
    del history[AB][-1]
    (said,) = await unexplained(program, tmp_path, entries, history)
    assert said.startswith(f"alice in {AB}: 15 operations fit, but then not line ")
    assert said.endswith(", read by /reader of [{101 a1 7692c3ad} {102 a2 fe0f3cd6}]")


MOMENTS = {  # entries of the story: what has happened by then
    "before": next(at for at, entry in enumerate(story()[0]) if entry.what == sent(ONE)),
    "one acked": next(at for at, entry in enumerate(story()[0]) if entry.what == acked(ONE, 6)) + 1,
    "two shown": next(at for at, e in enumerate(story()[0]) if e.what == Delivered(7, TWO)) + 1,
}


@pytest.mark.parametrize(
    ("reads", "fits"),
    [
        ([("before", "before", [])], True),
        ([("before", "one acked", [])], True),  # it was not acknowledged when the reading began
        ([("before", "one acked", [ONE])], True),
        ([("before", "one acked", [ONE, TWO])], True),  # accepted, and the ack is on its way
        ([("before", "one acked", [TWO])], False),  # not without what was sent before it
        ([("one acked", "two shown", [])], False),
        ([("one acked", "one acked", [ONE])], True),
        ([("one acked", "one acked", [ONE, TWO])], True),
        ([("before", "before", [ONE])], False),  # nobody has sent it yet
        ([("one acked", "one acked", [ONE, TWO]), ("two shown", "two shown", [ONE, TWO])], True),
        ([("one acked", "one acked", [ONE, TWO]), ("one acked", "two shown", [ONE])], False),
    ],
)
async def test_a_read_never_goes_back(
    reads: list[tuple[str, str, list[Message]]], fits: bool, program: Path, tmp_path: Path
) -> None:
    """Reads while Alice talks: each must hold what was acknowledged or read before it."""
    entries, history = story()
    end = len(entries)
    readings = [Reading(MOMENTS[began], MOMENTS[ended], AB, rows) for began, ended, rows in reads]
    readings += [Reading(end, end, chat_id, rows) for chat_id, rows in history.items()]
    lines = history_of(entries, readings, {entry.who for entry in entries})
    assert (await ask(program, lines, tmp_path / "history.jsonl") == []) is fits


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(
    ("spoil", "kind"), [(dropping("bob"), Kind.LOST_ON_DEVICE), (doubling, Kind.DELIVERED_TWICE)]
)
async def test_a_wrong_server_is_found_out_by_both(
    spoil: Spoil, kind: Kind, tmp_path: Path
) -> None:
    async with fake_server(tmp_path) as server:
        server.spoil = spoil
        async with alice_and_bob(server) as crowd:
            for text in real_texts()[:20]:
                crowd.devices[ALICE].say(AB, text)
            found = {violation.kind for violation in await crowd.settle(within_s=2)}
    assert found >= {kind, Kind.UNEXPLAINED}


async def test_any_single_corruption_of_a_run_is_found_by_both(
    program: Path, tmp_path: Path, rng: Random
) -> None:
    entries, history = await recorded(tmp_path, rng)
    assert await unexplained(program, tmp_path, entries, history) == []
    for way in BY_BOTH * TRIES:
        spoilt = list(entries), {chat: list(rows) for chat, rows in history.items()}
        way(*spoilt, rng)
        assert judge(*spoilt) != [], way.__name__
        assert await unexplained(program, tmp_path, *spoilt) != [], way.__name__
