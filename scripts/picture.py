"""Make README's picture: two people chat while their server is killed and started again.

python -m scripts.picture [FILE]    takes 15 seconds, and needs tmux

What it shows is what happened: the script types into three terminals, those of Alice, Bob and the
server, and draws them twice: while the server is dead, and once it runs again.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from scripts.backends import ports

PICTURE = "docs/tutorials/pictures/chat-over-a-killed-server.svg"
ROOT = Path(__file__).resolve().parent.parent
COLUMNS, ROWS, SERVER_ROWS = 60, 7, 7
WITHIN_S = 90.0
PORTS = (
    "MESSAGING HISTORY MESSAGING_HEALTH MATERIALIZE_HEALTH HISTORY_HEALTH CONTROL CONNECT_HEALTH"
)

ALICE, BOB, SERVER = "alice", "bob", "server"
TITLES = {ALICE: "Alice’s terminal", BOB: "Bob’s terminal", SERVER: "The server’s terminal"}  # noqa: RUF001
START = "cecochat up --data chat > log &"


# -- what happens


class Terminals:
    """Three terminals of one tmux, which nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self._socket = f"cecochat-picture-{os.getpid()}"
        self._folder = folder
        self._port = _free_port()  # of the connect server, which keeps it when it starts again

    def open(self, name: str, rows: int) -> None:
        """Open a terminal with a shell that says nothing of this machine."""
        shell = ["env", "PS1=$ ", "bash", "--norc", "--noprofile", "-i"]
        size = ["-x", str(COLUMNS), "-y", str(rows)]
        self._tmux("new-session", "-d", "-s", name, *size, "-c", str(self._folder), *shell)
        self._tmux("set-option", "-t", name, "status", "off")
        self.until(name, "$")

    def write(self, name: str, text: str) -> None:
        """Type a line."""
        self._tmux("send-keys", "-t", name, "-l", text)
        self._tmux("send-keys", "-t", name, "Enter")

    def until(self, name: str, text: str) -> None:
        """Wait until a terminal shows a text."""
        _wait(lambda: text in self._tmux("capture-pane", "-p", "-t", name), f"{text!r} of {name}")

    def start(self) -> None:
        """Start the server, and wait until it says that it is ready."""
        log = self._folder / "log"
        log.unlink(missing_ok=True)  # an earlier start has said so, too
        self.write(SERVER, START)
        _wait(lambda: log.exists() and "is ready" in log.read_text(), "the server")

    def shown(self, name: str) -> str:
        """Return what a terminal shows, with its colours."""
        return self._tmux("capture-pane", "-e", "-p", "-t", name)

    def close(self) -> None:
        """End tmux, and with it what runs in its terminals."""
        self._tmux("kill-server")

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self._socket, "-f", "/dev/null", *words]
        done = subprocess.run(
            command, env=self._environment(), check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """As after README's first commands, but with folders and ports that nobody else uses."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("CECOCHAT_", "TMUX"))}
        ports = {f"CECOCHAT_{name}_PORT": "0" for name in PORTS.split()}
        ports["CECOCHAT_CONNECT_PORT"] = str(self._port)
        homes = {f"XDG_{kind}_HOME": str(self._folder / kind.lower()) for kind in ("DATA", "STATE")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, **ports, **homes, "PATH": path, "LC_ALL": "C.UTF-8"}


def _free_port() -> int:
    """Return one below those that the kernel gives to connections that go out, which could take it
    before the server does.
    """
    candidates = iter(lambda: random.randrange(10_000, 32_000), None)  # noqa: S311
    return next(port for port in candidates if not ports.taken("127.0.0.1", port))


def _wait(came: Callable[[], bool], what: str) -> None:
    give_up_s = time.monotonic() + WITHIN_S
    while not came():
        if time.monotonic() > give_up_s:
            raise SystemExit(f"waited {WITHIN_S:g} s for {what}")
        time.sleep(0.05)


def play(terminals: Terminals) -> Iterator[tuple[str, dict[str, str]]]:
    """Chat, kill the server and start it again. Yield two scenes: their title, what was shown."""
    terminals.open(SERVER, SERVER_ROWS)
    terminals.start()
    for name, other in ((ALICE, BOB), (BOB, ALICE)):
        terminals.open(name, ROWS)
        terminals.write(name, f"clear; cecochat chat --as {name} {other}")
        terminals.until(name, "connected")
    terminals.write(BOB, "Are you coming at eight?")
    terminals.until(BOB, "✓✓ read")
    terminals.write(ALICE, "Yes! Shall I bring anything?")
    terminals.until(ALICE, "✓✓ read")
    terminals.write(SERVER, "kill -9 %1; wait")
    terminals.until(SERVER, "Killed")
    terminals.write(BOB, "A cake, please.")
    terminals.until(BOB, "1 waiting")
    for name in (ALICE, BOB):
        terminals.until(name, "reconnecting")
    yield "The server is dead", {name: terminals.shown(name) for name in TITLES}
    terminals.start()
    terminals.until(ALICE, "A cake, please.")
    terminals.until(BOB, "A cake, please.  ✓✓ read")
    terminals.write(ALICE, "It is in the oven.")
    terminals.until(BOB, "It is in the oven.")
    terminals.until(ALICE, "It is in the oven.  ✓✓ read")
    yield "It runs again, and nothing is missing", {n: terminals.shown(n) for n in TITLES}


# -- what a terminal shows, as SVG

CELL_W, CELL_H = 7.6, 18
PAD, BAR, GAP = 14, 28, 18
COLOURS = {
    30: "#1c2028", 31: "#ff7b72", 32: "#56d364", 33: "#e3b341", 34: "#79c0ff", 35: "#d2a8ff",
    36: "#39c5cf", 37: "#d5dae3", 90: "#7d8590", 91: "#ffa198", 92: "#56d364", 93: "#e3b341",
    94: "#79c0ff", 95: "#d2a8ff", 96: "#56d4dd", 97: "#ffffff",
}  # fmt: skip
TEXT, PAPER = "#d5dae3", "#161a21"
SGR = re.compile(r"\x1b\[([\d;]*)m")
STYLE = (
    "text { font: 12.6px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', "
    "monospace; white-space: pre } "
    ".t { font: 600 12px system-ui, sans-serif; fill: #9aa3b2 } "
    ".h { font: 600 15px system-ui, sans-serif; fill: #6b7280 }"
)


@dataclass(frozen=True)
class Look:
    """How a run of characters is drawn."""

    colour: int = 0
    bold: bool = False
    reverse: bool = False

    def after(self, code: int) -> Look:
        """Return the look after one code of an escape sequence."""
        if code == 0:
            return Look()
        if code in COLOURS or code == 39:
            return Look(0 if code == 39 else code, self.bold, self.reverse)
        if code in (1, 22):
            return Look(self.colour, code == 1, self.reverse)
        if code in (7, 27):
            return Look(self.colour, self.bold, code == 7)
        return self


class Run(NamedTuple):
    """Characters of one look in one row."""

    column: int
    text: str
    look: Look


def runs(shown: str) -> Iterator[list[Run]]:
    """Yield the rows of a terminal."""
    look = Look()
    for row in shown.split("\n"):
        found, column = [], 0
        for number, part in enumerate(SGR.split(row)):
            if number % 2:
                for code in part.split(";"):
                    look = look.after(int(code or 0))
            elif part:
                found.append(Run(column, part, look))
                column += len(part)
        yield found


def terminal(title: str, shown: str, rows: int) -> tuple[str, float]:
    """Return a terminal as SVG, at the origin, and its height."""
    width, height = COLUMNS * CELL_W + 2 * PAD, BAR + rows * CELL_H + PAD
    parts = [
        f'<rect width="{width:g}" height="{height:g}" rx="9" fill="{PAPER}"/>',
        *(f'<circle cx="{18 + 16 * n}" cy="15" r="4.5" fill="#3a414d"/>' for n in range(3)),
        f'<text class="t" x="{width / 2:g}" y="19" text-anchor="middle">{escape(title)}</text>',
    ]
    for number, row in enumerate(runs(shown)):
        for run in row:
            parts += _run(run, BAR + (number + 1) * CELL_H - 4)
    return "\n".join(parts), height


def _run(run: Run, y: float) -> Iterator[str]:
    text = run.text.rstrip() if not run.look.reverse else run.text
    if not text:
        return
    x, width = PAD + run.column * CELL_W, len(text) * CELL_W
    ink = COLOURS.get(run.look.colour, TEXT)
    if run.look.reverse:
        yield f'<rect x="{x:g}" y="{y - 14:g}" width="{width:g}" height="{CELL_H}" fill="#9aa3b2"/>'
        ink = PAPER
    bold = ' font-weight="700"' if run.look.bold else ""
    yield (
        f'<text x="{x:g}" y="{y:g}" textLength="{width:g}" lengthAdjust="spacingAndGlyphs" '
        f'fill="{ink}"{bold} xml:space="preserve">{escape(text)}</text>'
    )


def picture(scenes: list[tuple[str, dict[str, str]]]) -> str:
    """Return the scenes side by side, as an SVG file."""
    width, heights, parts = COLUMNS * CELL_W + 2 * PAD, [0.0], list[str]()
    for number, (title, shown) in enumerate(scenes):
        x, y = number * (width + GAP), 0.0
        parts.append(f'<text class="h" x="{x + 4:g}" y="16">{number + 1}. {escape(title)}</text>')
        y += GAP + 10
        for name, said in shown.items():
            drawn, height = terminal(TITLES[name], said, SERVER_ROWS if name == SERVER else ROWS)
            parts.append(f'<g transform="translate({x:g} {y:g})">\n{drawn}\n</g>')
            y += height + GAP
        heights.append(y - GAP)
    whole = len(scenes) * (width + GAP) - GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole:g} {max(heights):g}">\n'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def main(file: Path) -> None:
    """Play, draw, and write the file."""
    with tempfile.TemporaryDirectory(prefix="cecochat-picture-") as folder:
        terminals = Terminals(Path(folder))
        try:
            scenes = list(play(terminals))
        finally:
            terminals.close()
    file.write_text(picture(scenes), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / PICTURE)
