"""`cecochat import` and `export`."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from random import Random

import pytest

from tests.support.commands import first_lines, rows, run, start, until_history_grows
from tests.support.server import Server
from tests.support.texts import real_texts


@pytest.fixture
def conversation(tmp_path: Path, rng: Random) -> Path:
    """Real texts of two people who take turns as they like."""
    file = tmp_path / "conversation.jsonl"
    turns = [rng.sample(("alice", "bob"), 2) for _ in range(300)]
    rows = [
        {"from": sender, "to": other, "text": rng.choice(real_texts())} for sender, other in turns
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def said_in(lines: str) -> list[tuple[str, str]]:
    return [(row["from"], row["text"]) for row in map(json.loads, lines.splitlines())]


async def test_an_import_that_is_killed_again_and_again_doubles_nothing(
    server: Server, conversation: Path
) -> None:
    expected = said_in(await asyncio.to_thread(conversation.read_text))
    killed_half_way = 0
    for attempt in range(1, 5):
        process = await start(server, "import", str(conversation))
        await until_history_grows(server, 40 * attempt)
        if attempt == 2:
            await server.kill()
            await server.start()
        if process.returncode is None:
            process.kill()
        _, err = await process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), err.decode()
        killed_half_way += process.returncode == -signal.SIGKILL
    out, _ = await run(server, "import", str(conversation))
    assert killed_half_way >= 2, "this shows nothing"
    assert f"{len(expected)}" not in out.split()[0], "all was sent by the last run"
    out, _ = await run(server, "import", str(conversation))
    assert out.startswith(f"0 sent, {len(expected)} were sent before")
    await until_history_grows(server, len(expected))
    exported, _ = await run(server, "export", "--as", "bob", "alice")
    assert said_in(exported) == expected


async def test_an_export_is_imported_into_another_system(server: Server, tmp_path: Path) -> None:
    await run(server, "send", "--as", "alice", "bob", "-", given="\n".join(first_lines(40)))
    await until_history_grows(server, 40)
    exported, _ = await run(server, "export", "--as", "alice")
    file = tmp_path / "export.jsonl"
    file.write_text(exported)
    other = Server(tmp_path / "other")
    try:
        await other.start()
        await run(other, "import", str(file))
        await until_history_grows(other, 40)
        again, _ = await run(other, "export", "--as", "bob")
    finally:
        await other.release()
    assert said_in(again) == said_in(exported)


async def test_a_wrong_file_is_refused_before_anything_is_sent(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.jsonl"
    file.write_text('{"from": "alice", "to": "bob", "text": "fine"}\n{"from": "alice"}\n')
    _, err = await run(server, "import", str(file), code=2)
    assert "line 2" in err
    assert await rows(server, "history", "--as", "alice", "bob", "--json") == []


async def test_a_refused_line_is_named_and_those_behind_it_are_sent(
    server: Server, tmp_path: Path
) -> None:
    file, hello = tmp_path / "some.jsonl", {"from": "alice", "to": "bob", "text": "hello"}
    by_the_client, by_the_server = {"client_message_id": "x" * 65}, {"text": "x" * 20_000}
    lines = [hello, hello | by_the_client, hello | by_the_server, hello]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out, err = await run(server, "import", str(file), code=4)
    assert "line 2 was refused" in err
    assert "line 3 was refused" in err
    await until_history_grows(server, 2)
    exported, _ = await run(server, "export", "--as", "bob", "alice")
    assert said_in(exported) == [("alice", "hello")] * 2, out
