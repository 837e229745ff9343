"""Installs Nomad on a node, and writes the configuration of its agent."""

from __future__ import annotations

import hashlib
import http.client
import os
import platform
import shutil
import subprocess
import urllib.request
import zipfile
from pathlib import Path

from scripts.backends import store, versions
from scripts.backends.instance import Failed
from scripts.cluster import plan
from scripts.cluster.plan import Plan

VENDOR = "https://releases.hashicorp.com/nomad"
HOW = (
    "Put `nomad` (1.6 or later) on PATH in the guest, or as nomad/nomad into the folder "
    "~/.cache/cecochat of this machine, then `vagrant provision`."
)
TIMEOUT_S = 20
TO = Path("/usr/local/bin/nomad")

AGENT = """\
# Written by scripts/cluster: do not edit.
name       = "{name}"
data_dir   = "{data}"
bind_addr  = "0.0.0.0"
datacenter = "dc1"

advertise {{
  http = "{address}"
  rpc  = "{address}"
  serf = "{address}"
}}

server {{
  enabled          = true
  bootstrap_expect = {servers}
  # From an election on: clients that are gone are called down after so long, not after 5 minutes.
  failover_heartbeat_ttl = "1m"
  server_join {{
    retry_join = [{join}]
  }}
}}

client {{
  enabled           = true
  network_interface = "{interface}"
  max_kill_timeout  = "45s"
}}

consul {{
  address = "127.0.0.1:{consul}"
}}

plugin "raw_exec" {{
  config {{
    enabled    = true
    no_cgroups = true
  }}
}}

disable_update_check = true
"""


def bring(cache: Path) -> Path | None:
    """Return the program: from PATH, from `cache` (which the host shares), or from the vendor.

    It is None if it cannot be had. Raises Failed if what was fetched is not what was published.
    """
    if on_path := shutil.which("nomad"):
        return Path(on_path)
    kept = cache / "nomad" / "nomad"
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        with store.locked(kept.parent / "lock"):  # only one of the guests fetches it
            if not kept.exists():
                _download(kept)
    except (OSError, http.client.HTTPException) as error:
        print(f"Nomad cannot be had: {error}")
        return None
    shutil.copy(kept, TO)
    TO.chmod(0o755)
    return TO


def _download(to: Path) -> None:
    """Fetch the archive, perhaps from a mirror, and its checksums from the vendor."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    version = versions.NOMAD
    name = f"nomad_{version}_linux_{machine}.zip"
    sums = _get(f"{VENDOR}/{version}/nomad_{version}_SHA256SUMS").decode(errors="replace").split()
    expected = dict(zip(sums[1::2], sums[::2], strict=False))
    archive = _get(f"{os.environ.get('NOMAD_MIRROR') or VENDOR}/{version}/{name}")
    if hashlib.sha256(archive).hexdigest() != expected.get(name):
        raise Failed(f"{name} is not what its vendor has published: do not use that mirror")
    packed = to.with_name(name)
    packed.write_bytes(archive)
    with zipfile.ZipFile(packed) as content:
        whole = Path(content.extract("nomad", to.parent / "new"))
    whole.rename(to)  # atomically, since another guest may look for it
    packed.unlink()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - https
        body: bytes = answer.read()
        return body


def agent(here: Plan, data: Path, interface: str) -> str:
    """Return the configuration of an agent that is server and client in one."""
    return AGENT.format(
        name=here.name,
        data=data,
        address=here.address,
        servers=here.nodes,
        join=", ".join(f'"{plan.address(number)}"' for number in here.numbers),
        interface=interface,
        consul=plan.CONSUL,
    )


def interface(address: str) -> str:
    """Return the network interface that has this address. Raises Failed."""
    argv = ["ip", "-oneline", "address", "show", "to", address]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()
    if len(said) < 2:
        raise Failed(f"this machine does not have the address {address}: `vagrant reload` it")
    return said[1].partition("@")[0]
