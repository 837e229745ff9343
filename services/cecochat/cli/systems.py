"""The systems that `cecochat up` has started on this machine.

Each has a file, which its process keeps locked as long as it runs. So one that was killed is never
taken for one that runs, whoever has got its pid since.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from cecochat.settings.settings import Settings

METRICS_LIFETIME_S = 365 * 86_400.0  # the token's file is replaced at each `up`
TRACES = ("otlp_url", "jaeger_url")
LATER = ("websocket", "history_http")  # what earlier versions did not note
FILE_MAX_BYTES = 1 << 20
ENDED_MAX = 8  # ended systems that are remembered

_held: list[IO[str]] = []  # the files of systems that this process runs, locked until it ends


@dataclass(frozen=True, slots=True)
class System:
    """A system of this machine."""

    connect: str  # URL
    messaging: str  # host:port
    history: str  # host:port
    health: dict[str, str]  # server -> URL of its internal listener
    data: str  # the data folder
    token_secret_file: str | None
    cluster_secret_file: str
    backends: dict[str, str]  # setting -> value
    traces: dict[str, str]  # setting -> URL
    runs: bool
    websocket: str = ""  # URL
    history_http: str = ""  # URL

    @property
    def ports(self) -> set[int | None]:
        """The ports that it uses."""
        hosts = (f"//{each}" for each in (self.messaging, self.history))
        web = (url for url in (self.websocket, self.history_http) if url)
        urls = [self.connect, *hosts, *web, *self.health.values()]
        return {urlsplit(url).port for url in urls}

    @property
    def name(self) -> str:
        """Where it is, as commands say it."""
        return f"{self.connect} (data {self.data})"


def state_dir() -> Path:
    """Return the folder of what commands remember.

    It is `$XDG_STATE_HOME/cecochat`, or else ~/.local/state/cecochat.
    """
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "cecochat"


def targets_file() -> Path:
    """Return the file with the servers of the last `up`, for Prometheus' file-based discovery."""
    return state_dir() / "targets.json"


def metrics_token_file() -> Path:
    """Return the file with the token that Prometheus needs to scrape the servers of `up`."""
    return state_dir() / "metrics-token"


def known() -> list[System]:
    """Return those that run, then those that have ended and whose data is still there.

    What was started last comes first.
    """
    return [system for _, system in _files()]


def running() -> list[System]:
    """Return those that run; what was started last comes first."""
    return [system for system in known() if system.runs]


def default() -> System | None:
    """Return the one that commands talk to unless they are told: the first of `known`."""
    return next(iter(known()), None)


def at(url: str) -> System | None:
    """Return the one whose connect server has this URL."""
    wanted = url.rstrip("/").replace("//localhost", "//127.0.0.1")
    return next((each for each in known() if each.connect == wanted), None)


def of_data(folder: Path) -> System | None:
    """Return the one that keeps its data in this folder."""
    wanted = str(folder.expanduser().absolute())
    return next((each for each in known() if each.data == wanted), None)


def hint() -> str:
    """Return a sentence that says what to do if nothing answers."""
    if found := running():
        return f"What runs here is {', '.join(each.name for each in found)}"
    if ended := default():
        data, port = shlex.quote(ended.data), urlsplit(ended.connect).port
        again = f"cecochat up --data {data} --port-base {port}"
        return f"The last `cecochat up` has ended. Start it again with: {again}"
    return "Start a system with: cecochat up"


def _files() -> list[tuple[Path, System]]:
    found = []
    for path in (state_dir() / "systems").glob("*.json"):
        try:
            found.append((path.stat().st_mtime_ns, path, _read(path)))
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue  # it is being replaced, or is not one of ours
    found.sort(key=lambda each: (each[2].runs, each[0]), reverse=True)
    return [
        (path, system) for _, path, system in found if system.runs or Path(system.data).is_dir()
    ]


def _read(path: Path) -> System:
    """Read a file that `remember` wrote. Raises `OSError`, `LookupError`, `ValueError`, ..."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for ever
    with os.fdopen(descriptor) as file:
        line = json.loads(file.read(FILE_MAX_BYTES))
        names = [each.name for each in fields(System) if each.name not in ("runs", *LATER)]
        values = {name: line[name] for name in names}
        later = {name: line.get(name, "") for name in LATER}
        system = System(**values, runs=_is_locked(file), **later)
    texts = (system.connect, system.messaging, system.history, system.data, *later.values())
    objects = system.health, system.backends, system.traces
    are_texts = all(isinstance(each, str) for each in texts)
    if not are_texts or not all(isinstance(each, dict) for each in objects):
        raise TypeError(f"{path} is not one of ours")
    return system


def _is_locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


# -- written by `up`


def remember(addresses: dict[str, Any], settings: Settings) -> None:
    """Note a system that this process runs."""
    from cecochat.settings import backends

    finding = [*backends.choosing(), "namespace"]
    addresses = addresses | {
        "backends": {name: settings.value(name) for name in finding},
        "traces": {name: getattr(settings, name) for name in TRACES},
    }
    targets = _targets(addresses["health"], settings.namespace)
    _forget_ended(addresses["data"])
    path = state_dir() / "systems" / f"{addresses['pid']}.json"
    _held.append(_write(path, json.dumps(addresses) + "\n", mode=0o600))
    _write(targets_file(), json.dumps(targets) + "\n", mode=0o644).close()
    _write(metrics_token_file(), _metrics_token(settings), mode=0o600).close()


def _forget_ended(data: str) -> None:
    """Forget the runs before of the same system, and systems that ended long ago."""
    ended = [(path, system) for path, system in _files() if not system.runs]
    for index, (path, system) in enumerate(ended):
        if system.data == data or index >= ENDED_MAX:
            path.unlink(missing_ok=True)


def _write(path: Path, text: str, mode: int) -> IO[str]:
    """Write a file at once, and return it: locked until it is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=mode)
    file = beside.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(text)
    file.flush()
    beside.replace(path)
    return file


def _metrics_token(settings: Settings) -> str:
    from cecochat.auth.operators import Operators

    operators = Operators(settings.cluster_secret.read_bytes())
    return operators.mint("prometheus", ["metrics"], METRICS_LIFETIME_S)


def _targets(health: Mapping[str, str], namespace: str) -> list[dict[str, Any]]:
    """Return the targets with the same labels that Consul's discovery would give them.

    `health` maps the name of a server, such as messaging or messaging-1, to its URL.
    """
    return [
        {
            "targets": [urlsplit(url).netloc],
            "labels": {
                "__scheme__": urlsplit(url).scheme,
                "namespace": namespace,
                "service": name.partition("-")[0],
                "instance": name,
            },
        }
        for name, url in health.items()
    ]
