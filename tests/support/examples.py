"""The examples of a page of documentation, run in order.

In a ```console block a line `$ ...` is a command (`> ...` continues it) and the lines after it are
what it prints, where `...` stands for anything (no lines: whatever it prints). A ```python block is
a program to run, or to save where it begins with `# name.py`, as an ```html block is that begins
with `<!-- name.html -->`. A page's blocks run in one shell.
`<!-- not run: why -->` above a block takes it out.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.server import PREFIX

RUN_WITHIN_S = 240.0

BLOCK = re.compile(
    r"^(?P<mark><!-- not run: .+? -->\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)
COMMAND = re.compile(r"^\$ (.*\n(?:^> .*\n)*)((?:^(?!\$ ).*\n)*)", re.M)


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
    return [block for block in found if block.language in ("console", "python", "html")]


def file_of(block: Block) -> str:
    """The name of the file that a block is to be saved as; empty if it is none."""
    name = re.match(r"(?:#|<!--) (\w+\.\w+)( -->)?\n", block.body)
    return name[1] if name else ""


def steps(block: Block) -> Iterator[Step]:
    """The commands of a block."""
    if block.language != "console":
        name = file_of(block)
        start = f"cat > {name}" if name else "python -"
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


def run(
    text: str,
    folder: Path,
    environment: dict[str, str],
    within_s: float = RUN_WITHIN_S,
    where: Path | None = None,
) -> None:
    """Run the examples of a page, in the folder `where`, or else in that environment's home. Fails
    the test.
    """
    logs = folder / "printed"
    logs.mkdir()
    todo = [step for block in blocks(text) if block.run for step in steps(block)]
    shell = subprocess.Popen(
        ["bash", "-c", script(todo, logs)],
        cwd=where or environment["HOME"],
        env=environment,
        start_new_session=True,
    )
    try:
        code = shell.wait(within_s)
    finally:
        os.killpg(shell.pid, signal.SIGKILL) if shell.poll() is None else None
    for number, step in enumerate(todo):
        path = logs / str(number)
        printed = path.read_text(errors="replace") if path.exists() else ""
        printed = printed.replace("\r", "")  # of a terminal
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
