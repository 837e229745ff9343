"""Prometheus, which scrapes the servers that Consul lists, as observability/prometheus.yml says."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from scripts.backends import modules, places, probe, store, versions
from scripts.backends.instance import Command, Instance, Kind

PACKAGE = "github.com/prometheus/prometheus/cmd/prometheus"
TAGS = "remove_all_sd,enable_consul_sd"  # only what is used, which is a third to build
CONSUL = "127.0.0.1:17500"
OPTIONS = {
    "consul": f"host:port of the Consul that knows the servers (default {CONSUL})",
    "consul-token": "a file with the token that this Consul asks for (default: it asks for none)",
    "token": "a file with the token that servers ask for (default: what `cecochat up` writes)",
    "retention": "how long samples are kept, as in 7d (the default)",
}
CONFIGURATION = Path(__file__).parents[2] / "observability" / "prometheus.yml"
RULES = CONFIGURATION.with_name("rules.yml")
CONSUL_THERE = "server: 127.0.0.1:8500"
TOKEN_THERE = "/etc/cecochat/metrics-token"  # noqa: S105 - a file
LOGGED_IN = """
        authorization:
          credentials_file: {file}"""
SIZE = "1GB"  # the limit of all samples


def installed() -> str | None:
    """Return the one on PATH, if it can ask Consul. Debian's cannot."""
    program, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if program is None or promtool is None:
        return None
    check = [promtool, "check", "config", "--syntax-only", str(CONFIGURATION)]
    understood = subprocess.run(check, capture_output=True, check=False).returncode == 0
    return program if understood else None


def program() -> str:
    return installed() or str(modules.bring("prometheus", versions.PROMETHEUS, PACKAGE, TAGS))


def here() -> bool:
    return store.place("prometheus", versions.PROMETHEUS).exists() or installed() is not None


def command(instance: Instance) -> Command:
    return running(instance, program(), configuration(instance))


def running(instance: Instance, program: str, configuration: str) -> Command:
    """Return what runs it, with the rules of `observability/`."""
    instance.data.mkdir(parents=True, exist_ok=True)
    written = instance.folder / "prometheus.yml"
    written.write_text(configuration)
    shutil.copy(RULES, instance.folder)  # the configuration names it without a folder
    flags = {
        "config.file": written,
        "storage.tsdb.path": instance.data,
        "storage.tsdb.retention.time": instance.options.get("retention", "7d"),
        "storage.tsdb.retention.size": SIZE,
        "web.listen-address": instance.address,
    }
    return Command([program, *(f"--{flag}={value}" for flag, value in flags.items())])


def configuration(instance: Instance) -> str:
    """Return our configuration, with the Consul to ask, and tokens for it and for servers."""
    text, consul = CONFIGURATION.read_text(), instance.options.get("consul", CONSUL)
    assert text.count(CONSUL_THERE) == 1, f"{CONFIGURATION} asks another Consul"
    assert text.count(TOKEN_THERE) == 1, f"{CONFIGURATION} takes the token from elsewhere"
    token = Path(instance.options.get("token") or places.metrics_token_file()).absolute()
    text = text.replace(TOKEN_THERE, json.dumps(str(token)))
    asked = f"server: {consul}"
    if login := instance.options.get("consul-token"):
        asked += LOGGED_IN.format(file=json.dumps(login))
    return text.replace(CONSUL_THERE, asked)


KIND = Kind(
    name="prometheus",
    version=versions.PROMETHEUS,
    ports={"web": 17090},
    provision=program,
    here=here,
    command=command,
    variable=None,
    answers=probe.prometheus,
    options=OPTIONS,
    by_default=False,
)
