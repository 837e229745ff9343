"""README's picture is of a real run: the script that made it still makes it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest

from scripts import picture
from tests.support.backends import Backends

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawn: str) -> list[str]:
    root: Element = fromstring(drawn)  # noqa: S314
    assert root.tag == f"{SVG}svg"
    assert not list(root.iter(f"{SVG}script"))
    return [each.text or "" for each in root.iter(f"{SVG}text")]


def shows_the_story(drawn: str) -> None:
    dead, again = " ".join(texts(drawn)).split("2. It runs again")
    assert "A cake, please.   …" in dead
    assert "1 waiting to be sent" in dead
    assert "Killed" in dead
    assert "A cake, please.   ✓✓ read" in again
    assert "bob with alice: connected" in again


def test_the_picture_of_the_readme_shows_the_story() -> None:
    shows_the_story((picture.ROOT / picture.PICTURE).read_text())
    assert picture.PICTURE in (picture.ROOT / "README.md").read_text()


@pytest.mark.timeout(420)
async def test_the_picture_can_be_made_again(tmp_path: Path, backends: Backends) -> None:
    backends.program("tmux")
    file = tmp_path / "picture.svg"
    await asyncio.to_thread(picture.main, file)
    shows_the_story(await asyncio.to_thread(file.read_text))


def test_a_terminal_is_drawn_as_it_is_shown() -> None:
    shown = "\x1b[90m11:49\x1b[39m  \x1b[1m\x1b[32mbob:\x1b[0m a <b>\n\x1b[0;7m bar \x1b[0m"
    first, second = picture.runs(shown)
    assert [(run.column, run.text, run.look.colour, run.look.bold) for run in first] == [
        (0, "11:49", 90, False),
        (5, "  ", 0, False),
        (7, "bob:", 32, True),
        (11, " a <b>", 0, False),
    ]
    assert [(run.text, run.look.reverse) for run in second] == [(" bar ", True)]
    drawn, _ = picture.terminal("title", shown, 2)
    assert "a &lt;b&gt;" in drawn
