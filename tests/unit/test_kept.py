"""A test that fails leaves the records of its clients behind; one that passes does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import kept
from tests.support.records import Record

pytest_plugins = ["pytester"]
OPTIONS = ("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
RECORDED = """
from tests.support import kept
from tests.support.records import Acked, DeviceKey, Record

def record():
    record = Record()
    kept.watch(record)
    record.add(DeviceKey("alice", "phone"), 1, Acked("a1", 101, 6))
"""
TEST = """
import pytest
from recorded import record

def test_good():
    record()

@pytest.mark.parametrize("what", ["lost"])
def test_bad(what):
    record()
    assert not what

def test_bad_without_clients():
    raise AssertionError
"""


def test_a_failed_test_keeps_what_its_clients_recorded(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "RUNS", tmp_path / "runs")
    pytester.makeconftest("from tests.conftest import pytest_runtest_makereport")
    pytester.makepyfile(recorded=RECORDED, test_it=TEST)
    found = pytester.runpytest_inprocess(*OPTIONS)
    found.assert_outcomes(passed=1, failed=2)
    files = {file.relative_to(tmp_path / "runs") for file in (tmp_path / "runs").rglob("*.txt")}
    assert files == {Path("test_it-test_bad[lost]/record-0.txt")}
    (line,) = (tmp_path / "runs" / files.pop()).read_text().splitlines()
    assert line.endswith(
        "alice/phone#1 Acked(client_message_id='a1', message_id=101, offset=6, clock_ms=0,"
        " home=None)"
    )
    found.stdout.fnmatch_lines(["*the records of its clients are in *test_bad[[]lost]"])


def test_the_next_run_of_a_test_takes_the_place_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "RUNS", tmp_path)
    old = kept.write("record-0.txt", ["old"])
    assert old.read_text() == "old\n"
    kept.over()
    kept.watch(Record())
    assert not old.exists()
