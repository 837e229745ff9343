"""`cecochat moderate` on a running system, and what an erasure leaves of reports and blocks."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager

from cecochat.auth.minting import mint
from cecochat.client import History, open_history
from tests.support.commands import rows, run
from tests.support.left import places_of
from tests.support.server import Server

SAID = "gentlemen never forward this"


def history_of(server: Server, user: str) -> AbstractAsyncContextManager[History]:
    secret = server.secret_file.read_bytes()
    return open_history(str(server.ready["connect"]), mint(secret, user, 600))


async def reported(server: Server) -> tuple[str, str]:
    """A message of eve that alice reports, and eve herself."""
    out, _ = await run(server, "send", "--as", "eve", "alice", "buy my pills\nnow")
    async with history_of(server, "alice") as alice:
        of_message = await alice.report("eve", int(out), "spam", SAID)
        return of_message, await alice.report_user("eve", "rude")


async def test_a_moderator_works_off_the_queue(server: Server) -> None:
    first, second = await reported(server)
    out, _ = await run(server, "moderate", "reports")
    assert f"{first}  20" in out
    assert "alice reports eve in d:alice~eve, message " in out
    assert f"alice says: {SAID}\n" in out
    assert "eve wrote: buy my pills\n        now\n" in out
    assert "alice reports eve: rude\n" in out
    page, err = await run(server, "moderate", "reports", "--limit", "1", "--json")
    assert json.loads(page)["id"] == first
    assert f"add --after {first}" in err
    (rest,) = await rows(server, "moderate", "reports", "--after", first, "--json")
    assert rest["id"] == second

    out, _ = await run(server, "moderate", "take", first, "--by", "mia")
    assert "taken by mia" in out
    _, err = await run(server, "moderate", "take", first, "--by", "mo", code=4)
    assert "mia has taken" in err
    out, _ = await run(server, "moderate", "decide", first, "warned", "--by", "mo", "--over")
    assert "warned, by mo" in out
    _, err = await run(server, "moderate", "decide", first, "Too Bad", code=2)
    assert "decision is 'Too Bad'" in err
    _, err = await run(server, "moderate", "take", "nothing", code=2)
    assert "there is no report 'nothing'" in err
    acts = await rows(server, "moderate", "log", "--json")
    assert [(each["by"], each["what"], each["via"]) for each in acts] == [
        ("mo", "decide", "operator"),
        ("mia", "take", "operator"),
    ]
    out, _ = await run(server, "moderate", "log")
    assert "decide: warned" in out
    out, _ = await run(server, "moderate", "reports", "--state", "taken")
    assert "no report that is taken" in out


async def test_an_erased_reporter_leaves_only_ids(server: Server) -> None:
    first, _ = await reported(server)
    async with history_of(server, "alice") as alice, history_of(server, "bob") as bob:
        await alice.block("eve")
        await bob.block("alice")
    assert places_of([SAID.encode()], server.data) == [], "what reporters say is sealed"
    out, _ = await run(server, "erase", "alice", "--yes", "--json")
    report = json.loads(out)
    assert (report["report_texts_removed"], report["blocks_removed"]) == (1, 1)
    out, _ = await run(server, "erase", "alice", "--yes")
    assert "0 texts of their reports and 0 blocks of theirs removed" in out
    (left,) = [
        each for each in await rows(server, "moderate", "reports", "--json") if each["id"] == first
    ]
    assert (left["text"], left["reporter_id"], left["reason"]) == ("", "alice", "spam")
    assert left["message"]["message"]["text"] == "buy my pills\nnow", "others' texts stay"


async def test_an_erased_author_is_not_shown(server: Server) -> None:
    first, _ = await reported(server)
    await run(server, "erase", "eve", "--yes")

    out, _ = await run(server, "moderate", "take", first)
    assert "eve wrote: (erased)" in out
