"""Prometheus for `make observe`: scrapes the servers of the `cecochat up` that was started last on
this machine. They stand in a file, so that one does that cannot ask Consul: Debian's.
"""

from __future__ import annotations

import json
from pathlib import Path

from scripts.backends import places, probe, prometheus, prometheus_pages, promtool
from scripts.backends.instance import Command, Instance, Kind

OPTIONS = {
    "targets": "the file that lists what is scraped, beside one with the token that is asked for "
    "(default: what `cecochat up` writes)"
}
SCRAPED = """
scrape_configs:
  - job_name: cecochat
    authorization:
      credentials_file: {token}
    file_sd_configs:
      - files: [{file}]
        refresh_interval: 5s
"""


def here() -> bool:
    return promtool.prometheus_here() is not None


def provision() -> str:
    program = promtool.prometheus()
    if program == promtool.unpacked("prometheus"):
        prometheus_pages.bring()
    return program


def command(instance: Instance) -> Command:
    program = promtool.prometheus()
    ours = prometheus.running(instance, program, configuration(instance))
    pages = prometheus_pages.here()
    if pages and program == promtool.unpacked("prometheus"):
        ours.argv.append(f"--web.local-assets={pages}")
    return ours


def configuration(instance: Instance) -> str:
    """Return our configuration, with a file in place of Consul."""
    ours, found, _ = prometheus.CONFIGURATION.read_text().partition("\nscrape_configs:\n")
    assert found, f"{prometheus.CONFIGURATION} scrapes nothing"
    file = Path(instance.options.get("targets") or places.targets_file()).absolute()
    token = file.with_name(places.metrics_token_file().name)
    return ours + SCRAPED.format(file=json.dumps(str(file)), token=json.dumps(str(token)))


KIND = Kind(
    name="prometheus-up",
    version=promtool.VERSION,
    ports={"web": 17091},
    provision=provision,
    here=here,
    command=command,
    variable=None,
    answers=probe.prometheus,
    options=OPTIONS,
    by_default=False,
)
