"""The commands: provision, up, down, status, run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.backends import env, places, ports, probe
from scripts.backends.instance import Failed, Instance, Kind
from scripts.backends.kinds import DEFAULT, KINDS, kind
from scripts.backends.launch import Backend
from scripts.backends.process import Process


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Return 0 if it is done, or 1 after a line that says what to do."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.do(arguments))
    except Failed as failed:
        print(failed, file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrupted: run the same command again to go on.", file=sys.stderr)
    return 1


def provision(arguments: argparse.Namespace) -> int:
    for wanted in _kinds(arguments.names):
        started = time.monotonic()
        where = wanted.provision()
        print(f"{wanted.name}: {where} ({time.monotonic() - started:.1f} s)", flush=True)
    return 0


def up(arguments: argparse.Namespace) -> int:
    given = {name: address for name in KINDS if (address := getattr(arguments, name, None))}
    wanted = [kind for kind in _kinds(arguments.names) if kind.name not in given]
    for name, address in given.items():
        _check_given(KINDS[name], address)
    backends = _backends(wanted, arguments, env.read(arguments.env_file) | given)
    for backend in backends:
        backend.kind.provision()
    _start(backends)
    addresses = {backend.kind.name: backend.address for backend in backends} | given
    env.write(arguments.env_file, addresses)
    print(f"{arguments.env_file} tells CecoChat and the tests where they are.")
    return 0


def _start(backends: list[Backend]) -> None:
    """Start all at the same time. One that fails does not stop the others."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(_start_one, backend) for backend in backends]:
            done.result()


def _start_one(backend: Backend) -> None:
    started = time.monotonic()
    backend.start()
    took = time.monotonic() - started
    print(f"{backend.kind.name} answers at {backend.address} ({took:.1f} s)", flush=True)


def _backends(
    wanted: Iterable[Kind], arguments: argparse.Namespace, others: Mapping[str, str]
) -> list[Backend]:
    """Return the backends to start. Those that run stay on the ports that they have.

    `others` are the addresses of backends that are not started here.
    """
    chosen = {} if arguments.ports == "free" else ports.parse(arguments.ports, KINDS)
    found, addresses = [], dict(others)
    for each in wanted:
        folder = arguments.data / each.name
        backend = Backend.noted(each, folder)
        if not backend or not backend.process:
            given = ports.free(each) if arguments.ports == "free" else chosen.get(each.name)
            options = {name: addresses[name] for name in each.options if name in addresses}
            backend = Backend(each, each.instance(folder, given, arguments.host, options))
        addresses[each.name] = backend.address
        found.append(backend)
    return found


def _check_given(kind: Kind, addresses: str) -> None:
    for address in addresses.split(","):
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise Failed(f"--{kind.name} {address} is not an address: give it as host:port")
        if not probe.listens(host, int(port)):
            raise Failed(f"nothing listens at --{kind.name} {address}: start it, or leave this out")
        answers = probe.answered(kind.answers, host, int(port))
        says = "answers" if answers else "listens, but answers no plain request (is it TLS?)"
        print(f"{kind.name} at {address}: {says}", flush=True)


def down(arguments: argparse.Namespace) -> int:
    wanted = _kinds(arguments.names or KINDS)
    for each in wanted:
        backend = Backend.noted(each, arguments.data / each.name)
        running = backend.process if backend else None
        if backend and running:
            started = time.monotonic()
            backend.stop()
            took = time.monotonic() - started
            print(f"{each.name} (pid {running.pid}) has stopped ({took:.1f} s)", flush=True)
        else:
            print(f"{each.name} does not run")
    env.forget(arguments.env_file, [each.name for each in wanted])
    return 0


def status(arguments: argparse.Namespace) -> int:
    given = env.read(arguments.env_file)
    found = [_status(each, arguments.data, given) for each in _asked_of(arguments)]
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(map(_line, found)))
    return 0 if all(each["answers"] for each in found) else 1


def _asked_of(arguments: argparse.Namespace) -> list[Kind]:
    """Return the backends that are meant, and those that were started as well."""
    noted = {name: Process.read(arguments.data / name / "pid") for name in KINDS}
    started = [name for name, process in noted.items() if process and process.alive]
    return _kinds(arguments.names or [*DEFAULT, *started])


def _status(kind: Kind, data: Path, given: Mapping[str, str]) -> dict[str, object]:
    backend = Backend.noted(kind, data / kind.name)
    running = backend.process if backend else None
    if backend and running:
        address, pid, memory = backend.address, running.pid, running.memory_bytes
    else:
        address, pid, memory = given.get(kind.name, ""), None, 0
    return {
        "name": kind.name,
        "pid": pid,
        "address": address,
        "answers": _answers(kind, address.split(",")[0]),
        "memory_bytes": memory,
        "folder": str(data / kind.name) if pid else "",
    }


