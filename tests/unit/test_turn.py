"""When it is a server's turn to stop."""

from __future__ import annotations

import asyncio

import pytest

from cecochat.adapters.embedded.discovery import EmbeddedDiscovery
from cecochat.ports.discovery import Instance
from cecochat.run import turn
from cecochat.run.turn import Turn, taking_turns

AT_ONCE_S = 5.0  # for whom nothing is to be waited for, on whatever machine


def server(name: str) -> Instance:
    return Instance("history", name, "127.0.0.1:1", "http://127.0.0.1:1", "0")


async def live(*names: str) -> EmbeddedDiscovery:
    discovery = EmbeddedDiscovery()
    for name in names:
        await discovery.register(server(name))
    return discovery


async def told(discovery: EmbeddedDiscovery, name: str) -> tuple[Turn, asyncio.Task[None]]:
    """A server that is told to stop, and has done all that it can do at once."""
    own = Turn(discovery, "history", name)
    task = asyncio.create_task(own.come())
    await settled()
    return own, task


async def settled() -> None:
    """Everybody has done what can be done without an event."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
async def test_who_is_the_only_one_to_stop_does_so_at_once(names: tuple[str, ...]) -> None:
    _, coming = await told(await live(*names), "a")
    assert coming.done()


async def test_of_two_that_are_told_at_once_the_second_waits_for_the_end_of_the_first() -> None:
    discovery = await live("a", "b", "canary")
    first, _ = await told(discovery, "a")
    await discovery.deregister(server("a"))
    _, second = await told(discovery, "b")
    assert not second.done(), "both stop at the same time"
    await first.aclose()
    await asyncio.wait_for(second, AT_ONCE_S)


async def test_the_last_one_waits_until_another_one_is_live() -> None:
    discovery = await live("a", "b")
    first, _ = await told(discovery, "a")
    await discovery.deregister(server("a"))
    _, second = await told(discovery, "b")
    await first.aclose()
    await settled()
    assert not second.done(), "nobody is live"
    await discovery.register(server("new"))
    await asyncio.wait_for(second, AT_ONCE_S)


async def test_who_is_told_when_the_other_one_has_stopped_waits_too() -> None:
    """Nomad tells the second one a second after the first, which a connect server stops within."""
    discovery = await live("a", "b")
    async with taking_turns(discovery, "history", "b") as own:
        await settled()
        first, _ = await told(discovery, "a")
        await discovery.deregister(server("a"))
        await first.aclose()
        second = asyncio.create_task(own.come())
        await settled()
        assert not second.done(), "nobody is live"
        await discovery.register(server("new"))
        await asyncio.wait_for(second, AT_ONCE_S)


async def test_who_has_always_been_alone_stops_at_once() -> None:
    discovery = await live("a")
    async with taking_turns(discovery, "history", "a") as own:
        await settled()
        await asyncio.wait_for(own.come(), AT_ONCE_S)


async def test_no_turn_is_waited_for_longer_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn, "WAIT_S", 0.01)
    discovery = await live("a", "b")
    await told(discovery, "a")
    _, second = await told(discovery, "b")
    await asyncio.wait_for(second, AT_ONCE_S)


async def test_a_turn_that_nobody_asked_for_is_passed_on() -> None:
    """As of a server whose start failed."""
    discovery = await live("a", "b")
    await Turn(discovery, "history", "a").aclose()
    _, coming = await told(discovery, "b")
    assert coming.done()


async def test_sets_do_not_wait_for_each_other() -> None:
    discovery = await live("a", "b")
    await told(discovery, "a")
    other = Turn(discovery, "messaging", "m")
    await asyncio.wait_for(other.come(), AT_ONCE_S)
