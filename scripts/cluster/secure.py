"""What SECURE=1 adds to a node: files with its secrets, and what Consul and Nomad are told of them.

The Vagrantfile leaves `secrets.json`, which scripts/cluster/secrets.rb has drawn on the host. Where
it is not, the cluster is an open one.
"""

from __future__ import annotations

import grp
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.backends.instance import Failed
from scripts.cluster import plan

SECRETS = Path("/etc/cecochat/secrets.json")  # root's alone
FOR_ALL = 0o640  # the group is that of the servers
COMMANDS = Path("/etc/profile.d/cecochat-secure.sh")  # for `consul` and `nomad` of a person


@dataclass(frozen=True, repr=False)
class Secrets:
    """The secrets of one guest: PEM texts, keys in base64, tokens as UUIDs.

    Only the guest that makes the ACL has `management`.
    """

    ca: str
    certificate: str
    key: str
    gossip: Mapping[str, str]
    tokens: Mapping[str, str]
    management: str | None

    @classmethod
    def parse(cls, text: str) -> Secrets:
        """Read the secrets from JSON. Raises Failed."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):  # the error would repeat some of them
            raise Failed(f"{SECRETS} is damaged: run `vagrant provision` again") from None


def read() -> Secrets | None:
    """Return the secrets of this guest, or None in an open cluster."""
    return Secrets.parse(SECRETS.read_text()) if SECRETS.exists() else None


def files(secrets: Secrets, folder: Path) -> dict[str, str]:
    """Return the text of all files that the units of this node read, by name."""
    consul = consul_settings(secrets, folder)
    return {
        "ca.pem": secrets.ca,
        "cert.pem": secrets.certificate,
        "key.pem": secrets.key,
        "consul.json": json.dumps(consul, indent=2),
        "nomad.json": json.dumps(nomad_settings(secrets, folder), indent=2),
        **{f"token-{name}": secrets.tokens[name] for name in ("cecochat", "prometheus")},
    }


def consul_settings(
    secrets: Secrets,
    folder: Path,
    local: str = "127.0.0.1",
    host: str = plan.EVERYWHERE,
    port: int = plan.CONSUL_TLS,
) -> dict[str, object]:
    """Return settings that override those of scripts/backends/consul.py.

    Programs on this node ask at `local` without TLS. Others ask at `host` and `port` with TLS.
    """
    return {
        "client_addr": local,
        "addresses": {"https": host},
        "ports": {"https": port},
        "encrypt": secrets.gossip["consul"],
        "tls": {
            "defaults": _files_of(folder) | {"verify_outgoing": True},
            "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
            "https": {"verify_incoming": True},
        },
        "acl": {
            "enabled": True,
            "default_policy": "deny",
            "tokens": {"agent": secrets.tokens["agent"]},
        },
    }


def nomad_settings(secrets: Secrets, folder: Path) -> dict[str, object]:
    """Return settings beside those of nomad.py. Whoever has a certificate may do anything."""
    return {
        "server": {"encrypt": secrets.gossip["nomad"]},
        "consul": {"token": secrets.tokens["nomad"]},
        "tls": _files_of(folder)
        | {
            "http": True,
            "rpc": True,
            "verify_server_hostname": True,
            "verify_https_client": True,
        },
    }


def _files_of(folder: Path) -> dict[str, str]:
    names = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem"}
    return {key: str(folder / name) for key, name in names.items()}


def install(secrets: Secrets, folder: Path, group: str) -> None:
    """Write all files so that root and a group can read them."""
    gid = grp.getgrnam(group).gr_gid
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.chown(folder, -1, gid)
    for name, text in files(secrets, folder).items():
        write(folder / name, text, gid)
    COMMANDS.write_text(commands(folder))


def write(path: Path, text: str, gid: int) -> None:
    """Write a file that nobody else can read at any moment."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - with a mode
        os.fchown(file.fileno(), -1, gid)
        os.fchmod(file.fileno(), FOR_ALL)
        file.write(text)
    new.replace(path)


def client() -> ssl.SSLContext | None:
    """Return the TLS context to ask Nomad on this node, or None without TLS.

    Root and the group of the servers may use it.
    """
    if not Path(plan.SECURE).exists():
        return None
    names = _files_of(Path(plan.SECURE))
    context = ssl.create_default_context(cafile=names["ca_file"])
    context.load_cert_chain(names["cert_file"], names["key_file"])
    return context


def commands(folder: Path) -> str:
    """Return the variables for the programs `consul` and `nomad`."""
    variables = {
        "CONSUL_HTTP_TOKEN_FILE": folder / "token-cecochat",
        "NOMAD_ADDR": f"https://127.0.0.1:{plan.NOMAD}",
        "NOMAD_CACERT": folder / "ca.pem",
        "NOMAD_CLIENT_CERT": folder / "cert.pem",
        "NOMAD_CLIENT_KEY": folder / "key.pem",
    }
    return "".join(f"export {name}={value}\n" for name, value in variables.items())
