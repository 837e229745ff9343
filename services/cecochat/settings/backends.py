"""What a folder of `adapters/` declares, and which of them the settings choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from cecochat.domain.errors import InvalidSettings
from cecochat.settings import folders
from cecochat.settings.settings import Settings, variable

Port = Literal["backplane", "history", "configuration", "discovery", "deployment"]
DATA: tuple[Port, ...] = ("backplane", "history", "configuration", "discovery")
"""The ports that all servers of a cluster must share."""
Open = Callable[..., AbstractAsyncContextManager[Any]]
"""Takes `Settings`, and that of a backplane also `clock`, by which its retention goes."""
Clock = Callable[[], float]


class Finding(NamedTuple):
    """What `doctor` has found. `mend`: what to do; empty where nothing is wrong."""

    check: str
    result: Literal["ok", "warning", "wrong"]
    found: str
    mend: str = ""


def nothing(settings: Settings) -> Sequence[Finding]:
    """What `doctor` finds where a backend declares no checks."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """All that the rest of the program knows of a backend: `BACKEND` in its `backend.py`.

    That module is imported at every start, so it imports client libraries only inside functions.
    """

    name: str  # of its folder
    ports: Mapping[Port, Open]  # what it serves, and how each is opened
    chosen_by: str = ""  # the setting that chooses it; empty: it serves where no other is chosen
    gives_way_to: str = ""  # a setting that counts more than `chosen_by`
    variables: type[Any] | None = None  # a frozen dataclass of its settings
    shared: bool = False  # whether servers of several processes can use it together
    keeps_in: str = "the data folder"  # where its data is, for messages
    examine: Callable[[Settings], Sequence[Finding]] = nothing  # the checks of `doctor`

    def is_chosen(self, settings: Settings) -> bool:
        """Whether the settings name it."""
        if self.gives_way_to and settings.value(self.gives_way_to):
            return False
        return bool(self.chosen_by and settings.value(self.chosen_by))


def found() -> tuple[Backend, ...]:
    """Every backend; first those that serve where no other is chosen."""
    return tuple(sorted(folders.backends(), key=lambda each: (bool(each.chosen_by), each.name)))


def serving(port: Port) -> tuple[Backend, ...]:
    """Every backend that has this port."""
    return tuple(each for each in found() if port in each.ports)


def chosen(port: Port, settings: Settings) -> Backend:
    """What stands behind a port. Raises `InvalidSettings` where the settings name several."""
    named = [each for each in serving(port) if each.is_chosen(settings)]
    if len(named) > 1:
        names = " and ".join(variable(each.chosen_by) for each in named)
        raise InvalidSettings(f"{names} both choose the {port}: set one of them")
    return next(iter(named), serving(port)[0])


def is_shared(port: Port, settings: Settings) -> bool:
    """Whether servers of several processes find the same behind that port."""
    return chosen(port, settings).shared


def not_shared(settings: Settings) -> list[Port]:
    """The ports that keep a server from being one of a cluster."""
    return [port for port in DATA if not is_shared(port, settings)]


def choices(port: Port) -> list[str]:
    """The variables that choose a shared backend for a port."""
    return [variable(each.chosen_by) for each in serving(port) if each.shared]


def to_share(ports: Iterable[Port]) -> str:
    """Which variables to set so that these ports are shared, for messages."""
    return ", ".join(dict.fromkeys(" or ".join(choices(port)) for port in ports))


def choosing() -> list[str]:
    """The settings that say where data is: what finds a system again."""
    named = [each for each in found() if each.chosen_by and not each.ports.keys().isdisjoint(DATA)]
    return [each.chosen_by for each in named]
