"""What `scripts/backends` knows of a backend that runs: its signs of life, and its process."""

from __future__ import annotations

import os
import signal
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from scripts.backends import probe, process
from scripts.backends.kinds import KINDS
from scripts.backends.process import Process

# -- Signs of life


@pytest.fixture(params=[b"HTTP/1.1 200 OK\r\n\r\n<html>", b"\0" * 64, b"", b"-LOADING"])
def another(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a program that says the same to everybody, and hangs up."""

    class Says(socketserver.BaseRequestHandler):
        @override
        def handle(self) -> None:
            self.request.recv(1)
            self.request.sendall(request.param)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Says) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", KINDS)
def test_another_program_at_the_port_is_no_backend(name: str, another: int) -> None:
    assert not probe.answered(KINDS[name].answers, "127.0.0.1", another)


# -- Processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


def test_a_process_is_known_by_its_start(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    Process(sleeper.pid, process.began(sleeper.pid)).write(tmp_path / "pid", host="127.0.0.1")
    noted = Process.read(tmp_path / "pid")
    assert noted is not None
    assert noted.alive
    assert noted.memory_bytes > 0
    noted.signal(signal.SIGKILL)
    assert sleeper.wait(30) == -signal.SIGKILL
    assert not noted.alive


def test_another_process_with_the_number_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    another = Process(sleeper.pid, "an earlier time")
    assert not another.alive
    another.signal(signal.SIGKILL)
    os.kill(sleeper.pid, 0)
    assert sleeper.poll() is None


def test_one_that_is_only_not_reaped_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    noted = Process(sleeper.pid, process.began(sleeper.pid))
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not noted.alive


@pytest.mark.parametrize(
    "spoil", [lambda p: p.write_text("{"), lambda p: p.write_text("7"), lambda p: None]
)
def test_a_pid_file_that_says_nothing_names_no_process(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(tmp_path / "pid")
    assert Process.read(tmp_path / "pid") is None
