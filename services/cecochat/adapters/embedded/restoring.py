"""Makes a data folder from an older copy of one."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from cecochat.adapters.embedded import backplane, configuration, history, keys, moderation
from cecochat.adapters.embedded.folder import FolderLock
from cecochat.domain.errors import CecochatError
from cecochat.settings import private

DATABASES = (backplane.FILE, history.FILE, configuration.FILE)
NOT_IN_ALL = (keys.FILE, moderation.FILE)  # copies of older versions lack them
SECRETS = ("token-secret", "cluster-secret", "keys-secret")


class CannotRestore(CecochatError):
    """The copy or the folder cannot be used for this. Nothing was changed."""


class Restored(NamedTuple):
    """What is in the folder now."""

    log_id: str
    ends_at_ms: int  # when the last record of its log was appended; 0: the log is empty
    has_keys: bool  # whether the keys of users are among it


def restored(copy: Path, folder: Path, of_keys: Path | None = None) -> Restored:
    """Copy the databases to `folder`, and check that each is intact. The keys of users may be in a
    file `of_keys` of their own. This call blocks. Raises `CannotRestore`, `InvalidSettings` and
    `FolderInUse` if a process has the folder open.
    """
    of_keys = of_keys or copy / keys.FILE
    if missing := [name for name in DATABASES if not (copy / name).is_file()]:
        raise CannotRestore(f"{copy} is no copy of a data folder: it lacks {', '.join(missing)}")
    private.make_usable(folder)
    lock = FolderLock(folder)
    try:
        _refuse_to_replace(folder)
        try:
            return _copied(copy, folder, of_keys)
        except BaseException:
            for name in (*DATABASES, *NOT_IN_ALL):
                (folder / name).unlink(missing_ok=True)
            raise
    finally:
        lock.release()


def _refuse_to_replace(folder: Path) -> None:
    if there := [name for name in (*DATABASES, *NOT_IN_ALL) if (folder / name).exists()]:
        raise CannotRestore(
            f"{folder} has {', '.join(there)} already: move that folder away first, since nothing "
            "else has what came after the copy"
        )


def _copied(copy: Path, folder: Path, of_keys: Path) -> Restored:
    sources = {name: copy / name for name in DATABASES}
    if has_keys := of_keys.exists():
        sources[keys.FILE] = of_keys
    if (of_moderation := copy / moderation.FILE).exists():
        sources[moderation.FILE] = of_moderation
    for name, source in sources.items():
        try:
            _copy_database(source, folder / name)
        except sqlite3.Error as error:
            raise CannotRestore(f"{source} cannot be restored: {error}") from error
    for name in SECRETS:
        if (copy / name).exists():
            shutil.copy2(copy / name, folder)
    private.protect(folder)
    try:
        with closing(sqlite3.connect(folder / backplane.FILE)) as log:
            (log_id,) = log.execute("SELECT value FROM identity WHERE name = 'log_id'").fetchone()
            (ends_at_ms,) = log.execute("SELECT max(appended_at_ms) FROM records").fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise CannotRestore(f"{copy / backplane.FILE} is not a log: {error}") from error
    return Restored(log_id, ends_at_ms or 0, has_keys)


def _copy_database(source: Path, target: Path) -> None:
    """Copy one database with SQLite, so that what is in its write-ahead log comes along."""
    private.make_file(target)
    with closing(sqlite3.connect(source)) as copy, closing(sqlite3.connect(target)) as whole:
        copy.backup(whole)
        found = [str(line) for (line,) in whole.execute("PRAGMA integrity_check(1)")]
    if found != ["ok"]:
        raise CannotRestore(f"{source} is damaged: {found[0]}")
