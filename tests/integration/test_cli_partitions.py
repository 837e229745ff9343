"""`cecochat partitions` against a folder's configuration and messaging servers of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cecochat.adapters import build
from cecochat.adapters.embedded.discovery import EmbeddedDiscovery
from cecochat.cli.cluster.partitions import parse
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.main import app
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.ports.discovery import Discovery
from cecochat.servers.control.main import control
from tests.integration.control_world import World, world
from tests.integration.systems import write_document
from tests.support import operators


@pytest.fixture
async def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Its messaging servers are found as if by Consul."""
    monkeypatch.setenv("CECOCHAT_CONSUL", "127.0.0.1:1")
    monkeypatch.setenv("CECOCHAT_CLUSTER_SECRET_FILE", str(operators.SECRET_FILE))
    async with world(tmp_path) as up:

        @asynccontextmanager
        async def discovery(_: object) -> AsyncIterator[Discovery]:
            found = EmbeddedDiscovery()
            for instance in up.parts.discovery.live("messaging"):
                await found.register(instance)
            yield found

        monkeypatch.setattr(build, "discovery", discovery)
        yield up


async def cli(up: World, *words: str) -> Any:
    """As typed, in a loop of its own."""
    folder = str(up.parts.settings.data_dir)
    command = ["partitions", words[0], *words[1:], "--data", folder]
    return await asyncio.to_thread(CliRunner().invoke, app([]), command)


async def printed(up: World, *words: str) -> str:
    result = await cli(up, *words)
    assert result.exception is None, result.output
    output: str = result.output
    return output


async def printed_json(up: World, *words: str) -> list[Any]:
    return [json.loads(line) for line in (await printed(up, *words, "--json")).splitlines()]


async def assign(up: World, owners: str) -> None:
    """Partition 0 to the first letter."""
    value = {str(p): owner for p, owner in enumerate(owners) if owner != "-"}
    await write_document(up.parts.configuration, ASSIGNMENT, value)


# -- show


async def test_show_says_who_owns_what_and_who_not_yet(up: World) -> None:
    await up.join("a", "b", "idle")
    up.servers["b"].owned = {2}
    up.servers["b"].takes_over.clear()
    await assign(up, "aabbxx-y")
    up.servers["a"].owned = {0, 1}
    assert await printed(up, "show") == (
        "version 1, by test\n"
        "PARTITIONS  COUNT  SERVER  STATE\n"
        "0-1         2      a       owned\n"
        "2           1      b       owned\n"
        "3           1      b       taking over\n"
        "4-5         2      x       not live\n"
        "6           1      -       nobody\n"
        "7           1      y       not live\n"
        "-           0      idle    live\n"
    )
    rows = await printed_json(up, "show")
    assert rows[2] == {"server_id": "b", "state": "taking over", "partitions": [3]}


async def test_show_without_consul_knows_the_document_alone(
    up: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CECOCHAT_CONSUL")
    await assign(up, "aa")
    assert (await printed(up, "show")).splitlines()[-1].split() == ["0-1", "2", "a", "assigned"]
    result = await cli(up, "plan")
    assert isinstance(result.exception, UsageError)
    assert "CECOCHAT_CONSUL" in str(result.exception)


async def test_a_server_that_does_not_answer_is_silent(up: World) -> None:
    await up.join("a")
    instance = up.servers["a"].instance
    assert instance
    await up.parts.discovery.register(instance._replace(instance_id="b"))  # another answers there
    await assign(up, "ab")
    up.servers["a"].owned = {0}
    states = {row["server_id"]: row["state"] for row in await printed_json(up, "show")}
    assert states == {"a": "owned", "b": "silent"}


async def test_nothing_assigned_yet_is_said(up: World) -> None:
    for command in ("show", "plan"):
        result = await cli(up, command)
        assert isinstance(result.exception, Failed)
        assert "start messaging and control servers" in str(result.exception)


# -- plan


async def test_plan_says_what_control_would_do_and_why(up: World) -> None:
    await up.join("a", "b")
    await assign(up, "aaaaxx")
    assert await printed(up, "plan") == (
        "3    a -> b  balance: b has fewer than a\n"
        "4-5  x -> b  failover: x is not live\n"
        "3 moves, then 6 partitions on 2 live servers, 3 to 3 each\n"
    )
    assert (await up.document()).version == 1
    assert (await printed_json(up, "plan"))[1] == {
        "source": "x",
        "target": "b",
        "reason": "failover",
        "partitions": [4, 5],
        "why": "x is not live",
        "now": True,
    }


async def test_plan_says_that_what_a_person_assigned_stays(up: World) -> None:
    await up.join("a", "b")
    await assign(up, "aaab")
    assert (await printed(up, "plan")).splitlines()[-1] == (
        "moves that only balance wait until a server joins or leaves, because test has assigned "
        "partitions by hand "
        "(version 1)"
    )
    assert [line["now"] for line in await printed_json(up, "plan")] == [False]


async def test_plan_of_a_balanced_assignment_is_empty(up: World) -> None:
    await up.join("a", "b")
    await assign(up, "aab")
    assert (
        await printed(up, "plan")
        == "nothing to move: 3 partitions on 2 live servers, 1 to 2 each\n"
    )
    await up.vanish("a")
    await up.vanish("b")
    assert "no messaging server is live" in await printed(up, "plan")


# -- move


async def test_move_waits_for_the_takeover_and_control_leaves_it(up: World) -> None:
    async with control(up.parts, "control-1"):
        await up.join("a", "b")
        await up.becomes(a=8, b=8)
        [moved] = await printed_json(up, "move", "0-2,5", "--to", "b")
        assert moved["partitions"] == [0, 1, 2, 5]
        assert moved["version"] == 2
        assert up.servers["b"].owned >= {0, 1, 2, 5}
        assert "b owns 0 as of version 2" in await printed(up, "move", "0", "--to", "b"), "again"
        await up.join("c")
        await up.becomes(a=5, b=6, c=5)


async def test_move_that_nobody_takes_over_says_so(up: World) -> None:
    await up.join("a", "b")
    up.servers["b"].takes_over.clear()
    await assign(up, "aab")
    result = await cli(up, "move", "0", "--to", "b", "--timeout", "0.3")
    assert isinstance(result.exception, Failed)
    assert "b does not own 0 after 0.3 s" in str(result.exception)
    assert (await up.document()).value["0"] == "b"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("0", "--to", "nobody"), "nobody is not a live messaging server: use one of a, b"),
        (("3", "--to", "b"), "there is no partition 3: use 0 to 2"),
        (("0-x", "--to", "b"), "use numbers"),
        (("2-1", "--to", "b"), "put the lower number first"),
    ],
)
async def test_what_cannot_be_moved_is_refused(
    up: World, words: tuple[str, ...], says: str
) -> None:
    await up.join("a", "b")
    await assign(up, "aab")
    result = await cli(up, "move", *words)
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)
    assert (await up.document()).version == 1


def test_partitions_are_written_as_numbers_and_ranges() -> None:
    assert parse("7") == [7]
    assert parse("0-3, 9,2") == [0, 1, 2, 3, 9]
    for text in ("", "-1", "1-", "1,,2", "1-2-3", "\u0661", "99999999999"):
        with pytest.raises(UsageError):
            parse(text)


@pytest.mark.parametrize("command", ["show", "plan", "move"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app([]), ["partitions", command, "--help"])
    assert f"Example: cecochat partitions {command}" in " ".join(result.output.split())
