"""Turns an empty Debian into a node of the cluster, as root: packages, programs, files, units.

Done again it changes what has changed, and restarts no more than that.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from scripts.backends import places, store, tools
from scripts.backends.kinds import KINDS
from scripts.cluster import nomad, plan, ready, secure, units
from scripts.cluster.plan import Plan

USER = "cecochat"
SECRETS = ("token-secret", "cluster-secret")  # of all nodes; the Vagrantfile leaves them
ETC = Path("/etc/cecochat")
HOME = Path("/opt/cecochat")
DATA = Path("/var/lib/cecochat")
CACHE = Path("/var/cache")  # XDG_CACHE_HOME of the units: the folder in it is `cecochat`
SHARED = Path("/srv")  # the same of the host, where the guests leave what they have brought
UNITS = Path("/etc/systemd/system")
HOSTS = Path("/etc/hosts")
COMMAND = Path("/usr/local/bin/cecochat")
CHECKOUT = ("jobs", "observability", "protos", "scripts", "services", "README.md", "LICENSE")
LOCK = "requirements.lock"
BUILD_LOCK = "requirements-build.lock"
LOCKED = ("pyproject.toml", LOCK, BUILD_LOCK)
LAUNCHERS = ("scripts/backends", "observability")  # what decides how backends run
PACKAGES = ("openjdk-17-jre-headless", "python3-venv", "haproxy")


def provision(here: Plan, *, with_nomad: bool) -> None:
    """Make this machine a node. Raises Failed."""
    with step("packages"):
        for package in PACKAGES:
            _package(package)
        tools.run(["systemctl", "disable", "--now", "--quiet", "haproxy"])  # we run one of our own
    with step("user and checkout"):
        _user()
        changed = _checkout()
        here = _secrets(here)
    with step("Python packages"):
        changed |= _environment()
    with step("backends"):
        for name in here.backends():
            _backend(name)
        program = nomad.bring(SHARED / "cecochat") if with_nomad else None
    with step("files and units"):
        changed |= _files(here)
        returned = ready.returns(here, DATA / "kafka")
        _start(_units(here, program), changed)
    if returned:
        with step("one of the quorum again"):
            ready.in_quorum(here)
    note = ETC / "note"
    if program is None:
        note.write_text(f"NOTE: without Nomad, the servers are units of systemd. {nomad.HOW}\n")
    else:
        note.unlink(missing_ok=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print how long the block took."""
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)


def _package(name: str) -> None:
    status = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
    found = subprocess.run(status, capture_output=True, text=True, check=False)
    if found.stdout != "installed":
        tools.install(name, f"{name} is missing")


def _user() -> None:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        options = [
            "--system",
            "--user-group",
            "--home-dir",
            str(DATA),
            "--shell",
            "/usr/sbin/nologin",
        ]
        tools.run(["useradd", *options, USER])
    if "vagrant" in {user.pw_name for user in pwd.getpwall()}:
        tools.run(["usermod", "--append", "--groups", USER, "vagrant"])  # to use `cecochat`
    DATA.mkdir(parents=True, exist_ok=True)
    shutil.chown(DATA, USER, USER)


def _checkout() -> bool:
    """Copy the checkout, so that an edit on the host changes nothing here. Return if it is new."""
    checkout = HOME / "checkout"
    new = HOME / "checkout.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name in (*CHECKOUT, *LOCKED):
        source = Path.cwd() / name
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        if source.is_dir():
            shutil.copytree(source, new / name, ignore=ignored)
        else:
            shutil.copy(source, new / name)
    tools.run(["chmod", "--recursive", "a+rX", str(new)])  # the host may share it with root alone
    same = ["diff", "--recursive", "--brief", "--exclude=__pycache__", str(checkout), str(new)]
    if checkout.exists() and not subprocess.run(same, capture_output=True, check=False).returncode:
        shutil.rmtree(new)
        return False
    shutil.rmtree(checkout, ignore_errors=True)
    new.rename(checkout)
    return True


def _secrets(here: Plan) -> Plan:
    """Return the node with the secrets that the Vagrantfile has left, if any."""
    secrets = secure.read()
    if secrets:
        secure.install(secrets, Path(plan.SECURE), USER)
    return replace(here, secured=secrets is not None)


