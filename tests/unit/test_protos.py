"""The contracts: generated code as `protos/` gives it, and no change that breaks others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.protos import BASELINE, INTERNAL, PACKAGES, PROTOS, PUBLIC, SOURCES, buf, generate


def generated(sources: Path) -> dict[str, bytes]:
    """Path below `sources` -> content of everything that `generate` writes."""
    return {
        path.relative_to(sources).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in (sources / package).glob("*_pb2*")
    }


def breaks(protos: Path) -> str:
    """What `buf breaking` says against the released baseline; empty: nothing breaks."""
    result = buf("breaking", protos, "--against", BASELINE)
    assert result.returncode in (0, 100), result.stderr
    return result.stdout


def test_the_committed_code_is_what_the_protos_give(tmp_path: Path) -> None:
    generate(tmp_path)
    committed, fresh = generated(SOURCES), generated(tmp_path)
    assert committed.keys() == fresh.keys(), "run `make protos` and commit what it writes"
    assert [name for name in fresh if committed[name] != fresh[name]] == [], "run `make protos`"


def test_the_protos_are_well_formed() -> None:
    result = buf("lint", PROTOS)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_protos_break_nothing_that_was_released() -> None:
    assert breaks(PROTOS) == ""


Change = Callable[[str], str]


def replaced(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert text.count(old) == 1, f"{old!r} is not in the proto once: pick another line"
        return text.replace(old, new)

    return change


FIELD = "string client_message_id = 4;"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(replaced(FIELD, ""), 'field "4"', id="a field removed"),
        pytest.param(replaced(FIELD, FIELD.replace("4", "40")), 'field "4"', id="renumbered"),
        pytest.param(replaced(FIELD, FIELD.replace("string", "bytes")), "type", id="another type"),
        pytest.param(replaced(FIELD, FIELD.replace("client_", "")), "name", id="renamed"),
        pytest.param(replaced("Presence presence = 17;", ""), 'field "17"', id="out of a oneof"),
        pytest.param(
            replaced("message Typing {\n  bool active = 1;\n}", "message Typing {}"),
            'field "1"',
            id="a message emptied",
        ),
    ],
)
def test_a_breaking_change_is_refused(tmp_path: Path, change: Change, told: str) -> None:
    protos = shutil.copytree(PROTOS, tmp_path / "protos")
    events = protos / PUBLIC / "events.proto"
    events.write_text(change(events.read_text()))
    said = breaks(protos)
    assert "events.proto" in said
    assert told in said


def test_what_servers_ask_each_other_is_held_to_the_same(tmp_path: Path) -> None:
    protos = shutil.copytree(PROTOS, tmp_path / "protos")
    internal = protos / INTERNAL / "internal.proto"
    internal.write_text(replaced("uint64 rows_written = 1;", "")(internal.read_text()))
    assert "internal.proto" in breaks(protos)


def test_an_addition_is_not_refused(tmp_path: Path) -> None:
    protos = shutil.copytree(PROTOS, tmp_path / "protos")
    events = protos / PUBLIC / "events.proto"
    events.write_text(replaced(FIELD, f"{FIELD}\n  string added = 999;")(events.read_text()))
    assert breaks(protos) == ""
