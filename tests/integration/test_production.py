"""One process in production: what the units of `systemd/` start, and the examples of its page.

Without systemd, the test starts what a unit's ExecStart says, with only the environment that the
unit gives it, and with folders and ports of the test's own.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest

from tests.support.backends import Backends
from tests.support.certificates import certificates
from tests.support.edge import free_address
from tests.support.examples import blocks, clean_environment, run
from tests.support.server import free_ports

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
PAGE = ROOT / "docs" / "how-to" / "run-one-process-in-production.md"
TOKENS = ROOT / "docs" / "how-to" / "tokens.md"
BIN = Path(sys.executable).parent
READY_S = 60.0


def unit(name: str, key: str) -> list[str]:
    lines = (UNITS / name).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


class Machine:
    """Where the paths of the units and of the page are, for a test."""

    def __init__(self, folder: Path) -> None:
        self._ports = free_ports()
        self.edge = free_address()
        self.root, self.home = folder / "root", folder / "home"
        for path in ("etc/cecochat", "var/lib/cecochat", "var/backups/cecochat"):
            (self.root / path).mkdir(parents=True)
        self.home.mkdir()
        self.etc, self.backups = self.root / "etc/cecochat", self.root / "var/backups/cecochat"

    def here(self, text: str) -> str:
        """Rewrite the paths, ports and names of a unit or of the page."""
        text = text.replace("runuser -u cecochat -- ", "")
        text = text.replace("/opt/cecochat/bin", str(BIN)).replace(
            "chat.example.com:443", self.edge
        )
        text = text.replace(
            "http://127.0.0.1:8083", f"http://127.0.0.1:{self.port('MESSAGING_HEALTH')}"
        )
        return re.sub(
            r"(?<![\w/.])/(etc/cecochat|var/(?:lib|backups)/cecochat)", rf"{self.root}/\1", text
        )

    def port(self, name: str) -> str:
        return self._ports[f"CECOCHAT_{name}_PORT"]

    def install(self) -> None:
        """Do what step 1 and 2 of the page say."""
        settings = self.here((UNITS / "cecochat.env").read_text())
        ports = "".join(f"{name}={port}\n" for name, port in self._ports.items())
        (self.etc / "cecochat.env").write_text(f"{settings}CECOCHAT_EDGE_HOST=127.0.0.1\n{ports}")
        shutil.copy2(UNITS / "backup.py", self.etc)
        signed = certificates(self.etc / "authority")
        self.authority = signed.ca_file
        pair = signed.cert_file.read_text() + signed.key_file.read_text()
        (self.etc / "edge.pem").write_text(pair)

    @asynccontextmanager
    async def started(self, name: str) -> AsyncIterator[Path]:
        """Run what a service runs, until it is ready. Yields its log."""
        log = self.root / f"{name}.log"
        [command] = unit(name, "ExecStart")
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *self.here(command).split(), stdout=out, stderr=out, env=self.environment(name)
            )
        try:
            async with asyncio.timeout(READY_S):
                while "ready" not in await asyncio.to_thread(log.read_text):
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.05)
            yield log
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(READY_S):
                assert await process.wait() == 0, "systemd takes anything else for a failure"

    def once(self, name: str) -> str:
        [command] = unit(name, "ExecStart")
        done = subprocess.run(
            self.here(command).split(),
            env=self.environment(name),
            capture_output=True,
            text=True,
            check=True,
            timeout=READY_S,
        )
        return done.stdout

    def environment(self, name: str) -> Mapping[str, str]:
        """What systemd gives a service, and nothing of this process."""
        lines = [self.here(each) for each in unit(name, "Environment")]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        given = dict(line.split("=", 1) for line in lines)
        return {
            "PATH": path,
            "HOME": str(self.root / "var/lib/cecochat"),
            "LANG": "C.UTF-8",
            **given,
        }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.install()
    return made


def make_keys(machine: Machine, environment: dict[str, str]) -> None:
    """Run the programs of the page about tokens: the back end has a key, the servers its half."""
    programs = {
        block.body.splitlines()[0].removeprefix("# "): block.body
        for block in blocks(TOKENS.read_text())
        if block.language == "python"
    }
    for name, body in programs.items():
        (machine.home / name).write_text(body)
    command = [sys.executable, "make_key.py", "key-1"]
    subprocess.run(command, cwd=machine.home, env=environment, check=True)
    shutil.copy2(machine.home / "jwks.json", machine.etc)


@pytest.mark.timeout(300)
async def test_the_units_run_and_the_examples_of_the_page_work(
    machine: Machine, tmp_path: Path, backends: Backends
) -> None:
    for program in ("curl", "haproxy"):
        backends.program(program)
    environment = clean_environment(machine.home)
    await asyncio.to_thread(make_keys, machine, environment)
    environment["SSL_CERT_FILE"] = str(machine.authority)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(machine.started("cecochat.service"))
        await stack.enter_async_context(machine.started("cecochat-edge.service"))
        assert "backed up in" in await asyncio.to_thread(machine.once, "cecochat-backup.service")
        page = machine.here(PAGE.read_text())
        await asyncio.to_thread(run, page, tmp_path, environment)
        await assert_scraped(machine)
    data = machine.root / "var/lib/cecochat/data"
    assert data.stat().st_mode & 0o077 == 0


def targets() -> dict[str, str]:
    """Service -> the port where Prometheus looks for it."""
    found = re.findall(
        r"targets: \[127\.0\.0\.1:(\d+)\]\n +labels: .*service: (\w+)",
        (UNITS / "prometheus.yml").read_text(),
    )
    return {service: port for port, service in found}


async def assert_scraped(machine: Machine) -> None:
    """Metrics are where Prometheus is told to look, with the page's token."""
    token = (machine.home / "cecochat-token").read_text().strip()
    defaults = {
        "messaging": "8083",
        "materialize": "8084",
        "history": "8085",
        "connect": "8087",
        "hooks": "8090",
    }
    assert targets() == defaults, "the ports of the settings"
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}) as client:
        for service in targets():
            port = machine.port(f"{service.upper()}_HEALTH")
            answer = await client.get(f"http://127.0.0.1:{port}/metrics")
            assert answer.status_code == 200