def _answers(kind: Kind, address: str) -> bool:
    host, _, port = address.rpartition(":")
    return port.isdecimal() and probe.answered(kind.answers, host, int(port))


def _line(found: Mapping[str, object]) -> str:
    if not found["address"]:
        return f"{found['name']:13} does not run"
    answers = "answers" if found["answers"] else "DOES NOT ANSWER"
    where = f"{found['name']:13} {answers} at {found['address']}"
    if found["pid"] is None:
        return f"{where} (not started here)"
    memory = int(str(found["memory_bytes"])) >> 20
    return f"{where}, pid {found['pid']}, {memory} MiB, {found['folder']}"


def run(arguments: argparse.Namespace) -> int:
    wanted, instance = kind(arguments.name), _instance(arguments)
    instance.folder.mkdir(parents=True, exist_ok=True)
    wanted.provision()
    command = wanted.command(instance)
    sys.stdout.flush()
    os.chdir(instance.folder)
    os.execvpe(command.argv[0], command.argv, {**os.environ, **command.environ})  # noqa: S606


def _instance(arguments: argparse.Namespace) -> Instance:
    """Return the instance that `run` runs."""
    wanted = kind(arguments.name)
    given = {} if arguments.port is None else {next(iter(wanted.ports)): arguments.port}
    given |= ports.parse(arguments.ports, {wanted.name: wanted}).get(wanted.name, {})
    options = {key: value for key in wanted.options if (value := _option(arguments, key))}
    return wanted.instance(arguments.data, given, arguments.host, options)


def _option(arguments: argparse.Namespace, key: str) -> str | None:
    value: str | None = getattr(arguments, key.replace("-", "_"))
    return value


def _kinds(names: Iterable[str]) -> list[Kind]:
    """Return the kinds that are named, or the default ones, in the order of their start."""
    chosen = {kind(name).name for name in names} or set(DEFAULT)
    return [each for name, each in KINDS.items() if name in chosen]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m scripts.backends",
        description=f"Run the real backends on this machine: {', '.join(KINDS)}.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for do, about in (
        (provision, "install them on this machine, once"),
        (up, "start them, wait until they answer, and note where they are"),
        (down, "stop what was started here"),
        (status, "print a line about each; the exit code is 0 if all answer"),
    ):
        command = commands.add_parser(do.__name__, help=about, description=about)
        command.set_defaults(do=do)
        default = f"by default {'all' if do is down else ', '.join(DEFAULT)}"
        command.add_argument("names", nargs="*", metavar="NAME", help=default)
        if do is not provision:
            _add_places(command)
        if do is up:
            _add_choices(command)
        if do is status:
            command.add_argument("--json", action="store_true")
    _add_run(commands.add_parser("run", help="run one in the foreground, in place of this program"))
    return parser


def _folder(text: str) -> Path:
    """Expand `~`, since a job of Nomad has no shell that does it."""
    return Path(text).expanduser()


def _add_places(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        default=places.data(),
        metavar="FOLDER",
        help="each has a folder in this one (default: %(default)s)",
    )
    command.add_argument(
        "--env-file",
        type=Path,
        default=places.env_file(),
        metavar="FILE",
        help="where their addresses are noted (default: %(default)s)",
    )


def _add_choices(command: argparse.ArgumentParser) -> None:
    _add_ports(command, '; or "free", for any that are free')
    for name in env.VARIABLES:
        about = f"use a {name} that runs already: it is checked and noted, and none is started"
        command.add_argument(f"--{name}", metavar="HOST:PORT", help=about)


def _add_ports(command: argparse.ArgumentParser, more: str) -> None:
    about = f"ports to use, such as kafka=17092,kafka.controller=17093{more}"
    command.add_argument("--ports", default="", help=about)
    about = "address to listen on (default: %(default)s, which only this machine can reach)"
    command.add_argument("--host", default="127.0.0.1", help=about)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.set_defaults(do=run)
    command.add_argument("name", choices=list(KINDS), metavar="NAME")
    about = "its folder; ~ is the home of the user who runs it"
    command.add_argument("--data", type=_folder, required=True, metavar="FOLDER", help=about)
    command.add_argument(
        "--port", type=int, help="port for clients; its others keep their distance"
    )
    _add_ports(command, "")
    options: dict[str, list[str]] = {}
    for each in KINDS.values():
        for key, about in each.options.items():
            options.setdefault(key, []).append(f"{each.name}: {about}")
    for key, abouts in options.items():
        command.add_argument(f"--{key}", help="; ".join(abouts))
