"""The command line as a person types it, against a real `cecochat up`."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from cecochat.adapters import build
from cecochat.client import Mention, connect
from cecochat.ports.configuration import CONFIGURATION
from cecochat.settings.settings import load
from tests.support.commands import WITHIN_S, first_lines, rows, run, start, until_history_grows
from tests.support.rawclient import mint
from tests.support.server import Server, free_ports

pytestmark = pytest.mark.usefixtures("interruptible")

# -- up


async def test_up_says_where_it_is_on_one_line_and_remembers_it(server: Server) -> None:
    assert server.ready["started_in_s"] > 0
    assert set(server.ready["health"]) == {
        "connect",
        "messaging",
        "history",
        "materialize",
        "hooks",
    }
    (noted,) = (server.folder / "state" / "cecochat" / "systems").iterdir()
    remembered = json.loads(noted.read_text())
    assert set(remembered.pop("backends").values()) == {"", "cecochat"}
    assert remembered.pop("traces") == {"otlp_url": "", "jaeger_url": ""}
    assert remembered == server.ready
    assert await server.terminate() == 0


async def test_a_person_is_told_how_to_chat_and_that_it_is_for_development(tmp_path: Path) -> None:
    server = Server(tmp_path)
    process = await start(server, "up", "--data", str(tmp_path / "data"), **server.ports)
    assert process.stdout
    said = ""
    async with asyncio.timeout(WITHIN_S):
        while "chat --as bob alice" not in said:
            line = await process.stdout.readline()
            assert line, "it ended before it was ready"
            said += line.decode()
    process.send_signal(signal.SIGINT)
    rest, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert str(tmp_path / "data") in said
    assert "not for production" in said
    assert "chat --as alice bob" in said
    assert "Stopped" in rest.decode()


async def test_a_busy_port_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        data = str(tmp_path / "data")
        _, err = await run(server, "up", "--data", data, "--port-base", port, code=2)
        # and of those after it what others use just now
        assert re.search(rf"ports? {port}[ ,].*(is|are) in use: stop what uses it, or give", err)


async def test_where_the_default_ports_are_busy_others_are_taken(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            busy.bind(("127.0.0.1", 8080))
            busy.listen()
        except OSError:
            pass  # somebody else has it: busy all the same
        process = await start(server, "up", "--json", "--data", str(tmp_path / "data"))
        assert process.stdout
        async with asyncio.timeout(WITHIN_S):
            ready = json.loads(await process.stdout.readline())
        process.terminate()
        _, err = await process.communicate()
    assert not ready["connect"].endswith(":8080")
    assert "8080" in err.decode()


async def test_behind_an_edge_no_other_ports_are_taken(tmp_path: Path) -> None:
    """The edge would lead clients, with their tokens, to whoever has the default ones."""
    server, edge = Server(tmp_path), {"CECOCHAT_EDGE": "127.0.0.1:8443"}
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else has it: busy all the same
            busy.bind(("127.0.0.1", 8080))
            busy.listen()
        _, err = await run(server, "up", "--data", str(tmp_path / "data"), code=2, more=edge)
    assert "the edge does not look there" in err


async def test_ports_in_a_settings_file_are_those_that_are_taken(tmp_path: Path) -> None:
    server, file = Server(tmp_path), tmp_path / "settings.env"
    file.write_text("".join(f"{name}={port}\n" for name, port in server.ports.items()))
    words = ("up", "--json", "--data", str(tmp_path / "data"), "--settings", str(file))
    process = await start(server, *words)
    assert process.stdout
    async with asyncio.timeout(WITHIN_S):
        ready = json.loads(await process.stdout.readline())
    process.terminate()
    await process.communicate()
    assert ready["connect"].endswith(f":{server.ports['CECOCHAT_CONNECT_PORT']}")


async def test_a_data_folder_in_use_is_named_with_the_process(server: Server) -> None:
    data = server.ready["data"]
    _, err = await run(server, "up", "--data", data, code=1, more=free_ports())
    assert data in err
    assert str(server.pid) in err


# -- messages


async def test_what_is_sent_is_in_history_chats_and_export(server: Server) -> None:
    out, _ = await run(server, "send", "--as", "alice", "bob", "See you at eight.")
    sent = out.strip()
    assert sent.isdecimal()
    await until_history_grows(server, 1)
    [row] = await rows(server, "history", "--as", "bob", "alice", "--json")
    assert (row["id"], row["from"], row["to"], row["text"]) == (
        sent, "alice", "bob", "See you at eight.",
    )  # fmt: skip
    [chat] = await rows(server, "chats", "--as", "bob", "--json")
    assert (chat["chat_id"], chat["unread_count"]) == ("d:alice~bob", 1)
    assert chat["unread_mention_count"] == 0
    assert "  1 unread  " in (await run(server, "chats", "--as", "bob"))[0]
    assert await rows(server, "export", "--as", "alice") == [row]
    out, _ = await run(server, "history", "--as", "bob", "alice")
    assert out.endswith("alice  See you at eight.\n")


async def test_what_was_said_is_found_by_its_words(server: Server) -> None:
    async with connect(server.connect_url, mint(server.secret_file, "alice")) as alice:
        said = [await alice.send(to, f"Pancake\nfor {to}") for to in ("bob", "carol")]
        assert len((await alice.search("pancake")).messages) == 2
    found = await rows(server, "search", "--as", "alice", "--json", "FOR", "pan")
    assert [row["id"] for row in found] == [f"{each}" for each in said]
    out, _ = await run(server, "search", "--as", "alice", "--limit", "1", "pancake")
    head = out.partition("Pancake")[0]
    assert head.endswith("  carol  alice: ")
    assert out == f"{head}Pancake\n{' ' * len(head)}for carol\n"
    out, _ = await run(server, "search", "--as", "alice", "--chat", "bob", "pancake")
    assert "for bob" in out
    assert "carol" not in out
    out, err = await run(server, "search", "--as", "bob", "carol")
    assert (out, err) == ("", "Nothing was found.\n")


async def test_chats_say_where_somebody_is_mentioned(server: Server) -> None:
    async with connect(server.connect_url, mint(server.secret_file, "alice")) as alice:
        await alice.send("bob", "@bob", mentions=[Mention("bob", 0, 4)])
    await until_history_grows(server, 1)
    [chat] = await rows(server, "chats", "--as", "bob", "--json")
    assert (chat["unread_count"], chat["unread_mention_count"]) == (1, 1)
    out, _ = await run(server, "chats", "--as", "bob")
    assert "  1 unread @  alice: @bob" in out


async def test_lines_of_standard_input_are_sent_in_order(server: Server) -> None:
    texts = first_lines(200)
    out, _ = await run(server, "send", "--as", "alice", "bob", "-", given="\n".join(texts))
    ids = [int(line) for line in out.split()]
    assert len(ids) == 200
    assert ids == sorted(set(ids))
    await until_history_grows(server, 200)
    got = await rows(server, "history", "--as", "alice", "bob", "--limit", "200", "--json")
    assert [row["text"] for row in got] == [text.rstrip("\r") for text in texts]
    page = ("history", "--as", "alice", "bob", "--limit", "10", "--before", str(ids[50]), "--json")
    assert [int(row["id"]) for row in await rows(server, *page)] == ids[40:50]


async def test_refusals_have_codes_and_say_what_to_do(server: Server) -> None:
    _, err = await run(server, "send", "--as", "alice", "bob", "x" * 20_000, code=4)
    assert "too_large" in err
    _, err = await run(server, "send", "--as", "a b", "bob", "hi", code=4)
    assert "is no user id" in err
    _, err = await run(server, "send", "--as", "alice", "bob", "-", given="caf\udce9", code=2)
    assert "not UTF-8" in err
    _, err = await run(server, "history", "--token", "nonsense", "bob", code=4)
    assert "get a new token" in err
    _, err = await run(server, "history", "bob", code=2)
    assert "--as" in err
    nowhere = f"http://127.0.0.1:{free_ports()['CECOCHAT_CONNECT_PORT']}"
    _, err = await run(server, "connect", "--connect", nowhere, "--token", "t", code=3)
    assert nowhere in err
    _, err = await run(server, "no-such-command", code=2)
    await server.kill()
    _, err = await run(server, "chats", "--as", "alice", code=3)
    assert f"cecochat up --data {server.ready['data']}" in err


async def test_a_token_is_who_it_says(server: Server) -> None:
    out, _ = await run(server, "token", "alice", "--lifetime", "5m")
    token = out.strip()
    [route] = await rows(server, "connect", "--token", token, "--json")
    assert route["user_id"] == "alice"
    mine = {
        "CECOCHAT_CONNECT_URL": server.connect_url,
        "CECOCHAT_TOKEN": token,
        "XDG_STATE_HOME": str(server.folder / "elsewhere"),
    }
    out, _ = await run(server, "connect", more=mine)
    assert "alice" in out
    _, err = await run(server, "connect", "--as", "bob", code=2, more=mine)
    assert "for alice, not for bob" in err


# -- configuration and doctor


async def test_configuration_is_changed_seen_and_checked(server: Server) -> None:
    out, _ = await run(server, "config", "get", "text.max_bytes")
    assert out.strip() == "16384"
    await run(server, "config", "set", "text.max_bytes", "100")
    out, _ = await run(server, "config", "get", "text.max_bytes")
    assert out.strip() == "100"
    async with asyncio.timeout(WITHIN_S):  # the server follows
        while await exit_code(server, "send", "--as", "alice", "bob", "x" * 200) != 4:
            pass
    await run(server, "config", "unset", "text.max_bytes")
    past = await rows(server, "config", "history", "--json")
    assert [row["value"].get("text.max_bytes") for row in past[:2]] == [None, 100]
    _, err = await run(server, "config", "set", "text.max_byte", "100", code=2)
    assert "did you mean text.max_bytes" in err
    _, err = await run(server, "config", "set", "text.max_bytes", "-1", code=2)
    assert "1 to 32768 bytes" in err


async def test_an_app_has_values_of_its_own(server: Server) -> None:
    change = ("config", "set", "app.shop.text.max_bytes", "100")
    _, err = await run(server, *change, code=2)
    assert "there is no app 'shop'" in err
    await run(server, "apps", "add", "shop")
    out, _ = await run(server, *change)
    assert "app.shop.text.max_bytes is 100" in out
    for key, value in (("app.shop.text.max_bytes", "100"), ("text.max_bytes", "16384")):
        out, _ = await run(server, "config", "get", key)
        assert out.strip() == value
    out, _ = await run(server, "config", "get")
    assert "* app.shop.text.max_bytes    100" in out
    _, err = await run(server, "config", "set", "app.shop.log.level", "debug", code=2)
    assert "cannot be set for an app" in err
    await run(server, "config", "unset", "app.shop.text.max_bytes")
    out, _ = await run(server, "config", "get", "app.shop.text.max_bytes")
    assert out.strip() == "16384"


async def test_a_key_that_only_another_version_knows_can_be_removed(server: Server) -> None:
    """As after a rollback: until then the document as a whole is refused."""
    settings = load({"CECOCHAT_DATA_DIR": server.ready["data"]})
    async with build.configuration(settings) as configuration:
        await configuration.change(CONFIGURATION, lambda old: {**old, "new.key": 1}, by="test")
    _, err = await run(server, "config", "set", "text.max_bytes", "100", code=2)
    assert "'new.key' is no configuration key" in err
    out, _ = await run(server, "config", "unset", "new.key")
    assert "new.key is removed as of version 2" in out
    await run(server, "config", "set", "text.max_bytes", "100")
    _, err = await run(server, "config", "unset", "new.key", code=2)
    assert "there is no configuration key 'new.key'" in err


async def test_a_data_folder_in_the_environment_is_not_that_of_the_last_up(
    server: Server, tmp_path: Path
) -> None:
    """Otherwise a command would change the configuration of another system than the one named."""
    elsewhere = {"CECOCHAT_DATA_DIR": str(tmp_path / "elsewhere")}
    change = ("config", "set", "text.max_bytes", "100")
    _, err = await run(server, *change, code=2, more=elsewhere)
    assert f"there is no data folder {tmp_path / 'elsewhere'}" in err
    await run(server, *change, more={"CECOCHAT_DATA_DIR": server.ready["data"]})


async def exit_code(server: Server, *words: str) -> int | None:
    process = await start(server, *words)
    await process.communicate()
    return process.returncode


async def test_two_keys_changed_at_once_both_stand(server: Server) -> None:
    await asyncio.gather(
        *(
            run(server, "config", "set", *pair)
            for pair in (("sends.burst", "77"), ("queue.max_bytes", "999999"))
        )
    )
    [now] = await rows(server, "config", "get", "--json")
    assert now["value"]["sends.burst"] == 77
    assert now["value"]["queue.max_bytes"] == 999_999


async def test_watch_prints_a_change_as_it_happens(server: Server) -> None:
    watching = await start(server, "config", "watch")
    assert watching.stdout
    async with asyncio.timeout(WITHIN_S):
        await watching.stdout.readline()
        await run(server, "config", "set", "sends.burst", "88")
        assert b"sends.burst = 88" in await watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    await watching.communicate()
    assert watching.returncode == 130


async def test_the_doctor_finds_what_is_wrong(server: Server) -> None:
    found = {row["check"]: row["result"] for row in await rows(server, "doctor", "--json")}
    assert "wrong" not in found.values()
    assert {"python", "data folder", "file system", "fsync", "clock", "last up"} <= found.keys()
    await server.kill()
    out, _ = await run(server, "doctor", code=1)
    assert "WRONG  last up" in out
    assert f"cecochat up --data {server.ready['data']}" in out
