"""What reaches a terminal of what others have written."""

from __future__ import annotations

import ast
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cecochat.domain.printable import as_json, beginning, printable

STEERS = {
    *map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)),  # C0, DEL, C1
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # bidirectional
    *"\u2028\u2029\ufeff\u200b\u2060",  # line separators, invisible ones
}  # fmt: skip
EVERYTHING = "".join(map(chr, range(sys.maxunicode + 1)))
FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"


def test_nothing_that_steers_is_left() -> None:
    for made in (printable(EVERYTHING), as_json(EVERYTHING)):
        assert not STEERS - set("\n\t") & set(made)
        assert not [c for c in set(made) if unicodedata.category(c) in ("Cc", "Cs") and c > "\n"]
    assert "\n" not in as_json(EVERYTHING)


def test_what_people_write_stays() -> None:
    for text in ("Grüße, 你好, שלום, नमस्ते", FAMILY, "two\nlines\tand a tab"):
        assert printable(text) == text
    assert as_json(FAMILY) == f'"{FAMILY}"'
    assert as_json("Grüße") == '"Grüße"'


THUMB = "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}"
FLAG = "\N{REGIONAL INDICATOR SYMBOL LETTER F}\N{REGIONAL INDICATOR SYMBOL LETTER I}"
HEART = "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"


@pytest.mark.parametrize("sign", ["🙂", FAMILY, THUMB, FLAG, HEART, "e\N{COMBINING ACUTE ACCENT}"])
def test_a_text_is_not_cut_within_a_sign(sign: str) -> None:
    for length in range(1, 3 * len(sign) + 4):
        made = beginning(f"ab {sign * 3}", length)
        assert made == "ab "[:length] + sign * ((length - 3) // len(sign))


@given(st.text(), st.integers(1, 60))
@example("\N{COMBINING ACUTE ACCENT}" * 9, 5)
def test_a_beginning_is_one_of_at_most_that_length(text: str, length: int) -> None:
    made = beginning(text, length)
    assert text.startswith(made)
    assert bool(made) is bool(text)
    assert len(made) <= length


@given(st.text())
@example("\x7f\x9b31m\u202e")
def test_a_program_gets_the_very_text(text: str) -> None:
    assert json.loads(as_json({text: [text, 1.5, None]})) == {text: [text, 1.5, None]}


def test_escapes_are_those_of_json() -> None:
    assert as_json("\x7f\x9b\u202e\U000e0041") == r'"\u007f\u009b\u202e\udb40\udc41"'


PRINTS = {"output.py", "failure.py"}  # what others have written goes through these
KNOWS = {"up.py", "main.py", "trace.py", "auditing.py", "edge.py"}  # these take care themselves


def test_commands_print_through_what_makes_it_safe() -> None:
    folder = Path(__file__).parents[2] / "services" / "cecochat" / "cli"
    found = {path.name for path in folder.rglob("*.py") if prints(path.read_text())}
    assert found == PRINTS | KNOWS


def prints(source: str) -> bool:
    calls = (each.func for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Call))
    return not {ast.unparse(call) for call in calls}.isdisjoint(
        ("print", "typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write")
    )