def _environment() -> bool:
    """Install the locked packages in /opt/cecochat/venv. One guest does it, the others copy it."""
    venv = HOME / "venv"
    noted = venv / ".locked"
    wanted = _digest(*(HOME / "checkout" / name for name in LOCKED))
    if noted.exists() and noted.read_text() == wanted:
        return False
    shutil.rmtree(venv, ignore_errors=True)
    with _shared():
        made = store.bring(
            "venv", wanted, lambda folder: _make_environment(venv, folder), "with pip"
        )
    if not venv.exists():
        shutil.copytree(made / "venv", venv, symlinks=True)
    noted.write_text(wanted)
    return True


def _make_environment(venv: Path, folder: Path) -> None:
    tools.run(["python3", "-m", "venv", str(venv)])
    pip = [str(venv / "bin" / "pip"), "install", "--quiet"]
    quiet = {
        "PIP_CACHE_DIR": str(SHARED / "cecochat" / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    checkout = HOME / "checkout"
    for lock in (LOCK, BUILD_LOCK):
        tools.run([*pip, "--require-hashes", "-r", str(checkout / lock)], environ=quiet)
    tools.run([*pip, "--no-deps", "--no-build-isolation", "-e", "."], cwd=checkout, environ=quiet)
    shutil.copytree(venv, folder / "venv", symlinks=True)


@contextmanager
def _shared() -> Iterator[None]:
    """Have programs installed in the folder that all guests share during the block."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(SHARED)
    try:
        yield
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


def _backend(name: str) -> None:
    """Install a backend. One guest does it, the others copy it, so they do not need the host."""
    with _shared():
        brought = Path(KINDS[name].provision())
        cache = places.cache()
    if cache not in brought.parents:  # a package of the system
        return
    there = cache / brought.relative_to(cache).parts[0]
    here = CACHE / "cecochat" / "backends" / there.name
    if not here.exists():
        new = here.with_name(f".{here.name}")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(there, new)
        new.rename(here)


def _files(here: Plan) -> bool:
    """Write the servers' files, and return whether anything in them has changed."""
    HOSTS.write_text(_hosts(HOSTS.read_text(), here))
    shutil.chown(ETC, "root", USER)  # Vagrant has made it, for a secret
    ETC.chmod(0o750)
    for name in SECRETS:
        shutil.chown(ETC / name, "root", USER)
        (ETC / name).chmod(0o640)
    if "prometheus" in here.backends():
        _write(Path(plan.METRICS_TOKEN), _metrics_token(), mode=0o640)
    settings = here.settings() | {"CECOCHAT_ADVERTISE_HOST": here.address}
    changed = _write(ETC / "cluster.env", _lines(settings))
    values = plan.job_values(here, _version())
    _write(ETC / "cluster.toml", _toml(values))
    _write(
        COMMAND,
        "#!/bin/sh\n"
        f": ${{CECOCHAT_SETTINGS_FILE={ETC}/cluster.env}}\n"
        f": ${{CECOCHAT_CONNECT_URL=http://{here.address}:{plan.CONNECT}}}\n"
        "export CECOCHAT_SETTINGS_FILE CECOCHAT_CONNECT_URL\n"
        f'exec {HOME}/venv/bin/cecochat "$@"\n',
        mode=0o755,
    )
    return changed


def _metrics_token() -> str:
    words = ("--operator", "prometheus", "--scope", "metrics", "--lifetime", "365d")
    secret = ("--secret-file", str(ETC / "cluster-secret"))
    return tools.run([str(HOME / "venv" / "bin" / "cecochat"), "token", *words, *secret]).strip()


def _hosts(text: str, here: Plan) -> str:
    """Return /etc/hosts with all nodes.

    Debian and Vagrant give a machine's own name addresses such as 127.0.1.1, where nothing listens.
    """
    names = [f"{plan.address(number)} server{number}" for number in here.numbers]
    own = re.compile(r"127\.0\.[1-9]\.1\s")
    kept = [line for line in text.splitlines() if line not in names and not own.match(line)]
    return "".join(f"{line}\n" for line in [*kept, *names])


def _version() -> str:
    """Return the version of the program with a digest of the checkout."""
    version = tools.run([str(HOME / "venv" / "bin" / "cecochat"), "--version"]).split()[-1]
    return f"{version}+{_digest(HOME / 'checkout' / 'services')}"


def _digest(*paths: Path) -> str:
    """Return a digest of files, and of the files in folders."""
    digest = hashlib.sha256()
    for path in sorted(file for each in paths for file in (each, *each.rglob("*"))):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _lines(settings: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _toml(values: Mapping[str, object], table: str = "") -> str:
    """Return values as TOML, which wants strings and numbers before tables."""
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
    for key, value in values.items():
        if isinstance(value, Mapping):
            text += f"\n[{table}{key}]\n" + _toml(value, f"{table}{key}.")
    return text


def _units(here: Plan, nomad_program: Path | None) -> dict[str, str]:
    """Return the text of each unit, by name."""
    found = {}
    secured = [Path(plan.SECURE)] if here.secured else []
    sign = _sign(*(HOME / "checkout" / name for name in LAUNCHERS), *secured)
    shared = {"XDG_CACHE_HOME": str(CACHE), "PYTHONDONTWRITEBYTECODE": "1"}
    for name, options in here.backends().items():
        words = ["-m", "scripts.backends", "run", name, "--data", f"{DATA}/{name}", *options]
        found[name] = (
            units.unit(
                f"{name} of the test cluster",
                f"/usr/bin/python3 {' '.join(words)}",
                units.MEMORY[name],
                shared,
                str(HOME / "checkout"),
                stop_s=60,
                children=f"{units.THEIR_END}\nKillSignal={KINDS[name].stop_signal.name}",
            )
            + sign
        )
    if nomad_program is not None:
        _write(ETC / "nomad.hcl", nomad.agent(here, DATA / "nomad", nomad.interface(here.address)))
        command = f"{nomad_program} agent -config={ETC}/nomad.hcl"
        if here.secured:
            command += f" -config={plan.SECURE}/nomad.json"
        memory = units.MEMORY["nomad"]
        unit = units.unit("Nomad", command, memory, {}, str(DATA), 60, units.OUTLIVE)
        found["nomad"] = unit + _sign(ETC / "nomad.hcl", *secured)
        return found
    found["cecochat-edge"] = units.unit(
        "the edge of CecoChat",
        f"{HOME}/venv/bin/cecochat edge run",
        units.MEMORY["edge"],
        {
            "CECOCHAT_SETTINGS_FILE": f"{ETC}/cluster.env",
            "CECOCHAT_EDGE": f"{here.address}:{plan.CONNECT}",
        },
        str(DATA),
        stop_s=10,
    )
    for server in here.servers():
        found[f"cecochat-{server.name}"] = units.unit(
            f"CecoChat {server.name}",
            f"{HOME}/venv/bin/cecochat serve {server.service}",
            units.SERVER_MEMORY,
            {
                "CECOCHAT_SETTINGS_FILE": f"{ETC}/cluster.env",
                "CECOCHAT_DATA_DIR": f"{DATA}/{server.name}",
                **plan.ports_of(server, here.address),
            },
            str(DATA),
            stop_s=45,  # a messaging server hands its partitions over first
        )
    return found


def _sign(*paths: Path) -> str:
    """Return a line that changes with the files, so that the unit is restarted."""
    return f"# {_digest(*paths)}\n"


def _start(wanted: Mapping[str, str], changed: bool) -> None:
    """Start units that do not run, restart those that changed, and end those not wanted."""
    new = {name for name, text in wanted.items() if _write(UNITS / f"{name}.service", text)}
    if changed:
        new |= {name for name in wanted if name.startswith("cecochat-")}
    for file in UNITS.glob("*.service"):
        if file.stem not in wanted and file.read_text().startswith(units.WRITTEN):
            _end(file)
    tools.run(["systemctl", "daemon-reload"])
    if running := [name for name in sorted(new) if _runs(name)]:
        tools.run(["systemctl", "restart", "--no-block", *running])
    tools.run(["systemctl", "enable", "--quiet", *wanted])
    tools.run(["systemctl", "start", "--no-block", *wanted])


def _end(unit: Path) -> None:
    """End a unit with all that it has started. Nomad's servers would outlive Nomad otherwise."""
    if _runs(unit.stem):
        tools.run(["systemctl", "kill", "--kill-whom=all", unit.stem])
    tools.run(["systemctl", "disable", "--now", "--quiet", unit.stem])
    unit.unlink()


def _runs(unit: str) -> bool:
    return not subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode


def _write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Write a file, and return whether it had another text before."""
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, 0, grp.getgrnam(USER).gr_gid)
    return True
