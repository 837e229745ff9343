"""The job files of Nomad as they are written: what keeps a server running is set in each, and all
of it is known to Nomad 1.6.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hcl2.utils import SerializationOptions

from cecochat import __version__
from cecochat.run.turn import WAIT_S
from scripts.backends.kinds import KINDS
from tests.support.backends import Backends

ROOT = Path(__file__).parents[2]
EDGE = ROOT / "jobs" / "edge.nomad.hcl"
SERVERS = sorted(set((ROOT / "jobs").glob("*.nomad.hcl")) - {EDGE})
BACKENDS = sorted((ROOT / "jobs" / "backends").glob("*.nomad.hcl"))
NO_JOB = {"consul", "prometheus-up"}  # the second is for one process
NEWER = {"action", "disconnect", "identity", "ui"}
"""Blocks that came after Nomad 1.6."""
KILL_TIMEOUT_MAX_S = 30
"""What clients allow unless their `max_kill_timeout` is higher."""
NOWHERE = "http://127.0.0.1:1"
PLAIN = SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)

Block = Mapping[str, Any]


def name(file: Path) -> str:
    return str(file.relative_to(ROOT / "jobs")).removesuffix(".nomad.hcl")


every_job = pytest.mark.parametrize("file", [*SERVERS, EDGE, *BACKENDS], ids=name)
ours = pytest.mark.parametrize("file", [*SERVERS, EDGE], ids=name)


@cache
def read(file: Path) -> dict[str, Any]:
    with file.open() as text:
        found: dict[str, Any] = hcl2.load(text, serialization_options=PLAIN)
    return found


def only(blocks: list[Block]) -> Any:
    """What is in the one block `kind "name" {...}` of its kind."""
    ((found,),) = [list(block.values()) for block in blocks]
    return found


def job(file: Path) -> Block:
    found: Block = only(read(file)["job"])
    return found


def group(file: Path) -> Block:
    found: Block = only(job(file)["group"])
    return found


def task(file: Path) -> Block:
    found: Block = only(group(file)["task"])
    return found


def variables(file: Path) -> dict[str, Block]:
    return {name: found for block in read(file)["variable"] for name, found in block.items()}


def keys(found: object) -> Iterator[str]:
    """Of all blocks and attributes, however deep."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield key
            yield from keys(value)
    elif isinstance(found, list):
        for value in found:
            yield from keys(value)


def value(file: Path, text: str) -> str:
    """What it says, or the default of the variable that it is."""
    name = text.removeprefix("${var.").removesuffix("}")
    return text if name == text else str(variables(file)[name]["default"])


def seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def test_there_is_a_job_for_each_backend_of_a_cluster() -> None:
    """Nomad itself needs Consul."""
    assert {file.name.partition(".")[0] for file in BACKENDS} == set(KINDS) - NO_JOB


@every_job
def test_nothing_is_newer_than_nomad_1_6(file: Path) -> None:
    assert not NEWER & set(keys(read(file)["job"]))


@every_job
def test_every_variable_says_what_it_is_and_has_a_default(file: Path) -> None:
    wanting = {
        name: sorted({"type", "default", "description"} - found.keys())
        for name, found in variables(file).items()
    }
    assert {name: missing for name, missing in wanting.items() if missing} == {}


@every_job
def test_a_server_that_hangs_is_found_and_started_again(file: Path) -> None:
    checks = [check for service in group(file)["service"] for check in service["check"]]
    for check in checks:
        assert seconds(check["timeout"]) <= seconds(check["interval"])
    (restart,) = [each for check in checks for each in check.get("check_restart", [])]
    assert restart["limit"] > 1
    assert seconds(restart["grace"]) >= 60


@every_job
def test_a_server_that_ends_is_started_again(file: Path) -> None:
    (restart,) = group(file)["restart"]
    assert restart.keys() == {"attempts", "interval", "delay", "mode"}
    if file == EDGE:  # which is on every node
        assert restart["mode"] == "delay"
        return
    (reschedule,) = group(file)["reschedule"]
    moves = reschedule["unlimited"]
    assert restart["mode"] == ("fail" if moves else "delay"), "nobody goes on with it"


@every_job
def test_an_update_waits_for_the_checks(file: Path) -> None:
    (update,) = job(file)["update"]
    assert update["health_check"] == "checks"
    assert update["max_parallel"] == 1
    assert "auto_revert" in update
    names = ("min_healthy_time", "healthy_deadline", "progress_deadline")
    times = [value(file, update[name]) for name in names]
    assert sorted(times, key=seconds) == times


