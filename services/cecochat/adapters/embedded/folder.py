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
    """An advisory lock (flock): it ends with the process, and its file names the process."""

    def __init__(self, folder: Path) -> None:
        """Create the folder if need be and lock it. Raises `FolderInUse` with the holder's pid."""
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
                f"{folder} is in use by the process {pid}: stop it, or choose another folder"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others in. Idempotent."""
        self._file.close()
