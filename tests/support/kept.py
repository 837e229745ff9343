"""What is kept of a run, in build/runs/NAME: the history that the checker got and what was found;
of a test that failed, the records of all clients too. The next run of the same test replaces it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from tests.support.records import Record
from tests.support.results import ROOT

RUNS = ROOT / "build" / "runs"
_records: list[Record] = []  # of the test that runs now


def folder() -> Path:
    """Of the test that runs now, or of a program that is none."""
    test, _, _ = os.environ.get("PYTEST_CURRENT_TEST", "run (call)").rpartition(" ")
    name = re.sub(r"[^\w.\[\]-]+", "-", test.removeprefix("tests/").replace(".py::", "-"))
    found = RUNS / name
    found.mkdir(parents=True, exist_ok=True)
    return found


def watch(record: Record) -> None:
    """Should this test fail, `record` is to be kept."""
    if not _records:
        for old in folder().iterdir():
            old.unlink()
    if not any(record is each for each in _records):
        _records.append(record)


def write(name: str, lines: Iterable[object]) -> Path:
    """A text file; an empty one says that there was nothing to say."""
    file = folder() / name
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def failed() -> str:
    """The test that runs now has failed: where its records are, or nothing where it had none."""
    for number, record in enumerate(_records):
        write(f"record-{number}.txt", record.dump().splitlines())
    return f"the records of its clients are in {folder()}" if _records else ""


def over() -> None:
    """The test is over."""
    _records.clear()
