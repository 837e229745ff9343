"""The image on a real engine: what it holds, and that whoever runs it loses nothing."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import pytest

from cecochat.client import Client, Reconnecting, connect, open_history
from tests.integration.test_docs import free_row
from tests.support.commands import first_lines
from tests.support.containers import Container, container, docker
from tests.support.server import CECOCHAT, NO_LIMITS

IMAGE_MAX_BYTES = 200_000_000
TEXTS = 1_000
KILLED_AFTER = 200
EVERY_SECOND = ("--health-interval=1s", "--health-timeout=2s", "--health-retries=1")

pytestmark = pytest.mark.timeout(900)  # the first one may have to make a base, and build


@pytest.fixture
async def up(image: str) -> AsyncIterator[Container]:
    """It runs as docs/how-to/run-in-a-container.md says, and is ready."""
    with container(image, free_row(), *EVERY_SECOND) as made:
        made.run()
        await made.ready()
        yield made


def python(image: str, program: str) -> str:
    """What a program prints that runs there with no other right than to read and to run."""
    return docker("run", "--rm", "--read-only", "--entrypoint=python", image, "-c", program).strip()


# What it holds


def test_it_is_small(image: str) -> None:
    assert int(docker("image", "inspect", "--format={{.Size}}", image)) < IMAGE_MAX_BYTES


def test_it_holds_no_shell_no_package_manager_and_no_root(image: str) -> None:
    programs = "import os, shutil; print(os.getuid(), *map(shutil.which, ['sh', 'apt', 'pip']))"
    assert python(image, programs) == "10001 None None None"


def test_what_it_imports_is_compiled(image: str) -> None:
    program = """
import os, sys, cecochat.cli.main, cecochat.run.system
compiled = [getattr(module, "__cached__", None) for module in sys.modules.values()]
print(len(compiled) > 500, [path for path in compiled if path and not os.path.exists(path)])"""
    assert python(image, program) == "True []"


def test_its_authorities_are_those_of_the_lock(image: str) -> None:
    program = """
import certifi, os, pathlib, ssl
used, locked = map(pathlib.Path, (os.environ["SSL_CERT_FILE"], certifi.where()))
print(used.read_bytes() == locked.read_bytes())
print(len(ssl.create_default_context().get_ca_certs()) > 100)"""
    assert python(image, program).split() == ["True", "True"]


# What it does


async def test_people_chat_through_it(up: Container) -> None:
    up.execute("send", "--as", "alice", "bob", "from inside")
    assert "alice  from inside" in up.execute("history", "--as", "bob", "alice")
    sender = await sending(up, "alice", "bob")
    out, _ = await sender.communicate(b"from outside\n")
    assert sender.returncode == 0
    assert [(int(out), "from outside")] == (await history(up, "bob", "alice"))[1:]


async def test_what_was_acknowledged_outlives_a_sigkill(up: Container) -> None:
    for key, value in NO_LIMITS.items():
        up.execute("config", "set", key, str(value))
    texts = first_lines(TEXTS)
    sender = await sending(up, "alice", "bob")
    assert sender.stdin is not None
    assert sender.stdout is not None
    sender.stdin.write("\n".join(texts).encode())
    sender.stdin.close()
    acknowledged = [int(await sender.stdout.readline()) for _ in range(KILLED_AFTER)]
    up.kill()
    assert up.state()["ExitCode"] == 137
    up.start()
    await up.ready(times=2)
    acknowledged += [int(line) async for line in sender.stdout]
    assert await sender.wait() == 0
    assert await history(up, "bob", "alice") == list(zip(acknowledged, texts, strict=True))


async def test_its_health_is_that_of_the_servers(up: Container) -> None:
    await up.is_said_to_be("healthy")
    docker("kill", "--signal=STOP", up.name)
    await up.is_said_to_be("unhealthy")
    docker("kill", "--signal=CONT", up.name)
    await up.is_said_to_be("healthy")


async def test_it_stops_in_order(up: Container) -> None:
    async with connect(up.connect_url, token(up, "bob")) as bob:
        ended = asyncio.create_task(first_end(bob))
        began = asyncio.get_running_loop().time()
        assert await asyncio.to_thread(up.stop) == 0
        assert asyncio.get_running_loop().time() - began < 30
        assert await ended == "draining"
    assert "Stopped; every acknowledged message is in the data folder.\n" in up.said()


def token(up: Container, user: str) -> str:
    return up.execute("token", user).strip()


async def sending(up: Container, user: str, other: str) -> asyncio.subprocess.Process:
    """`cecochat send` on this machine, which sends each line that it is given."""
    where = ("--connect", up.connect_url, "--token", token(up, user))
    return await asyncio.create_subprocess_exec(
        CECOCHAT, "send", *where, other, "-", stdin=PIPE, stdout=PIPE
    )


async def history(up: Container, user: str, other: str) -> list[tuple[int, str]]:
    """Message ids and texts, oldest first."""
    async with open_history(up.connect_url, token(up, user)) as found:
        return [(each.id, each.text) async for each in found.every_message(other)]


async def first_end(client: Client) -> str:
    """The code with which its connection is ended."""
    async for event in client:
        if isinstance(event, Reconnecting):
            return event.error.code
    raise AssertionError("it was closed")
