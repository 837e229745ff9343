"""What people paste works: the examples of the pages, run in order, each page on a fresh server.

In a ```console block a line `$ ...` is a command (`> ...` continues it) and the lines after it are
what it prints, where `...` stands for anything (no lines: whatever it prints). A ```python block is
a program to run, or to save where it begins with `# name.py`. A page's blocks run in one shell.
`<!-- not run: why -->` above a block takes it out; the page's count is in NOT_RUN.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import sample
from typing import NamedTuple

import pytest

from scripts import reference
from tests.support.server import FREE, PORTS, PREFIX, Server

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("observability/*.md")]
    if path.relative_to(ROOT).parts[:2] != ("docs", "adr")
)
DECISIONS = sorted(ROOT.glob("docs/adr/*.md"))
NOT_RUN = {
    "README.md": 1,
    "docs/how-to/ports-hosts-and-data-folders.md": 2,
    "docs/how-to/trace-a-message.md": 2,
}
"""Page -> how many of its examples are marked as not run."""

RUN_WITHIN_S = 240
DEFAULT_FOLDER = ".local/share/cecochat/default"
WRITTEN_ADDRESS = "127.0.0.1:8080"
"""The connect server of the pages: the default. Here it has another port."""
WRITTEN_PORT = 9000
"""The first of the ports that pages start further servers on; here others, too."""

BLOCK = re.compile(
    r"^(?P<mark><!-- not run: .+? -->\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)
COMMAND = re.compile(r"^\$ (.*\n(?:^> .*\n)*)((?:^(?!\$ ).*\n)*)", re.M)
FILE = re.compile(r"`((?:services|tests|protos|scripts|docs|observability)/[\w./-]+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|#)(?P<target>[^)\s#]+)(?:#[^)\s]*)?\)")


class Step(NamedTuple):
    """A command for the shell, and what it prints; None: anything."""

    command: str
    printed: str | None


class Block(NamedTuple):
    """A fenced example of a page."""

    language: str
    body: str
    run: bool


def blocks(text: str) -> list[Block]:
    """The examples: what is written in a language that can be run."""
    found = [Block(m["language"], m["body"], m["mark"] is None) for m in BLOCK.finditer(text)]
    return [block for block in found if block.language in ("console", "python")]


def steps(block: Block) -> Iterator[Step]:
    """The commands of a block."""
    if block.language == "python":
        name = re.match(r"# (\w+\.py)\n", block.body)
        start = f"cat > {name[1]}" if name else "python -"
        yield Step(f"{start} <<'END_OF_EXAMPLE'\n{block.body}END_OF_EXAMPLE", None)
    else:
        for command, printed in COMMAND.findall(block.body):
            yield Step(command.replace("\n> ", "\n").rstrip("\n"), printed or None)


def matches(expected: str, printed: str) -> bool:
    """Whether that was printed, but for what stands as `...`."""
    parts = map(re.escape, expected.strip().split("..."))
    return re.fullmatch(".*".join(parts), printed.strip(), re.S) is not None


def script(todo: list[Step], folder: Path) -> str:
    """Runs the steps in one shell and leaves what each printed in `folder`; ends at a failure."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for number, step in enumerate(todo):
        lines.append(f"{{ {step.command}\n}} >{folder}/{number} 2>&1 </dev/null || exit")
    return "\n".join(lines) + "\n"


def run(text: str, folder: Path, environment: dict[str, str]) -> None:
    """Run the examples of a page."""
    logs = folder / "printed"
    logs.mkdir()
    todo = [step for block in blocks(text) if block.run for step in steps(block)]
    home = Path(environment["HOME"])
    shell = subprocess.Popen(
        ["bash", "-c", script(todo, logs)], cwd=home, env=environment, start_new_session=True
    )
    try:
        code = shell.wait(RUN_WITHIN_S)
    finally:
        os.killpg(shell.pid, signal.SIGKILL) if shell.poll() is None else None
    for number, step in enumerate(todo):
        path = logs / str(number)
        printed = path.read_text(errors="replace") if path.exists() else ""
        if code and not (logs / str(number + 1)).exists():
            pytest.fail(f"exit code {code}:\n$ {step.command}\n{printed}", pytrace=False)
        if step.printed is not None and not matches(step.printed, printed):
            pytest.fail(f"$ {step.command}\n{printed}is not\n{step.printed}", pytrace=False)


def clean_environment(home: Path) -> dict[str, str]:
    """As a newcomer has it: an empty home folder, and this checkout's commands first."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(PREFIX)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    homes = {"DATA": home / ".local/share", "STATE": home / ".local/state"}
    folders = {f"XDG_{kind}_HOME": str(folder) for kind, folder in homes.items()}
    return kept | folders | {"HOME": str(home), "PATH": path, "COLUMNS": "100"}


def free_row() -> int:
    """The first of six ports in a row that nobody has, below those of outgoing connections."""
    for first in sample(FREE[::10], 100):
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + len(PORTS)):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no six free ports in a row")


def text_of(page: Path) -> str:
    return page.read_text()


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.run for b in blocks(p.read_text()))], ids=name
)
async def test_the_examples_of_a_page_work(page: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = clean_environment(home)
    default_folder = home / DEFAULT_FOLDER
    default_folder.parent.mkdir(parents=True)
    default_folder.symlink_to(tmp_path / "server" / "data")
    (home / ".venv").symlink_to(Path(sys.prefix))
    server = Server(tmp_path / "server", environment)
    try:
        await server.start()
        text = text_of(page).replace(WRITTEN_ADDRESS, server.connect_url.removeprefix("http://"))
        text = text.replace(f"--port-base {WRITTEN_PORT}", f"--port-base {free_row()}")
        await asyncio.to_thread(run, text, tmp_path, environment)
    finally:
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
