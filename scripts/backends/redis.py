"""Redis: a server with an append-only file."""

from __future__ import annotations

import shutil

from scripts.backends import probe, tools, versions
from scripts.backends.instance import Command, Failed, Instance, Kind


def provision() -> str:
    program = tools.redis_server()
    version = tools.numbers(tools.run([program, "--version"]))
    if version[:2] < versions.REDIS_AT_LEAST:
        wanted = ".".join(map(str, versions.REDIS_AT_LEAST))
        raise Failed(f"{program} is too old: install Redis {wanted} or newer, and run this again")
    return program


def here() -> bool:
    return shutil.which("redis-server") is not None


def command(instance: Instance) -> Command:
    instance.data.mkdir(parents=True, exist_ok=True)
    settings = {
        "bind": instance.host,
        "port": str(instance.port),
        "dir": str(instance.data),
        "daemonize": "no",
        # Otherwise it refuses connections from other machines, whatever it listens on.
        "protected-mode": "yes" if instance.local else "no",
        # The few documents rarely change, so an fsync for each costs nothing.
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        # It would overwrite its environment, by which tests find what they have started.
        "set-proc-title": "no",
    }
    argv = [tools.redis_server()]
    for key, value in settings.items():
        argv += [f"--{key}", value]
    return Command(argv)


KIND = Kind(
    name="redis",
    version=".".join(map(str, versions.REDIS_AT_LEAST)),
    ports={"clients": 17379},
    provision=provision,
    here=here,
    command=command,
    variable="CECOCHAT_REDIS",
    answers=probe.redis,
)
