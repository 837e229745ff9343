"""Who may give orders to the stack of a machine."""

from __future__ import annotations

import httpx
import pytest
from typing_extensions import override

from cecochat.adapters.local.deployment import LocalDeployment
from cecochat.domain.errors import Unavailable
from cecochat.ports.deployment import Limits, ServerSet
from cecochat.ports.discovery import Service
from cecochat.run import stack
from cecochat.settings.settings import Settings


class One(stack.Stack):
    """Runs as many as it is told to."""

    def __init__(self) -> None:
        self.count = 1

    @override
    def state(self, service: Service) -> ServerSet:
        return ServerSet(self.count, Limits(1, 8), ())

    @override
    def scale(self, service: Service, count: int, reason: str) -> None:
        self.count = count


async def test_orders_are_taken_from_who_knows_the_secret() -> None:
    servers = One()
    async with stack.serving(servers) as address:
        local = LocalDeployment(address)
        await local.scale("messaging", 3, "a test")
        assert (await local.state("messaging")).wanted == servers.count == 3
        await local.aclose()


@pytest.mark.parametrize("secret", ["none", "wrong/é"])
async def test_nobody_else_gives_orders_or_is_told_the_secret(secret: str) -> None:
    servers = One()
    async with stack.serving(servers) as address, httpx.AsyncClient(trust_env=False) as client:
        where, _, right = address.partition("/")
        headers = {b"Authorization": f"Bearer {secret}".encode()}
        body = {"count": 5, "reason": "none"}
        for path in ("sets/messaging", "sets/nothing", "x"):
            answer = await client.put(f"http://{where}/{path}", json=body, headers=headers)
            assert answer.status_code == 401
            assert right not in answer.text
        stranger = LocalDeployment(f"{where}/wrong")
        with pytest.raises(Unavailable):
            await stranger.scale("messaging", 5, "none")
        await stranger.aclose()
    assert servers.count == 1


async def test_a_set_that_is_none_is_not_found() -> None:
    async with stack.serving(One()) as address, httpx.AsyncClient(trust_env=False) as client:
        where, _, secret = address.partition("/")
        headers = {"Authorization": f"Bearer {secret}"}
        answer = await client.get(f"http://{where}/sets/nothing", headers=headers)
        assert answer.status_code == 404


def test_settings_do_not_show_it() -> None:
    assert "the-secret" not in repr(Settings(stack="127.0.0.1:1/the-secret"))
