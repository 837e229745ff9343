"""Three servers of Consul as SECURE=1 makes them, on loopback addresses of this machine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cecochat.settings.tls import Tls
from scripts.backends import ports
from scripts.backends.kinds import kind
from scripts.backends.launch import Backend
from scripts.cluster import acl, secure
from scripts.cluster.secure import Secrets
from tests.support.backends import Backends

WITHIN_S = 60.0
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


def ruby() -> str:
    """The program; without it, as `Backends.absent`."""
    return Backends.parse(os.environ).program("ruby")


def draw(folder: Path, guests: Mapping[str, str] = GUESTS) -> Drawn:
    """As the Vagrantfile does."""
    given = [f"{name}={address}" for name, address in guests.items()]
    argv = [ruby(), "-w", str(DRAW), str(folder), *given]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    said = (line.split() for line in done.stdout.splitlines())
    parsed = {name: Secrets.parse(base64.b64decode(text).decode()) for name, text in said}
    return Drawn(folder, parsed)


@dataclass(frozen=True)
class Secured:
    """`servers`: by the name of the guest; each has HTTP for its own machine, and HTTPS.
    `changed`: what the first making of the ACL has changed.
    """

    drawn: Drawn
    servers: Mapping[str, Backend]
    https: int
    changed: list[str] = field(default_factory=list)

    def http_at(self, name: str) -> str:
        return self.servers[name].address

    def https_at(self, name: str) -> str:
        return f"{GUESTS[name]}:{self.https}"


@contextmanager
def joined(folder: Path, backends: Backends) -> Iterator[Secured]:
    """With the ACL; gone afterwards."""
    backends.provisioned("consul")
    made = _planned(draw(folder / "drawn"), folder)
    try:
        for each in made.servers.values():
            each.launch()
        for each in made.servers.values():
            each.wait(WITHIN_S)
        made.changed.extend(apply(made))
        yield made
    finally:
        for each in made.servers.values():
            each.kill()


def apply(secured: Secured) -> list[str]:
    """As the last guest does."""
    there, drawn = secured.servers["server1"].instance, secured.drawn
    return acl.apply(drawn.management, drawn.tokens, there.host, there.port)


def _planned(drawn: Drawn, folder: Path) -> Secured:
    """Not started yet."""
    chosen, https = (ports.free(kind(name), "0.0.0.0") for name in ("consul", "redis"))
    servers = {
        name: server(drawn.guests[name], folder / name, name, address, chosen, https["clients"])
        for name, address in GUESTS.items()
    }
    return Secured(drawn, servers, https["clients"])


def tell(secrets: Secrets, folder: Path, address: str, https: int) -> Path:
    """Write what a server reads when it starts; the file of its further settings."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in secure.files(secrets, folder).items():
        (folder / file).write_text(text)
    settings = folder / "secure.json"
    told = secure.consul_settings(secrets, folder, local=address, host=address, port=https)
    settings.write_text(json.dumps(told))
    return settings


def server(
    secrets: Secrets, folder: Path, name: str, address: str, chosen: Mapping[str, int], https: int
) -> Backend:
    """One of them, or one who would be."""
    options = {
        "node-name": name,
        "servers": ",".join(f"{each}:{chosen['serf']}" for each in GUESTS.values()),
        "settings": str(tell(secrets, folder, address, https)),
    }
    return Backend(kind("consul"), kind("consul").instance(folder, chosen, address, options))
