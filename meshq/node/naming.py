"""The name of a node: what was asked for, made unique on its host."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from meshq.errors import ConfigError

_MOST = 10_000
"""No host runs more nodes of one name: something is wrong, which looking on would only hide."""


class NameClaim:
    """Holds a node's name for as long as the node lives; the lock goes with the process, however it ends."""

    def __init__(self, directory: Path, mesh: str, wanted: str) -> None:
        self.directory = directory
        self._file: IO[str] | None = None
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the state directory {directory} cannot be made: {error.strerror}; give another with --state"
            ) from None
        self.name = self._claim(directory, mesh, wanted)

    def _claim(self, directory: Path, mesh: str, wanted: str) -> str:
        for number in range(1, _MOST + 1):
            name = wanted if number == 1 else f"{wanted}-{number}"
            if self._lock(directory / f"{mesh}.{name}.lock"):
                return name
        raise ConfigError(
            f"the names {wanted} to {wanted}-{_MOST} are all taken in {directory}: give another --name, or --state"
        )

    def _lock(self, path: Path) -> bool:
        try:
            file = path.open("w")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}; give another --state") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def close(self) -> None:
        """Let go of the name."""
        if self._file is not None:
            self._file.close()
            self._file = None
