"""Three servers of Consul as SECURE=1 makes them, on loopback addresses of this machine."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from cecochat.runtime.tls import Tls
from scripts.backends import ports
from scripts.backends.kinds import kind
from scripts.backends.launch import Backend
from scripts.cluster import secure
from scripts.cluster.secure import Secrets

DRAW = Path(secure.__file__).with_name("secrets.rb")
GUESTS = {f"server{number}": f"127.0.0.{10 + number}" for number in (1, 2, 3)}


@dataclass(frozen=True)
class Drawn:
    """What the host has drawn into `folder`; guest -> what it is given."""

    folder: Path
    guests: Mapping[str, Secrets]

    @property
    def management(self) -> str:
        return (self.folder / "token-management").read_text()

    @property
    def tokens(self) -> Mapping[str, str]:
        return self.guests["server1"].tokens

    @property
    def host_tls(self) -> Tls:
        """As a person on the host connects."""
        return Tls(*(self.folder / name for name in ("ca.pem", "host.pem", "host-key.pem")))


def draw(folder: Path, guests: Mapping[str, str] = GUESTS) -> Drawn:
    """As the Vagrantfile does."""
    if not (ruby := shutil.which("ruby")):
        pytest.skip("ruby is missing: it comes with Vagrant, or as a package of the system")
    argv = [ruby, "-w", DRAW, folder, *(f"{name}={address}" for name, address in guests.items())]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    given = (line.split() for line in done.stdout.splitlines())
    parsed = {name: Secrets.parse(base64.b64decode(text).decode()) for name, text in given}
    return Drawn(folder, parsed)


@dataclass(frozen=True)
class Secured:
    """`servers`: by the name of the guest; each has HTTP for its own machine, and HTTPS."""

    drawn: Drawn
    servers: Mapping[str, Backend]
    https: int

    def http_at(self, name: str) -> str:
        return self.servers[name].address

    def https_at(self, name: str) -> str:
        return f"{GUESTS[name]}:{self.https}"


def planned(drawn: Drawn, folder: Path) -> Secured:
    """Not started yet."""
    chosen, https = ports.free(kind("consul")), ports.free(kind("redis"))["clients"]
    servers = {
        name: server(drawn.guests[name], folder / name, name, address, chosen, https)
        for name, address in GUESTS.items()
    }
    return Secured(drawn, servers, https)


def server(
    secrets: Secrets, folder: Path, name: str, address: str, chosen: Mapping[str, int], https: int
) -> Backend:
    """One of them, or one who would be."""
    folder.mkdir(parents=True)
    for file, text in secure.files(secrets, folder).items():
        (folder / file).write_text(text)
    settings = folder / "secure.json"
    told = secure.consul_settings(secrets, folder, local=address, host=address, port=https)
    settings.write_text(json.dumps(told))
    options = {
        "node-name": name,
        "servers": ",".join(f"{each}:{chosen['serf']}" for each in GUESTS.values()),
        "settings": str(settings),
    }
    return Backend(kind("consul"), kind("consul").instance(folder, chosen, address, options))
