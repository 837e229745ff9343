"""The data folder, which one process uses at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cecochat.domain.errors import CecochatError
from cecochat.settings import private

LOCK_FILE = "log.lock"


class FolderInUse(CecochatError):
    """Another process has the data folder open."""


class FolderLock:
    """An advisory lock (flock). It ends with the process, whose id is in the file."""

    def __init__(self, folder: Path) -> None:
        """Create the folder if there is none, and lock it. Raises `FolderInUse` with the holder's
        process id.
        """
        private.make_folder(folder)
        path = folder / LOCK_FILE
        private.make_file(path)
        self._file = path.open("a+", encoding="ascii")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            pid = path.read_text("ascii").strip() or "unknown"
            raise FolderInUse(
                f"{folder} is in use by process {pid}: stop that process, or choose another folder"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Release the lock. It may be called again."""
        self._file.close()
