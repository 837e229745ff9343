"""Back up the data folder of a running system, check the copy, and keep the newest ones.

backup.py DATA_FOLDER BACKUP_FOLDER [--keep 14]
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
SECRETS = ("token-secret", "cluster-secret")


def back_up(data: Path, folder: Path) -> Path:
    """Make one copy, in a folder that is named after the time, and return that folder."""
    beside = folder / ".unfinished"
    shutil.rmtree(beside, ignore_errors=True)  # left by a backup that was interrupted
    beside.mkdir(mode=0o700)
    for name in DATABASES:
        copy(data / name, beside / name)
    for name in SECRETS:
        if (data / name).exists():
            shutil.copy2(data / name, beside / name)
    done = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}"
    os.sync()  # nothing has its final name before the disk has it
    beside.rename(done)
    os.sync()
    return done


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
        shutil.rmtree(old)


def main() -> None:
    """Back up, and then remove what is too old."""
    parser = argparse.ArgumentParser(description="Back up a running CecoChat.")
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=int, default=14)
    given = parser.parse_args()
    if given.keep < 1:
        parser.error("--keep is how many copies to keep, 1 or more")
    os.umask(0o077)
    try:
        print(f"backed up in {back_up(given.data.absolute(), given.folder)}")
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"{given.data} cannot be backed up: {error}")
    prune(given.folder, given.keep)


if __name__ == "__main__":
    main()
