"""How many entries in a central document an app may have, so that none takes the room of others."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from cecochat.domain.log.ids import app_of

ENTRIES_MAX: Final = 15_000
OF_NO_APP_MAX: Final = 5_000
OF_AN_APP_MAX: Final = 1_000


def most_of(id_: str) -> int:
    """Return how many entries the app of an id may have."""
    return OF_AN_APP_MAX if app_of(id_) else OF_NO_APP_MAX


def has_room(ids: Collection[str], for_: str) -> bool:
    """Return whether there are not too many entries about these ids, of all and of the app of the
    one that was added.
    """
    app = app_of(for_)
    of_app = sum(app_of(each) == app for each in ids)
    return of_app <= most_of(for_) and len(ids) <= ENTRIES_MAX
