"""Opens the backend that the settings choose for each port."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cecochat.ports.backplane import Backplane
from cecochat.ports.configuration import Configuration
from cecochat.ports.deployment import Deployment
from cecochat.ports.discovery import Discovery
from cecochat.ports.files import Files
from cecochat.ports.history import History
from cecochat.ports.keys import Keys
from cecochat.ports.moderation import Moderation
from cecochat.ports.search import Search
from cecochat.ports.signals import Signals
from cecochat.ports.silences import Silences
from cecochat.settings import backends
from cecochat.settings.settings import Settings

if TYPE_CHECKING:
    from cecochat.adapters.embedded.restoring import Restored


def backplane(settings: Settings) -> AbstractAsyncContextManager[Backplane]:
    """Open the log, with the tasks that it needs. If one of these fails, the body is cancelled."""
    return _opened("backplane", settings)


def signals(settings: Settings) -> AbstractAsyncContextManager[Signals]:
    """Open the topic of signals. The log has to be open, since it comes with the log."""
    return _opened("signals", settings)


def history(settings: Settings) -> AbstractAsyncContextManager[History]:
    """Open the history database."""
    return _opened("history", settings)


def search(settings: Settings) -> AbstractAsyncContextManager[Search | None]:
    """Open the index of words; None if there is none, as in a cluster without a shared one."""
    return _opened("search", settings) if has_search(settings) else nullcontext()


def has_search(settings: Settings) -> bool:
    """Return whether there is an index of words."""
    is_alone = not backends.is_shared("history", settings)
    return settings.search and (is_alone or backends.is_shared("search", settings))


def files(settings: Settings) -> AbstractAsyncContextManager[Files | None]:
    """Open the store of attachments; None if there is none, as in a cluster without S3."""
    is_alone = not backends.is_shared("history", settings)
    has_one = settings.attachments and (is_alone or backends.is_shared("files", settings))
    return _opened("files", settings) if has_one else nullcontext()


def keys(settings: Settings) -> AbstractAsyncContextManager[Keys]:
    """Open the keys of users. Do it before the log and the history are opened: whether these are
    there yet says whether the system is new.
    """
    return _opened("keys", settings)


def moderation(settings: Settings) -> AbstractAsyncContextManager[Moderation]:
    """Open the store of reports, the audit log and blocks."""
    return _opened("moderation", settings)


def silences(settings: Settings) -> AbstractAsyncContextManager[Silences]:
    """Open what hook servers have told of users who are away."""
    return _opened("silences", settings)


def configuration(settings: Settings) -> AbstractAsyncContextManager[Configuration]:
    """Open the central configuration."""
    return _opened("configuration", settings)


def discovery(settings: Settings) -> AbstractAsyncContextManager[Discovery]:
    """Open the registry of live servers."""
    return _opened("discovery", settings)


def deployment(settings: Settings) -> AbstractAsyncContextManager[Deployment]:
    """Open the deployment, which runs the servers."""
    chosen = backends.chosen("deployment", settings)
    if not chosen.chosen_by and backends.is_shared("discovery", settings):
        return _by_others()
    return _opened("deployment", settings)


def _opened(port: backends.Port, settings: Settings) -> AbstractAsyncContextManager[Any]:
    return backends.chosen(port, settings).ports[port](settings)


@asynccontextmanager
async def _by_others() -> AsyncGenerator[Deployment]:
    from cecochat.adapters.embedded.deployment import ByOthers

    yield ByOthers()


def restore(copy: Path, folder: Path, keys: Path | None) -> Restored:
    """Make an embedded data folder from a copy of one, and of its keys if that is elsewhere. Raises
    `CecochatError`.
    """
    from cecochat.adapters.embedded.restoring import restored

    return restored(copy, folder, keys)
