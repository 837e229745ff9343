"""Files go when nobody needs them any more, and not before."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cecochat.adapters import build
from cecochat.domain.changes.attachments import KEPT_MS
from cecochat.domain.cluster import holds as holds_of
from cecochat.domain.cluster.holds import Hold
from cecochat.ports.backplane import FILES_GROUP, MESSAGES
from cecochat.ports.configuration import HOLDS, RETENTION
from cecochat.servers.materialize import collecting, sweeping
from tests.integration.clients import device
from tests.integration.systems import metric, running, settings
from tests.integration.test_attachments import kept
from tests.support.commands import run
from tests.support.eventually import eventually
from tests.support.server import Server

SWEPT = 'cecochat_files_deleted_total{reason="unnamed"}'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps that are due at once."""
    monkeypatch.setattr(collecting, "SWEEP_EVERY_S", 0.05)


@pytest.fixture
def two_days_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on, what is noted has been for long enough. Before that, it waits for its message,
    however slow the machine is.
    """
    return partial(monkeypatch.setattr, collecting, "KEPT_MS", 0)


def noted(data: Path) -> list[str]:
    return [each.name for each in (data / "files/noted").rglob("*") if each.is_file()]


async def test_what_no_message_names_is_deleted_and_what_one_names_stays(
    tmp_path: Path, two_days_later: Callable[[], None]
) -> None:
    async with running(tmp_path) as up, device(up, "alice", listen=False) as alice:
        await asyncio.gather(*(_sent(alice, f"sent {number}") for number in range(5)))
        for number in range(5):
            await alice.files.upload(
                "bob", b"lost", client_message_id=f"lost {number}", name="a.txt"
            )
        await eventually(lambda: len(noted(tmp_path)) == 5)
        two_days_later()
        await eventually(lambda: not noted(tmp_path))
        assert sorted(kept(tmp_path)) == [f"sent {number}".encode() for number in range(5)]
        assert await metric(up, "materialize", SWEPT) == 5.0


async def _sent(alice: Any, text: str) -> int:
    file = await alice.files.upload("bob", text.encode(), client_message_id=text, name="a.txt")
    id_: int = await alice.send("bob", "", client_message_id=text, attachments=[file])
    return id_


async def test_a_deleted_message_takes_its_files_with_it(
    tmp_path: Path, two_days_later: Callable[[], None]
) -> None:
    async with (
        running(tmp_path) as up,
        device(up, "alice", listen=False) as alice,
        device(up, "bob") as bob,
    ):
        first, second = [await _sent(alice, each) for each in ("first", "second")]
        await bob.react("alice", second, "\N{THUMBS UP SIGN}")
        await alice.delete("bob", first)
        await eventually(lambda: kept(tmp_path) == [b"second"])
        group = await alice.groups.create("Hikers", members=["bob"])
        file = await bob.files.upload(group, b"third", client_message_id="3", name="a")
        third = await bob.send(group, "", client_message_id="3", attachments=[file])
        await alice.delete(group, third, as_admin=True)
        await eventually(lambda: kept(tmp_path) == [b"second"])
        two_days_later()
        await eventually(lambda: not noted(tmp_path))
        assert kept(tmp_path) == [b"second"]


async def test_under_a_hold_a_deleted_message_keeps_its_files(tmp_path: Path) -> None:
    async with running(tmp_path) as up, device(up, "alice", listen=False) as alice:
        holds = holds_of.with_hold(holds_of.Holds(), "d:alice~bob", Hold(1, "anna", "case 17"))
        await up.configuration.put(HOLDS, holds_of.document(holds), expected=0, by="test")
        await alice.delete("bob", await _sent(alice, "evidence"))
        file = await alice.files.upload("carol", b"gone", client_message_id="4", name="a.txt")
        sent = await alice.send("carol", "", client_message_id="4", attachments=[file])
        assert sorted(kept(tmp_path)) == [b"evidence", b"gone"]
        await alice.delete("carol", sent)  # after the other one, in the same partition
        await eventually(lambda: kept(tmp_path) == [b"evidence"])


async def test_what_is_too_old_takes_its_files_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "EVERY_S", 0.05)
    monkeypatch.setattr(sweeping, "LATE_MS", 0)
    async with running(tmp_path) as up, device(up, "alice", listen=False) as alice:
        await _sent(alice, "too old soon")
        file = await alice.files.upload("carol", b"kept", client_message_id="1", name="a.txt")
        await alice.send("carol", "", client_message_id="1", attachments=[file])
        await eventually(lambda: not noted(tmp_path))
        rule = {"chats": {"d:alice~bob": {"keep_s": 1}}}
        await up.configuration.change(RETENTION, lambda _: rule, by="test")
        await eventually(lambda: kept(tmp_path) == [b"kept"])
        (message,) = (await alice.history("carol")).messages
        assert await alice.files.read(message, message.attachments[0]) == b"kept"


async def test_where_the_log_does_not_say_who_was_named_files_are_kept(
    tmp_path: Path, two_days_later: Callable[[], None]
) -> None:
    async with running(tmp_path) as up, device(up, "alice", listen=False) as alice:
        await _sent(alice, "named")
        await eventually(lambda: not noted(tmp_path))
    chosen = settings(tmp_path)
    async with build.backplane(chosen) as log:
        place = await log.committed(FILES_GROUP, MESSAGES, 0)
        assert place
        lost = place._replace(clock_ms=1)  # what stands there now came later: it lost its end
        await log.commit(FILES_GROUP, MESSAGES, {0: lost})
    folder = tmp_path / "files"
    (found,) = (each for each in (folder / "kept").rglob("*") if each.is_file())
    note = f"{int(time.time() * 1_000) - 10_000:013}.{found.parent.name}.{found.name}"
    (folder / "noted/0" / note).touch()
    two_days_later()
    async with running(tmp_path) as up, device(up, "alice", listen=False) as alice:
        await alice.send("bob", "go on")
        await eventually(lambda: not noted(tmp_path))
        assert kept(tmp_path) == [b"named"]


async def test_a_killed_collector_goes_on_where_it_was(
    tmp_path: Path, two_days_later: Callable[[], None]
) -> None:
    for round_ in range(3):
        async with running(tmp_path) as up, device(up, "alice", listen=False) as alice:
            await _sent(alice, f"sent {round_}")
            await alice.files.upload("bob", b"lost", client_message_id="0", name="a.txt")
    async with running(tmp_path):
        await eventually(lambda: len(noted(tmp_path)) == 3)
        two_days_later()
        await eventually(lambda: not noted(tmp_path))
        assert len(kept(tmp_path)) == 3


async def test_an_erased_user_leaves_no_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("quicksilver")
    await run(server, "send", "--as", "alice", "bob", "--attach", str(path))
    path.write_text("of bob")
    await run(server, "send", "--as", "bob", "alice", "--attach", str(path))
    out, _ = await run(server, "erase", "alice", "--dry-run", "--json")
    assert json.loads(out)["files"] == 1
    out, _ = await run(server, "erase", "alice", "--yes", "--json")
    assert json.loads(out)["files"] == 1
    assert kept(server.data) == [b"of bob"]
    out, _ = await run(server, "history", "--as", "bob", "alice", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert [(each.get("erased", False), "attachments" in each) for each in told] == [
        (True, False),
        (False, True),
    ]


def test_uploads_are_kept_for_two_days() -> None:
    assert KEPT_MS == 172_800_000
