"""`cecochat chat`: as lines, and in a terminal."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.backends import Backends
from tests.support.commands import WITHIN_S, environment, run, start
from tests.support.eventually import eventually
from tests.support.server import CECOCHAT, Server


async def test_chat_without_a_terminal_is_lines(server: Server) -> None:
    bob = await start(server, "chat", "--as", "bob", "alice")
    assert bob.stdout
    assert bob.stderr
    async with asyncio.timeout(WITHIN_S):
        assert b"connected" in await bob.stderr.readline()
        out, _ = await run(server, "chat", "--as", "alice", "bob", given="hello\nthere\n")
        said = [line.split("  ")[1:] for line in out.splitlines() if "alice: " in line]
        assert [text for text, _ in said] == ["alice: hello", "alice: there"]
        assert {tick for _, tick in said} <= {"✓", "✓✓"}
        got = [(await bob.stdout.readline()).decode() for _ in range(2)]
    assert [line.strip().split("  ")[1] for line in got] == ["alice: hello", "alice: there"]
    await bob.communicate(b"")
    assert bob.returncode == 0


class Terminal:
    """A window of a terminal multiplexer, as a person sees it."""

    def __init__(self, name: str, server: Server, *words: str) -> None:
        self._tmux = ["tmux", "-L", f"cecochat-{os.getpid()}-{name}"]
        self._server = server
        command = " ".join([str(CECOCHAT), *words])
        self._run("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30",
                  f"{command}; echo exit code $?; read _")  # fmt: skip

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words], capture_output=True, text=True, check=True,
            env=environment(self._server, LC_ALL="C.UTF-8", TERM="xterm-256color"),
        )  # fmt: skip
        return done.stdout

    def type(self, text: str) -> None:
        self._run("send-keys", "-l", text)
        self._run("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._run("send-keys", key)

    @property
    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    async def shows(self, text: str) -> None:
        try:
            await eventually(lambda: text in self.screen, WITHIN_S, every_s=0.1)
        except AssertionError:
            raise AssertionError(f"{text!r} is not on the screen:\n{self.screen}") from None

    def close(self) -> None:
        self._run("kill-server")


@pytest.fixture
def terminals(server: Server, backends: Backends) -> Iterator[dict[str, Terminal]]:
    backends.program("tmux")
    opened: dict[str, Terminal] = {}
    yield opened
    for terminal in opened.values():
        terminal.close()


async def test_two_windows_chat_over_a_killed_server(
    server: Server, terminals: dict[str, Terminal]
) -> None:
    alice = terminals["alice"] = Terminal("alice", server, "chat", "--as", "alice", "bob")
    await alice.shows("connected")
    alice.type("are you there?")
    await alice.shows("alice: are you there?  ✓")
    bob = terminals["bob"] = Terminal("bob", server, "chat", "--as", "bob", "alice")
    await bob.shows("alice: are you there?")
    await alice.shows("are you there?  ✓✓ read")
    bob.type("here ☀")
    await alice.shows("bob: here ☀")
    await server.kill()
    await alice.shows("reconnecting")
    alice.type("said while it was down")
    await alice.shows("said while it was down  …")
    await server.start()
    await bob.shows("alice: said while it was down")
    await alice.shows("said while it was down  ✓✓ read")
    bob.press("C-d")
    await bob.shows("exit code 0")
    alice.type("you missed this")
    await alice.shows("you missed this  ✓")
    again = terminals["again"] = Terminal("again", server, "chat", "--as", "bob", "alice")
    await again.shows("-- 1 missed --")
    await again.shows("alice: you missed this")
    assert again.screen.count("said while it was down") == 1


async def test_a_window_shows_how_the_other_user_is(
    server: Server, terminals: dict[str, Terminal]
) -> None:
    alice = terminals["alice"] = Terminal("alice", server, "chat", "--as", "alice", "bob")
    await alice.shows("connected")
    bob = terminals["bob"] = Terminal("bob", server, "chat", "--as", "bob", "alice")
    await alice.shows("bob is online")
    await bob.shows("alice is online")
    bob.press("x")
    await alice.shows("bob is typing …")
    bob.press("BSpace")
    await alice.shows("bob is online")
    bob.press("C-d")
    await alice.shows("bob was here ")


async def test_a_hostile_text_does_not_steer_the_window(
    server: Server, terminals: dict[str, Terminal]
) -> None:
    bob = terminals["bob"] = Terminal("bob", server, "chat", "--as", "bob", "mallory")
    await bob.shows("connected")
    await run(server, "send", "--as", "mallory", "bob", "\x1b[2J\x1b]0;owned\x07gone?")
    await bob.shows("gone?")
    assert "mallory: \N{REPLACEMENT CHARACTER}[2J" in bob.screen
