"""Consul: a server that elects itself, or one of several."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

from scripts.backends import modules, probe, store, versions
from scripts.backends.instance import Command, Instance, Kind

PACKAGE = "github.com/hashicorp/consul"
OPTIONS = {
    "node-name": "how the others know it (default cecochat)",
    "servers": "all of several, host:serf-port with commas (default: this one alone)",
    "bind": "the address for the others, where --host is for clients (default: --host)",
    "settings": "a JSON file of further settings, which come before those made here",
}


def program() -> str:
    return shutil.which("consul") or str(modules.bring("consul", versions.CONSUL, PACKAGE))


def here() -> bool:
    return bool(shutil.which("consul")) or store.place("consul", versions.CONSUL).exists()


def command(instance: Instance) -> Command:
    instance.data.mkdir(parents=True, exist_ok=True)
    _drop_empty(instance.data / "server_metadata.json")
    configuration = instance.folder / "consul.json"
    configuration.write_text(json.dumps(settings(instance), indent=2))
    files = [str(configuration), *filter(None, [instance.options.get("settings")])]  # last one wins
    return Command([program(), "agent", *(f"-config-file={file}" for file in files)])


def _drop_empty(file: Path) -> None:
    """Delete a file that is empty, with which Consul would not start.

    Consul truncates it before it writes it, and may end in between: because it has no address yet,
    or because the disk is full.
    """
    if file.exists() and not file.stat().st_size:
        file.unlink()


def settings(instance: Instance) -> dict[str, object]:
    ports, options = instance.ports, instance.options
    servers = options["servers"].split(",") if "servers" in options else []
    name = options.get("node-name", "cecochat")
    # A node that has lost its disk keeps its id. With another id it would have to wait until the
    # others declare the old one dead, which they forget to do if none of them has led meanwhile.
    identity = {"node_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.cecochat"))}
    return {
        **(identity if servers else {}),
        "server": True,
        "bootstrap_expect": len(servers) or 1,
        "retry_join": servers,
        "retry_interval": "2s",
        "node_name": name,
        "data_dir": str(instance.data),
        "bind_addr": options.get("bind", instance.host),
        "client_addr": instance.host,
        "ports": {
            "http": ports["http"],
            "dns": ports["dns"],
            "server": ports["server"],
            "serf_lan": ports["serf"],
            "grpc": ports["grpc"],
            "grpc_tls": -1,
            "serf_wan": -1,
            "https": -1,
        },
        "performance": {"raft_multiplier": 2 if servers else 1, "leave_drain_time": "0s"},
        # One of several that is stopped comes back, so it must still count for the majority.
        "leave_on_terminate": not servers,
        "disable_update_check": True,
        "ui_config": {"enabled": True},
        "connect": {"enabled": False},  # no service mesh here
        "peering": {"enabled": False},
        "telemetry": {"disable_hostname": True},
    }


KIND = Kind(
    name="consul",
    version=versions.CONSUL,
    ports={"http": 17500, "dns": 17501, "server": 17502, "serf": 17503, "grpc": 17504},
    provision=program,
    here=here,
    command=command,
    variable="CECOCHAT_CONSUL",
    answers=probe.consul,
    options=OPTIONS,
)
