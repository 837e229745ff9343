"""`cecochat where` as a person types it, against a real `cecochat up`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from cecochat.auth.minting import mint
from cecochat.client import CaughtUp, connect
from cecochat.v1.messaging_pb2 import ClientFrame, Hello
from tests.integration import streams
from tests.support.commands import run
from tests.support.server import Server

STEPS = ["accepted", "acknowledged", "forwarded", "delivered", "materialized"]


def token(server: Server, user: str) -> str:
    return mint(server.secret_file.read_bytes(), user, 600)


async def sent(server: Server, text: str = "See you at eight.") -> str:
    out, _ = await run(server, "send", "--as", "alice", "bob", text)
    return out.strip()


async def found(server: Server, *words: str) -> dict[str, Any]:
    out, _ = await run(server, "where", *words, "--json")
    answer: dict[str, Any] = json.loads(out)
    return answer


async def until_materialized(server: Server, id_: str) -> None:
    async with asyncio.timeout(30):
        while (await found(server, id_))["steps"][-1]["state"] != "done":
            pass  # it takes a while to ask


async def test_where_says_what_a_message_waits_for_until_it_has_arrived(server: Server) -> None:
    id_ = await sent(server)
    await until_materialized(server, id_)
    out, _ = await run(server, "where", id_)
    lines = out.splitlines()
    assert lines[0] == "message of alice to bob, in d:alice~bob"
    assert [line.split()[1] for line in lines[1:-1]] == STEPS
    assert [line.split()[0] for line in lines[1:-1]] == ["✓", "✓", "✓", "…", "✓"]
    assert "by messaging-" in lines[1]
    assert lines[-1] == "it is on its way; next: delivered to bob"
    assert "See you" not in out
    async with connect(server.connect_url, token(server, "bob")) as bob:
        async for event in bob:
            if isinstance(event, CaughtUp):
                break
        later = await sent(server, "Are you there?")
        await until_materialized(server, later)
        answer = await found(server, later)
        assert (answer["state"], answer["waits_for"]) == ("arrived", [])
        assert answer["message_id"] == later
    assert (await run(server, "where", later))[0].endswith("next: delivered to bob\n")


async def test_where_for_a_participant_and_for_nobody_else(server: Server) -> None:
    id_ = await sent(server)
    await until_materialized(server, id_)
    mine = await found(server, id_, "--as", "bob")
    assert [step["name"] for step in mine["steps"]] == STEPS
    assert mine["steps"][0]["at_ms"] == (await found(server, id_))["steps"][0]["at_ms"]
    out, _ = await run(server, "where", id_, "--as", "alice", "--token", token(server, "alice"))
    assert out.endswith("it is on its way; next: delivered to bob\n")
    out, _ = await run(server, "where", id_, more={"CECOCHAT_TOKEN": token(server, "carol")})
    assert out.startswith("message of alice"), "who is on call has a token for other commands"
    _, err = await run(server, "where", id_, "--as", "carol", code=4)
    assert f"no message {id_} of yours" in err


async def test_where_there_is_nothing(server: Server) -> None:
    id_ = await sent(server)
    out, _ = await run(server, "where", str(int(id_) + 1), code=1)
    assert out.startswith("there is no such message")
    _, err = await run(server, "where", str(1 << 63), code=2)
    assert "not a message id of this log" in err
    _, err = await run(server, "where", id_, "--server", server.connect_url, code=1)
    assert "no history server" in err
    _, err = await run(server, "where", id_, "--server", "http://127.0.0.1:1", code=1)
    assert "no history server answers" in err
    await server.kill()
    _, err = await run(server, "where", id_, code=1)
    assert "no history server answers" in err


async def test_a_device_that_names_itself_so_does_not_steer_the_terminal(server: Server) -> None:
    async with streams.opened(server.ready["messaging"], token(server, "bob")) as bob:
        await bob.write(ClientFrame(hello=Hello(device="\x1b[2Jphone")))
        await bob.until("caught_up")
        out, _ = await run(server, "where", await sent(server))
        assert "phone) has it" in out
        assert "\x1b" not in out
