"""A signal to `.ci/run` ends what it has started: the tests, and the backends."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from scripts.backends.process import Process, began
from tests.support.eventually import eventually

RUN = Path(__file__).parents[2] / ".ci" / "run"
DEBIAN_HAS_ALL = "#!/bin/sh\necho installed\n"
DOES_NOTHING = "#!/bin/sh\n"
MAKE = """\
#!/bin/sh
case "$*" in
test)
    echo "$CECOCHAT_BACKENDS" >"$NOTES/required"
    [ -z "$FAILS" ] || exit 3
    sleep 600 &
    echo "$$ $!" >"$NOTES/pids.new"
    mv "$NOTES/pids.new" "$NOTES/pids"
    wait ;;
*backends-down*) echo "$XDG_STATE_HOME" >"$NOTES/down" ;;
esac
"""


def programs(folder: Path) -> Path:
    """In the place of those that bring, build and test: a test that does not end."""
    folder.mkdir()
    for name, text in {"dpkg-query": DEBIAN_HAS_ALL, "python3": DOES_NOTHING, "make": MAKE}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


async def started(folder: Path, fails: str = "") -> asyncio.subprocess.Process:
    path = f"{programs(folder / 'bin')}:{os.environ['PATH']}"
    (folder / "state").mkdir()
    notes = {"NOTES": str(folder), "TMPDIR": str(folder / "state"), "FAILS": fails}
    return await asyncio.create_subprocess_exec(
        *("bash", RUN), stdout=asyncio.subprocess.DEVNULL, env=os.environ | notes | {"PATH": path}
    )


def backends_are_down(folder: Path) -> bool:
    """Its own, of which it has noted where they are."""
    return Path((folder / "down").read_text().strip()).parent == folder / "state"


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_the_tests_and_the_backends(
    tmp_path: Path, number: signal.Signals
) -> None:
    ci = await started(tmp_path)
    await eventually((tmp_path / "pids").exists)
    pids = map(int, (tmp_path / "pids").read_text().split())
    tests = [Process(pid, began(pid)) for pid in pids]
    assert all(each.alive for each in tests)
    ci.send_signal(number)
    async with asyncio.timeout(30):
        assert await ci.wait() == 128 + number
    assert not any(each.alive for each in tests)
    assert backends_are_down(tmp_path)


async def test_it_fails_as_the_tests_do(tmp_path: Path) -> None:
    ci = await started(tmp_path, fails="yes")
    async with asyncio.timeout(30):
        assert await ci.wait() == 3
    assert "kafka" in (tmp_path / "required").read_text()
    assert backends_are_down(tmp_path)
