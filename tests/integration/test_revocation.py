"""Tokens that are revoked: no door opens, streams end within two seconds, and nothing brings them
back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from cecochat.auth.minting import mint
from cecochat.auth.tokens import Verifier
from cecochat.client import CaughtUp, Client, Reconnecting, Refused, connect
from cecochat.documents.revocations import deciding, until_now_ms
from cecochat.domain.cluster.revocations import Revocation, Revocations
from cecochat.domain.errors import Refusal
from cecochat.domain.moderation.rules import Rules
from cecochat.ports.configuration import REVOCATIONS, Configuration
from cecochat.servers.history.main import history
from cecochat.v1.history_pb2 import GetChatsRequest
from cecochat.v1.messaging_pb2 import ClientFrame
from tests.integration import streams
from tests.integration.cluster import SECRET, Faults, cluster
from tests.integration.streams import Stream
from tests.integration.systems import Running, running, write_document
from tests.support import operators
from tests.support.eventually import eventually
from tests.support.hostile import ask, bearer, channel, metric, minted

pytestmark = pytest.mark.usefixtures("over_each")
GET_CHATS = "/cecochat.v1.History/GetChats"
IN_EFFECT_WITHIN_S = 10.0  # on whatever machine; 2 s are promised, and measured in tests/faults


async def revoke(configuration: Configuration, user: str, sid: str = "", age_s: float = 0) -> float:
    """Bar what was issued before now, or before `age_s` ago. When it was stored, in s."""
    wanted = Revocation(user, sid, until_now_ms() - int(age_s * 1_000))
    await configuration.change(REVOCATIONS, await deciding(configuration, wanted), by="test")
    return time.monotonic()


def token(system: Running, user: str, **claims: Any) -> str:
    """Issued now, unless the claims say otherwise."""
    secret = system.addresses.token_secret_file
    assert secret
    return minted(secret, sub=user, **({"iat": time.time()} | claims))


async def code_of_lookup(system: Running, held: str) -> str:
    async with httpx.AsyncClient() as client:
        head = {"authorization": f"Bearer {held}"}
        answer = await client.get(f"{system.addresses.connect}/v1/connect", headers=head)
    if answer.is_success:
        return "OK"
    error = answer.json()["error"]
    assert answer.status_code == 401
    assert not error["retriable"]
    assert answer.headers["www-authenticate"] == "Bearer"
    return str(error["code"]).upper()


async def code_of_query(system: Running, held: str) -> str:
    request = GetChatsRequest().SerializeToString()
    async with channel(system.addresses.history) as made:
        answer = await ask(made, GET_CHATS, bearer(held), request)
    return answer.code if answer.error else "OK"


async def code_of_stream(system: Running, held: str) -> str:
    try:
        async with streams.caught_up(system.where, held):
            return "OK"
    except streams.Ended as ended:
        return ended.code


async def judge_doors(system: Running, held: str, code: str) -> None:
    """All three answer alike."""
    assert await code_of_lookup(system, held) == code
    assert await code_of_query(system, held) == code
    refused = await streams.refused(system.where, held) if code != "OK" else None
    assert (refused.code if refused else await code_of_stream(system, held)) == code


async def judge_end(stream: Stream, since_s: float) -> None:
    ended = await stream.ended()
    took_s = time.monotonic() - since_s
    assert ended.code == "TOKEN_REVOKED"
    assert not ended.error.retriable
    assert took_s < IN_EFFECT_WITHIN_S, f"it took {took_s:.2f} s"


async def followed(system: Running, since_s: float) -> None:
    """Every server has what is stored, in time."""
    version = (await system.configuration.get(REVOCATIONS)).version

    async def all_do() -> bool:
        urls = [system.addresses.health[name] for name in ("messaging", "history", "connect")]
        return all([await metric(url, "cecochat_revocations_version") == version for url in urls])

    await eventually(all_do)
    took_s = time.monotonic() - since_s
    assert took_s < IN_EFFECT_WITHIN_S, f"it took {took_s:.2f} s"


@asynccontextmanager
async def opened(system: Running, *held: str) -> AsyncIterator[list[Stream]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(streams.caught_up(system.where, each)) for each in held
        ]


async def test_a_user_s_tokens_open_no_door_any_more(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        old, bob = token(system, "alice"), token(system, "bob")
        async with opened(system, old, old, bob) as (phone, web, other):
            since_s = await revoke(system.configuration, "alice")
            await judge_end(phone, since_s)
            await judge_end(web, since_s)
            await followed(system, since_s)
            await judge_doors(system, old, "TOKEN_REVOKED")
            await other.send(streams.message("m", "d:alice~bob"))  # nobody else is touched
            await other.until_acks(1)
            await judge_doors(system, token(system, "alice"), "OK")
        ends = await metric(system.addresses.health["messaging"], "cecochat_disconnects_total")
        assert ends == 2


async def test_one_login_of_several(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        lost, kept = token(system, "alice", sid="phone"), token(system, "alice", sid="web")
        namesake = token(system, "bob", sid="phone")
        async with opened(system, lost, kept, namesake) as (phone, web, other):
            since_s = await revoke(system.configuration, "alice", "phone")
            await judge_end(phone, since_s)
            await followed(system, since_s)
            await judge_doors(system, lost, "TOKEN_REVOKED")
            for stream in (web, other):
                await stream.send(streams.message("m", "d:alice~bob"))
                await stream.until_acks(1)
            await judge_doors(system, token(system, "alice"), "OK")


async def test_what_was_issued_later_holds(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        old = token(system, "alice", iat=time.time() - 600)
        new = token(system, "alice", iat=time.time() - 200)
        nameless = token(system, "alice", iat=None)
        async with opened(system, old, new) as (first, second):
            since_s = await revoke(system.configuration, "alice", age_s=300)
            await judge_end(first, since_s)
            await followed(system, since_s)
            await judge_doors(system, new, "OK")
            await second.send(streams.message("m", "d:alice~bob"))
            await second.until_acks(1)
            await judge_doors(system, nameless, "TOKEN_REVOKED")  # it may be as old


async def test_everyone_and_a_renewal_with_a_revoked_token(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        old, bob = token(system, "alice"), token(system, "bob")
        async with opened(system, old, bob) as (alice, other):
            since_s = await revoke(system.configuration, "")
            await judge_end(alice, since_s)
            await judge_end(other, since_s)
        fresh = token(system, "alice")
        async with opened(system, fresh) as (stream,):
            await stream.write(ClientFrame(renewed_token=old))
            assert (await stream.ended()).code == "TOKEN_REVOKED"


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        old = token(system, "alice")
        await revoke(system.configuration, "alice")
    async with running(tmp_path) as system:
        await judge_doors(system, old, "TOKEN_REVOKED")
        await judge_doors(system, token(system, "alice"), "OK")


async def test_a_document_that_is_none_frees_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as system:
        old = token(system, "alice")
        async with opened(system, old) as (stream,):
            since_s = await revoke(system.configuration, "alice")
            await judge_end(stream, since_s)
            await followed(system, since_s)
        with caplog.at_level(logging.ERROR):
            await write_document(system.configuration, REVOCATIONS, {"users": {"alice": "never"}})
            await eventually(lambda: sum("is not followed" in m for m in caplog.messages) >= 3)
        await judge_doors(system, old, "TOKEN_REVOKED")
        address = system.addresses.health["history"]
        assert await metric(address, "cecochat_revocations_refused_total") == 1
        await system.configure({"tokens.lifetime": 60})  # nor is that, and no reason to wait
        bob = token(system, "bob")
        async with opened(system, bob) as (stream,):  # the next one mends it
            since_s = await revoke(system.configuration, "bob")
            await judge_end(stream, since_s)
            await followed(system, since_s)
        await judge_doors(system, old, "TOKEN_REVOKED")


@pytest.mark.parametrize(("lifetime_s", "code"), [(59, "OK"), (120, "UNAUTHENTICATED")])
async def test_no_token_outlives_a_revocation(tmp_path: Path, lifetime_s: int, code: str) -> None:
    """It is kept as long as a token may live, so a longer one would come back to life."""
    async with running(tmp_path, {"tokens.lifetime_max_s": 60}) as system:
        for iat in (time.time(), None):
            held = token(system, "alice", iat=iat, exp=time.time() + lifetime_s)
            await judge_doors(system, held, code)


REQUESTS: dict[str, tuple[Mapping[str, Any], int]] = {
    "nobody": ({}, 400),
    "two": ({"user": "alice", "everyone": True}, 400),
    "a name that is none": ({"user": "al ice"}, 400),
    "a number": ({"user": 5}, 400),
    "a typo": ({"user": "alice", "sids": "phone"}, 400),
    "two, one an app": ({"app": "shop", "user": "shop/alice"}, 400),
    "no app": ({"app": "shop"}, 400),
    "sid of everyone": ({"everyone": True, "sid": "phone"}, 400),
    "a sid of a list": ({"user": "alice", "sid": ["phone"]}, 400),
    "a word": ({"user": "alice", "before_ms": "now"}, 400),
    "the future": ({"user": "alice", "before_ms": 10**15}, 400),
    "a long time": ({"user": "alice", "before_ms": 10**400}, 400),
}


async def test_the_back_end_revokes_over_http(tmp_path: Path) -> None:
    async with running(tmp_path) as system, operators.client() as client:
        url = f"{system.addresses.health['history']}/revocations"
        for name, (body, status) in REQUESTS.items():
            answer = await client.post(url, json=body)
            assert answer.status_code == status, (name, answer.text)
            assert answer.json()["error"]["code"] == "invalid_argument"
        assert (await client.post(url, content='{"user": "alice"}')).status_code == 400
        assert (await system.configuration.get(REVOCATIONS)).version == 0
        old = token(system, "alice", sid="phone")
        async with opened(system, old) as (alice,):
            since_s = time.monotonic()
            answer = await client.post(url, json={"user": "alice", "sid": "phone"})
            assert answer.status_code == 200, answer.text
            assert answer.json() | {"before_ms": 0} == {
                "user": "alice", "sid": "phone", "app": "", "before_ms": 0, "version": 1
            }  # fmt: skip
            await judge_end(alice, since_s)


# -- the Python client


class Minting:
    """What a back end answers the application: tokens, and how often it was asked."""

    def __init__(self, system: Running) -> None:
        self._system = system
        self.given: list[str] = []
        self.same = ""

    async def __call__(self) -> str:
        self.given.append(self.same or token(self._system, "alice"))
        return self.given[-1]


async def until(client: Client, kind: type[Any]) -> Any:
    async with asyncio.timeout(20):
        async for event in client:
            if isinstance(event, kind):
                return event
    raise AssertionError("it ended")


async def test_a_client_comes_back_with_another_token(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        asked = Minting(system)
        async with connect(system.addresses.connect, asked) as alice:
            await until(alice, CaughtUp)
            await revoke(system.configuration, "alice")
            assert (await until(alice, Reconnecting)).error.code == "token_revoked"
            await until(alice, CaughtUp)
            await alice.send("bob", "I have logged in again")
        assert len(set(asked.given)) == len(asked.given) >= 2


async def test_a_client_never_comes_back_with_the_same_token(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        address = system.addresses.health["messaging"]
        for given in ("one", "from a back end that keeps it"):
            asked = Minting(system)
            asked.same = token(system, "alice")
            async with connect(
                system.addresses.connect, asked.same if given == "one" else asked
            ) as (alice):
                await until(alice, CaughtUp)
                streams_before = await metric(address, "cecochat_streams_total")
                await revoke(system.configuration, "alice")
                with pytest.raises(Refused, match="revoked") as refused:
                    await until(alice, CaughtUp)
                assert refused.value.code == "token_revoked"
                with pytest.raises(Refused, match="revoked"):
                    await alice.send("bob", "too late")
            # The one that was ended; no other was opened with that token.
            assert await metric(address, "cecochat_streams_total") == streams_before + 1
            assert len(asked.given) <= 2


async def test_a_server_that_does_not_know_what_is_revoked_lets_nobody_in(tmp_path: Path) -> None:
    """Its store does not answer while it starts."""
    async with cluster(tmp_path, materializes=False) as made:
        faults = Faults()
        faults.watching.clear()
        live = partial(made.parts.discovery.live, "history")
        before = live()
        stop = asyncio.Event()

        async def serve() -> None:
            async with history(made.parts_with(faults), "history-2"):
                await stop.wait()

        serving = asyncio.create_task(serve())
        await asyncio.sleep(1)  # the time is the subject: all others are up in less
        assert live() == before
        faults.watching.set()
        await eventually(lambda: len(live()) == len(before) + 1)
        stop.set()
        await serving


def test_a_verifier_of_a_server_is_closed_until_it_is_told() -> None:
    verifier = Verifier(secret=SECRET).counted(CollectorRegistry())
    held = mint(SECRET, "alice", 60)
    with pytest.raises(Refusal, match="does not know yet") as refused:
        verifier.verify(held)
    assert refused.value.name == "unavailable"
    verifier.revoke(Revocations())
    with pytest.raises(Refusal, match="does not know yet"):
        verifier.verify(held)
    verifier.moderate(Rules())
    verifier.know({})
    assert verifier.verify(held).user_id == "alice"


async def test_a_full_document_is_followed_and_refuses_one_more(tmp_path: Path) -> None:
    """As large as it can get: on every server within the same two seconds."""
    async with running(tmp_path) as system:
        now_ms = int(time.time() * 1_000)
        names = [f"user-{number}-{'x' * 40}" for number in range(4_999)]
        await write_document(
            system.configuration, REVOCATIONS, {"users": dict.fromkeys(names, now_ms)}
        )
        old, bob = token(system, "alice"), token(system, "bob")
        async with opened(system, old) as (alice,), operators.client() as client:
            since_s = await revoke(system.configuration, "alice")
            await judge_end(alice, since_s)
            await followed(system, since_s)
            stored = await system.configuration.get(REVOCATIONS)
            print(f"{len(json.dumps(stored.value))} bytes")
            url = f"{system.addresses.health['history']}/revocations"
            answer = await client.post(url, json={"user": "bob"})
            assert answer.status_code == 413
            assert "tokens.lifetime_max_s" in answer.json()["error"]["message"]
        await judge_doors(system, bob, "OK")