@every_job
def test_a_server_is_asked_to_end_and_has_time_for_it(file: Path) -> None:
    kind = KINDS.get(file.name.partition(".")[0])
    assert task(file)["kill_signal"] == (kind.stop_signal.name if kind else "SIGTERM")
    assert 5 <= seconds(task(file)["kill_timeout"]) <= KILL_TIMEOUT_MAX_S


@pytest.mark.parametrize("file", SERVERS, ids=name)
def test_a_server_may_wait_for_its_turn_to_stop(file: Path) -> None:
    assert seconds(task(file)["kill_timeout"]) >= 2 * WAIT_S


@every_job
def test_resources_are_reserved(file: Path) -> None:
    assert task(file)["resources"] == [{"cpu": "${var.cpu}", "memory": "${var.memory}"}]


@ours
def test_the_version_is_that_of_this_checkout(file: Path) -> None:
    assert variables(file)["version"]["default"] == __version__
    assert variables(file)["image"]["default"] == f"cecochat:{__version__}"


@pytest.mark.parametrize("file", SERVERS, ids=name)
def test_servers_look_for_backends_where_their_jobs_put_them(file: Path) -> None:
    for backend in ("kafka", "cassandra", "redis"):
        port = variables(ROOT / "jobs" / "backends" / f"{backend}.nomad.hcl")["port"]["default"]
        assert variables(file)[backend]["default"] == f"127.0.0.1:{port}"


def test_what_clients_reach_is_told_the_edge_of_its_node() -> None:
    """The same host and port in all jobs, but for messaging, which has a port of its own of it."""
    told = {
        file: task(file)["env"] for file in [EDGE, *SERVERS] if "CECOCHAT_EDGE " in file.read_text()
    }
    assert {file.name.partition(".")[0] for file in told} == {
        "connect", "edge", "history", "messaging",
    }  # fmt: skip
    for file in told:
        if "edge_port" in variables(file):
            assert variables(file)["edge_port"]["default"] == 8443
        text = file.read_text()
        port = (
            "${NOMAD_PORT_edge}" if file.name.startswith(("edge", "mess")) else "${var.edge_port}"
        )
        assert f'"${{var.edge}}:{port}"' in text


@pytest.mark.parametrize("file", BACKENDS, ids=name)
def test_a_backend_is_run_by_its_launcher(file: Path) -> None:
    (config,) = task(file)["config"]
    kind = KINDS[file.name.partition(".")[0]]
    assert config["args"][:4] == ["-m", "scripts.backends", "run", kind.name]
    given = {word for word in config["args"] if word.startswith("--")}
    common = {"--data", "--host", "--port"}
    assert common <= given <= common | {"--ports"} | {f"--{option}" for option in kind.options}


@pytest.mark.parametrize("file", BACKENDS, ids=name)
def test_a_backend_has_the_ports_that_the_launcher_gives_it(file: Path) -> None:
    kind = KINDS[file.name.partition(".")[0]]
    (network,) = group(file)["network"]
    roles = {role.replace("_", "-") for port in network["port"] for role in port}
    assert roles == set(kind.ports)
    defaults = {name: found["default"] for name, found in variables(file).items()}
    assert defaults["port"] == next(iter(kind.ports.values()))
    for role, port in kind.ports.items():
        assert defaults.get(role.replace("-", "_"), port) == port


@every_job
@pytest.mark.parametrize("words", ["job validate", "fmt -check"])
def test_nomad_takes_it(file: Path, words: str, backends: Backends) -> None:
    program = backends.program("nomad")
    done = subprocess.run(
        [program, *words.split(), str(file)],
        cwd=ROOT,
        env={**os.environ, "NOMAD_ADDR": NOWHERE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_checks_follow_what_the_servers_speak(backends: Backends) -> None:
    """With a certificate in the settings, and not without."""
    program = backends.program("nomad")
    settings = '{"CECOCHAT_INTERNAL_CERT_FILE" = "/a.pem", "CECOCHAT_TLS_CERT_FILE" = "/b.pem"}'
    for file in SERVERS:
        for words, http, encrypted in (
            ([], "http", False),
            (["-var", f"settings={settings}"], "https", True),
        ):
            argv = [program, "job", "run", "-output", *words, str(file)]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            (service,) = json.loads(done.stdout)["Job"]["TaskGroups"][0]["Services"]
            for check in service["Checks"]:
                assert check["TLSSkipVerify"], "it asks whether a server lives, not who it is"
                if check["Type"] == "http":
                    assert check["Protocol"] == http
                else:
                    assert check["GRPCUseTLS"] is encrypted
