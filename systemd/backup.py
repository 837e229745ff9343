"""Back up the data folder of a running system, check the copy, and keep the newest ones.

backup.py DATA_FOLDER BACKUP_FOLDER [--keep 14] [--keep-keys 14]

The keys of users go to `keys` in the backup folder, so that they can be kept for less long than the
rest: a user is erased in all backups once no copy of the keys from before is left.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

# The log is the last: what the copied history lacks, it then gets from the log.
DATABASES = ("configuration.db", "history.db", "log.db")
MODERATION = "moderation.db"
SECRETS = ("token-secret", "cluster-secret", "keys-secret")
KEYS = "keys.db"


def back_up(data: Path, folder: Path) -> Path:
    """Make one copy, in a folder that is named after the time, and return that folder."""
    beside = folder / ".unfinished"
    shutil.rmtree(beside, ignore_errors=True)  # left by a backup that was interrupted
    beside.mkdir(mode=0o700)
    for name in DATABASES:
        copy(data / name, beside / name)
    if (data / MODERATION).exists():  # older versions have none
        copy(data / MODERATION, beside / MODERATION)
    for name in SECRETS:
        if (data / name).exists():
            shutil.copy2(data / name, beside / name)
    done = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}"
    back_up_keys(data, folder / "keys", f"{done.name}.db")  # of all that the copies need
    os.sync()  # nothing has its final name before the disk has it
    beside.rename(done)
    os.sync()
    return done


def back_up_keys(data: Path, folder: Path, name: str) -> None:
    """Make a copy of the keys of users, if there are any."""
    if not (data / KEYS).exists():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    beside = folder / ".unfinished"
    beside.unlink(missing_ok=True)
    copy(data / KEYS, beside)
    beside.rename(folder / name)


def copy(source: Path, target: Path) -> None:
    """Copy a database that is in use, and check the copy."""
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True)) as live,
        closing(sqlite3.connect(target)) as made,
    ):
        live.backup(made)
        [[verdict]] = made.execute("PRAGMA quick_check(1)")
    if verdict != "ok":
        sys.exit(f"{source} cannot be backed up: {verdict}")


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest copies."""
    copies = sorted(path for path in folder.iterdir() if path.name[0].isdigit())
    for old in copies[:-keep]:
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()


def main() -> None:
    """Back up, and then remove what is too old."""
    parser = argparse.ArgumentParser(description="Back up a running CecoChat.")
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=int, default=14)
    parser.add_argument("--keep-keys", type=int, default=14)
    given = parser.parse_args()
    if min(given.keep, given.keep_keys) < 1:
        parser.error("--keep and --keep-keys are how many copies to keep, 1 or more")
    os.umask(0o077)
    try:
        print(f"backed up in {back_up(given.data.absolute(), given.folder)}")
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"{given.data} cannot be backed up: {error}")
    prune(given.folder, given.keep)
    if (given.folder / "keys").exists():
        prune(given.folder / "keys", given.keep_keys)


if __name__ == "__main__":
    main()