def databases(data: Path) -> None:
    data.mkdir(parents=True)
    for name in ("log.db", "history.db", "configuration.db", "moderation.db"):
        with closing(sqlite3.connect(data / name)) as database:
            database.execute("CREATE TABLE rows AS SELECT 1 AS one")
            database.commit()
    (data / "cluster-secret").write_text("secret")


def backed_up(machine: Machine, data: Path) -> subprocess.CompletedProcess[str]:
    words = machine.etc / "backup.py", data, machine.backups, "--keep", "2"
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, umask=0o022)


def test_backups_are_private_and_the_newest_stay(machine: Machine) -> None:
    data = machine.root / "var/lib/cecochat/data"
    databases(data)
    made = [backed_up(machine, data).stdout.split()[-1] for _ in range(3)]
    assert sorted(map(str, machine.backups.iterdir())) == made[1:]
    files = [Path(made[-1]), *Path(made[-1]).iterdir()]
    assert {path.name for path in files[1:]} == {path.name for path in data.iterdir()}
    databases_only = [path for path in files if path.suffix == ".db"]
    assert [path for path in databases_only if path.stat().st_mode & 0o077] == []


def test_a_database_that_cannot_be_backed_up_costs_no_earlier_copy(machine: Machine) -> None:
    data = machine.root / "var/lib/cecochat/data"
    databases(data)
    backed_up(machine, data)
    [earlier] = machine.backups.iterdir()
    (data / "history.db").write_bytes(b"not a database" * 1_000)
    assert backed_up(machine, data).returncode != 0
    (data / "history.db").unlink()
    assert backed_up(machine, data).returncode != 0
    assert [path for path in machine.backups.iterdir() if path.name[0] != "."] == [earlier]


def test_a_wrong_setting_is_not_tried_again(machine: Machine) -> None:
    (machine.etc / "cecochat.env").write_text("CECOCHAT_NO_SETTING=1\n")
    [command] = unit("cecochat.service", "ExecStart")
    done = subprocess.run(
        machine.here(command).split(),
        env=machine.environment("cecochat.service"),
        capture_output=True,
        text=True,
        check=False,
        timeout=READY_S,
    )
    assert "CECOCHAT_NO_SETTING" in done.stderr
    assert str(done.returncode) in unit("cecochat.service", "RestartPreventExitStatus")


def test_systemd_understands_the_units(tmp_path: Path, backends: Backends) -> None:
    analyze = backends.program("systemd-analyze")
    files = [*UNITS.glob("*.service"), *UNITS.glob("*.timer")]
    assert len(files) == 4
    for file in files:
        text = file.read_text().replace("/opt/cecochat/bin", str(BIN))
        (tmp_path / file.name).write_text(text)
    names = [str(tmp_path / file.name) for file in files]
    done = subprocess.run([analyze, "verify", *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_do_not_say_different_things() -> None:
    edge, up = (
        unit(name, "ExecStart")[0] for name in ("cecochat-edge.service", "cecochat.service")
    )
    assert edge.split()[-2:] == up.split()[-2:], "they read the same settings"
    page = PAGE.read_text()
    for file in UNITS.iterdir():
        assert file.name in page or f"*{file.suffix}" in page
