"""Commands ask servers as operators: with the secret of the cluster, or with a token of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.commands import run
from tests.support.server import Server, started


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """As a newcomer starts it: the secret is drawn in the data folder."""
    async with started(Server(tmp_path / "up", {"CECOCHAT_CLUSTER_SECRET_FILE": ""})) as server:
        yield server


async def token(server: Server, *words: str) -> str:
    out, _ = await run(server, "token", "--operator", "anna", *words)
    return out.strip()


async def sent(server: Server) -> str:
    """The id of a message."""
    out, _ = await run(server, "send", "--as", "alice", "bob", "hello")
    return out.strip()


async def test_a_newcomer_has_nothing_to_configure(server: Server) -> None:
    secret = server.folder / "data" / "cluster-secret"
    assert server.ready["cluster_secret_file"] == str(secret)
    assert secret.stat().st_mode & 0o777 == 0o600
    out, _ = await run(server, "holes", "list")
    assert out.startswith("there is no hole")
    await run(server, "dead", "list")
    await run(server, "audit")
    await run(server, "where", await sent(server))
    assert " at 127.0.0.1: GET /letters: 200" in server.said, "who has looked is logged by `up` too"


async def test_a_program_is_given_a_token_for_what_it_needs(server: Server) -> None:
    held = await token(server, "--scope", "read", "--scope", "metrics", "--lifetime", "90d")
    headers = {"authorization": f"Bearer {held}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=30) as client:
        for url in server.ready["health"].values():
            for path in ("metrics", "documents"):
                assert (await client.get(f"{url}/{path}")).is_success
        answer = await client.get(f"{server.ready['health']['history']}/letters")
        assert answer.status_code == 403
    scrape = (server.folder / "state" / "cecochat" / "metrics-token").read_text()
    headers = {"authorization": f"Bearer {scrape}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=30) as client:
        url = server.ready["health"]["connect"]
        codes = [
            (await client.get(f"{url}/{path}")).status_code for path in ("metrics", "documents")
        ]
    assert codes == [200, 403]


async def test_who_has_no_secret_asks_with_a_token_of_the_environment(
    server: Server, tmp_path: Path
) -> None:
    url = server.ready["health"]["history"]
    elsewhere = {"XDG_STATE_HOME": str(tmp_path / "no"), "XDG_DATA_HOME": str(tmp_path / "no")}
    words = ("where", await sent(server), "--server", url)
    _, err = await run(server, *words, code=2, more=elsewhere)
    assert "CECOCHAT_CLUSTER_SECRET_FILE" in err
    assert "CECOCHAT_OPERATOR_TOKEN" in err
    given = elsewhere | {"CECOCHAT_OPERATOR_TOKEN": await token(server)}
    await run(server, *words, more=given)
    given["CECOCHAT_OPERATOR_TOKEN"] = await token(server, "--scope", "read")
    _, err = await run(server, *words, code=4, more=given)
    assert "--scope people" in err


async def test_another_secret_is_refused_with_what_to_look_at(
    server: Server, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("x" * 64)
    other.chmod(0o600)
    more = {"CECOCHAT_CLUSTER_SECRET_FILE": str(other)}
    for words in (("where", "1"), ("holes", "list"), ("audit",)):
        _, err = await run(server, *words, code=4, more=more)
        assert "CECOCHAT_CLUSTER_SECRET_FILE" in err, words
    other.write_text("short")
    _, err = await run(server, "where", "1", code=2, more=more)
    assert "32 random" in err


async def test_what_makes_no_token_says_why(server: Server) -> None:
    for words, why in {
        ("token",): "name either a user, or an operator",
        ("token", "alice", "--operator", "anna"): "name either a user, or an operator",
        ("token", "alice", "--scope", "read"): "add --operator",
        ("token", "--operator", "anna", "--scope", "all"): "use one of metrics, read",
        ("token", "--operator", "anna", "--secret-file", "/nowhere"): "is not at /nowhere",
    }.items():
        _, err = await run(server, *words, code=2)
        assert why in err
