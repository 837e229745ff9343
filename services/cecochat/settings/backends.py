"""Declares what a folder of `adapters/` offers, and picks a backend for each port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from cecochat.domain.errors import InvalidSettings
from cecochat.settings import folders
from cecochat.settings.settings import Settings, variable

Port = Literal[
    "backplane",
    "signals",
    "history",
    "search",
    "files",
    "keys",
    "moderation",
    "silences",
    "configuration",
    "discovery",
    "deployment",
]
DATA: tuple[Port, ...] = (
    "backplane",
    "history",
    "keys",
    "moderation",
    "silences",
    "configuration",
    "discovery",
)
"""The ports that all servers of a cluster have to share."""
Open = Callable[..., AbstractAsyncContextManager[Any]]
"""It takes `Settings`. That of a backplane also takes `clock`, which its retention follows."""
Clock = Callable[[], float]


class Finding(NamedTuple):
    """What a check of `doctor` has found, and how to mend it if it is wrong."""

    check: str
    result: Literal["ok", "warning", "wrong"]
    found: str
    mend: str = ""


def nothing(settings: Settings) -> Sequence[Finding]:
    """Find nothing, for a backend without checks."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """All that the rest of the program knows about a backend: `BACKEND` in its `backend.py`.

    That module is imported at every start, so it imports client libraries only inside functions.
    """

    name: str  # the name of its folder
    ports: Mapping[Port, Open]  # the ports that it serves, and how each is opened
    chosen_by: str = ""  # the setting that chooses it; if empty, it serves if no other is chosen
    gives_way_to: str = ""  # a setting that takes precedence over `chosen_by`
    variables: type[Any] | None = None  # a frozen dataclass of its settings
    shared: bool = False  # whether servers of several processes can use it together
    keeps_in: str = "the data folder"  # the place of its data, for messages
    examine: Callable[[Settings], Sequence[Finding]] = nothing  # the checks of `doctor`

    def is_chosen(self, settings: Settings) -> bool:
        """Return whether the settings choose this backend."""
        if self.gives_way_to and settings.value(self.gives_way_to):
            return False
        return bool(self.chosen_by and settings.value(self.chosen_by))


def found() -> tuple[Backend, ...]:
    """Return every backend, beginning with those that serve if no other is chosen."""
    return tuple(sorted(folders.backends(), key=lambda each: (bool(each.chosen_by), each.name)))


def serving(port: Port) -> tuple[Backend, ...]:
    """Return every backend that has a port."""
    return tuple(each for each in found() if port in each.ports)


def chosen(port: Port, settings: Settings) -> Backend:
    """Return the backend of a port. Raises `InvalidSettings` if the settings choose several."""
    named = [each for each in serving(port) if each.is_chosen(settings)]
    if len(named) > 1:
        names = " and ".join(variable(each.chosen_by) for each in named)
        raise InvalidSettings(f"{names} both choose the {port}: set only one of them")
    return next(iter(named), serving(port)[0])


def is_shared(port: Port, settings: Settings) -> bool:
    """Return whether servers in several processes share what is behind a port."""
    return chosen(port, settings).shared


def not_shared(settings: Settings) -> list[Port]:
    """Return the ports that are not shared, so that a server cannot be part of a cluster."""
    return [port for port in DATA if not is_shared(port, settings)]


def choices(port: Port) -> list[str]:
    """Return the variables that choose a shared backend for a port."""
    return [variable(each.chosen_by) for each in serving(port) if each.shared]


def to_share(ports: Iterable[Port]) -> str:
    """Tell, for messages, which variables to set so that ports are shared."""
    return ", ".join(dict.fromkeys(" or ".join(choices(port)) for port in ports))


def choosing() -> list[str]:
    """Return the settings that say where data is, by which commands find a system again."""
    named = [each for each in found() if each.chosen_by and not each.ports.keys().isdisjoint(DATA)]
    return [each.chosen_by for each in named]
