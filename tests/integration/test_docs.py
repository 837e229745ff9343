"""What people paste works: the examples of the pages, each page on a fresh server.

How they are written: tests/support/examples.py. A page's count of those that are not run is in
NOT_RUN.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from random import sample

import pytest

from scripts import reference
from tests.support.backends import Backends
from tests.support.edge import free_address
from tests.support.examples import blocks, clean_environment, matches, run
from tests.support.server import FREE, PORTS, Server

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for folder in ("", "conformance/", "docs/**/", "observability/")
    for path in ROOT.glob(f"{folder}*.md")
    if path.relative_to(ROOT).parts[:2] != ("docs", "adr")
)
DECISIONS = sorted(ROOT.glob("docs/adr/*.md"))
NOT_RUN = {
    "README.md": 1,
    "docs/how-to/ask-before-a-message-is-accepted.md": 1,
    "docs/how-to/ports-hosts-and-data-folders.md": 2,
    "docs/how-to/trace-a-message.md": 2,
    "docs/tutorials/a-bot.md": 1,
    "docs/tutorials/a-web-page.md": 1,
}
"""Page -> how many of its examples are marked as not run."""

ON_MACHINES = ROOT / "docs" / "tutorials" / "cluster.md"
"""Its examples need several: tests/cluster/test_tutorial.py runs them."""

TUTORIALS = [ROOT / "docs" / "tutorials" / name for name in ("first-chat.md", "a-bot.md")]
"""In their order, as README lists them."""

PROOF = ROOT / "docs" / "explanation" / "proof.md"
"""Its examples run tests, in this checkout: tests/faults/test_proof.py runs them."""

A_BACKEND = ROOT / "docs" / "how-to" / "add-a-backend.md"
"""Its examples add a folder to a checkout: tests/integration/test_add_a_backend.py runs them."""

PRODUCTION = ROOT / "docs" / "how-to" / "run-one-process-in-production.md"
"""Its examples need an edge and keys: tests/integration/test_production.py runs them."""

IN_A_CONTAINER = ROOT / "docs" / "how-to" / "run-in-a-container.md"
"""Its examples need an engine: tests/integration/test_container_page.py runs them."""

WEB_PAGE = ROOT / "docs" / "tutorials" / "a-web-page.md"
"""Its examples need npm and a browser: tests/integration/test_web_page_tutorial.py runs them."""

SHOP = ROOT / "docs" / "tutorials" / "a-shop.md"
"""The same: tests/integration/test_shop_tutorial.py runs them, after those of that page."""

DEFAULT_FOLDER = ".local/share/cecochat/default"
ELSEWHERE = (ON_MACHINES, PROOF, A_BACKEND, PRODUCTION, IN_A_CONTAINER, WEB_PAGE, SHOP)
PROGRAMS = {"curl ": "curl", "openssl ": "openssl", "cecochat edge ": "haproxy"}
"""What an example holds -> the program that it needs."""

WRITTEN_ADDRESS = "127.0.0.1:8080"
"""The connect server of the pages: the default. Here it has another port."""
WRITTEN_PORT = 9000
"""The first of the ports that pages start further servers on; here others, too."""
WRITTEN_EDGE = "127.0.0.1:8443"
"""Where pages put an edge; here, too, somewhere else."""

FILE = re.compile(r"`((?:services|tests|protos|scripts|docs|observability)/[\w./-]+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|#)(?P<target>[^)\s#]+)(?:#[^)\s]*)?\)")


def free_row() -> int:
    """The first of eight ports in a row that nobody has, below those of outgoing connections."""
    for first in sample(FREE[::10], 100):
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + len(PORTS)):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no eight free ports in a row")


def text_of(page: Path) -> str:
    return page.read_text()


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p not in ELSEWHERE and any(b.run for b in blocks(text_of(p)))],
    ids=name,
)
async def test_the_examples_of_a_page_work(page: Path, tmp_path: Path, backends: Backends) -> None:
    for word, program in PROGRAMS.items():
        if any(b.run and word in b.body for b in blocks(text_of(page))):
            backends.program(program)
    home = tmp_path / "home"
    environment = clean_environment(home)
    default_folder = home / DEFAULT_FOLDER
    default_folder.parent.mkdir(parents=True)
    default_folder.symlink_to(tmp_path / "server" / "data")
    (home / ".venv").symlink_to(Path(sys.prefix))
    server = Server(tmp_path / "server", environment)
    try:
        await server.start()
        await asyncio.to_thread(run, here(text_of(page), server), tmp_path, environment)
    finally:
        await server.release()


def here(text: str, server: Server) -> str:
    """A page with the addresses that are free here, for those that it names."""
    first = free_row()
    text = text.replace(WRITTEN_ADDRESS, server.connect_url.removeprefix("http://"))
    text = text.replace(f"--port-base {WRITTEN_PORT}", f"--port-base {first}")
    text = text.replace(f"127.0.0.1:{WRITTEN_PORT}", f"127.0.0.1:{first}")
    return text.replace(WRITTEN_EDGE, free_address())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("others", [0, 1])
async def test_the_tutorials_work_in_order_while_other_systems_run(
    others: int, tmp_path: Path
) -> None:
    """README's `make up` has not been stopped; and once more with a further system."""
    home = tmp_path / "home"
    environment = clean_environment(home)
    home.mkdir()
    (home / ".venv").symlink_to(Path(sys.prefix))
    servers = [Server(tmp_path / f"server-{number}", environment) for number in range(1 + others)]
    try:
        for server in servers:
            await server.start()
        text = "".join(text_of(page) for page in TUTORIALS)
        await asyncio.to_thread(run, here(text, servers[0]), tmp_path, environment)
    finally:
        for server in servers:
            await server.release()


def test_no_example_is_left_out_unseen() -> None:
    left_out = {name(page): sum(not b.run for b in blocks(text_of(page))) for page in PAGES}
    assert {page: count for page, count in left_out.items() if count} == NOT_RUN


@pytest.mark.parametrize("path", reference.pages())
def test_the_reference_says_what_the_code_says(path: str) -> None:
    assert (ROOT / path).read_text() == reference.pages()[path], "run `make reference`"


def test_links_lead_somewhere() -> None:
    broken = [
        (name(page), target)
        for page in [*PAGES, *DECISIONS]
        for target in LINK.findall(text_of(page))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_files_that_are_named_exist() -> None:
    missing = [
        (name(page), path)
        for page in [*PAGES, *DECISIONS]
        for path in FILE.findall(text_of(page))
        if not (ROOT / path).exists()
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("one\n", "one\n", True),
        ("one\n", "two\n", False),
        ("a ... d\n", "a b c d\n", True),
        ("first\n...\nlast\n", "first\nx\ny\nlast\n", True),
    ],
)
def test_what_a_command_prints_is_compared(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same


def test_a_failing_example_fails(tmp_path: Path) -> None:
    page = "```console\n$ echo fine\nfine\n$ false\n$ echo not reached\nnot reached\n```\n"
    with pytest.raises(pytest.fail.Exception, match="exit code 1"):
        run(page, tmp_path, clean_environment(tmp_path))
