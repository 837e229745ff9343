"""PostgreSQL: a server with one database, which lets in whoever reaches it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from scripts.backends import probe, tools, versions
from scripts.backends.instance import Command, Failed, Instance, Kind

NAME = "cecochat"  # of the database, and of its owner
USERS = ("postgres", "nobody")  # the first that there is runs it if we are root; it refuses to
ORPHANS_END_S = 20.0
ACCESS = "host all all all trust\n"


def provision() -> str:
    program = tools.postgres()
    version = tools.numbers(tools.run([program, "--version"]))
    if version[:1] < versions.POSTGRES_AT_LEAST:
        wanted = ".".join(map(str, versions.POSTGRES_AT_LEAST))
        raise Failed(f"{program} is too old: install PostgreSQL {wanted}, and run this again")
    return program


def here() -> bool:
    return tools.postgres_programs() != []


def command(instance: Instance) -> Command:
    program = Path(tools.postgres())
    if not instance.data.exists():
        _make(program, instance.data)
    _wait_for_orphans(instance.data.resolve())
    settings = {
        "listen_addresses": instance.host,
        "port": str(instance.port),
        "unix_socket_directories": "",
        "shared_buffers": "64MB",
        "wal_level": "minimal",  # nothing reads along
        "max_wal_senders": "0",
        "log_parameter_max_length": "0",  # words of messages
    }
    argv = [*_as_somebody(), str(program), "-D", str(instance.data)]
    for key, value in settings.items():
        argv += ["-c", f"{key}={value}"]
    return Command(argv)


def _make(program: Path, data: Path) -> None:
    """Make the folder of a server that has the database. It is there once all of it is."""
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    options = ["--username", NAME, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]
    tools.run([*_as_somebody(), str(program.with_name("initdb")), "-D", str(new), *options])
    (new / "pg_hba.conf").write_text(ACCESS)
    subprocess.run(
        [*_as_somebody(), str(program), "--single", "-D", str(new), "postgres"],
        input=f"CREATE DATABASE {NAME}\n",
        text=True,
        capture_output=True,
        check=True,
    )
    new.rename(data)


def _wait_for_orphans(data: Path) -> None:
    """Wait until the children of a server that was killed have noticed, as the next one refuses to
    start before. It says so itself if they do not.
    """
    until = time.monotonic() + ORPHANS_END_S
    while any(_folder(each) == data for each in Path("/proc").glob("[0-9]*")):
        if time.monotonic() > until:
            return
        time.sleep(0.05)


def _folder(process: Path) -> Path | None:
    """Return where a process is; None if it is gone, or somebody else's."""
    try:
        return (process / "cwd").readlink()
    except OSError:
        return None


def _as_somebody() -> list[str]:
    """Return what runs a program as another user if we are root. The folder may be below one that
    only root can enter, so that user may enter any.
    """
    if os.geteuid():
        return []
    known = {each.pw_name: each for each in pwd.getpwall()}
    user = next(known[name] for name in USERS if name in known)
    capabilities = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    account = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *account, *capabilities]


KIND = Kind(
    name="postgres",
    version=".".join(map(str, versions.POSTGRES_AT_LEAST)),
    ports={"clients": 17432},
    provision=provision,
    here=here,
    command=command,
    variable="CECOCHAT_POSTGRES",
    answers=probe.postgres,
    stop_signal=signal.SIGINT,  # SIGTERM would wait until all clients have left
)
