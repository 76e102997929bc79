"""The revoked ids of a node on disk, so that a revoke outlasts its restart.

The file is a line that names its format, then one record for each id: the id, the wall-clock second until which it
is refused, and a checksum. Records are appended as ids are revoked, and reach the operating system before the
revoke is answered, so that they outlast the process, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from meshq.core.revocations import LIMIT, TTL_S

log = logging.getLogger("meshq.node")

Ids = Iterable[tuple[bytes, float]]

MAGIC = b"meshq revoked 1\n"
_BODY = struct.Struct(">16sQ")
_SUM = struct.Struct(">I")
RECORD = _BODY.size + _SUM.size
SPARE = 4_096
"""How many records more than twice those that count a file may have before it is written anew."""
_MOST_BYTES = 4 * LIMIT * RECORD
"""No node writes a longer file. The threat: one that fills our memory when it is read."""


class Remembering:
    """The file of one node, which nobody else may have open.

    Where it cannot be read or written the node works on without it, and says so once. ``current()`` returns all
    ids that are refused, each with the seconds for which it is so still.
    """

    def __init__(self, path: Path, current: Callable[[], list[tuple[bytes, float]]]) -> None:
        self._path = path
        self._current = current
        self._file: int | None = None
        self._records = 0
        self._compact_at = 0
        self._complained = False

    def open(self) -> list[tuple[bytes, float]]:
        """Return the ids that are still refused; what has expired or is damaged is not in the file any more."""
        ids = self._read()
        self._rewrite(ids)
        return ids

    def add(self, ids: Ids) -> None:
        """Write down ids, each refused for so many seconds; they are in the hands of the system on return."""
        self._append(_pack(ids))
        if self._file is not None and self._records >= self._compact_at:
            self._rewrite(self._current())

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    # ------------------------------------------------------------------ in

    def _read(self) -> list[tuple[bytes, float]]:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._complain("read", error)
            return []
        ids, wrong = _unpack(content)
        if wrong:
            self._set_aside(wrong)
        return ids

    def _set_aside(self, wrong: str) -> None:
        """Keep a damaged file for whoever wants to look at it; what could be read of it is written anew."""
        aside = self._path.with_name(f"{self._path.name}.damaged")
        try:
            self._path.replace(aside)
        except OSError as error:
            self._complain("replaced", error)
        log.warning("%s %s: what can be read of it counts; the file is now %s", self._path, wrong, aside.name)

    # ------------------------------------------------------------------ out

    def _append(self, packed: bytes) -> None:
        """Write records; what could be written only in part is taken back, as nothing could follow it."""
        if self._file is None:
            return
        size = len(MAGIC) + self._records * RECORD
        try:
            if os.write(self._file, packed) < len(packed):
                raise OSError(errno.ENOSPC, "there is no room left")
            self._records += len(packed) // RECORD
        except OSError as error:
            self._complain("written", error)
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)

    def _rewrite(self, ids: Ids) -> None:
        """Write the file anew with these ids alone, whole or not at all."""
        packed = _pack(ids)
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as fresh:
                os.fchmod(fresh.fileno(), 0o600)
                fresh.write(MAGIC + packed)
            new.replace(self._path)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            self._complain("written", error)
            return
        self.close()
        self._file = file
        self._records = len(packed) // RECORD
        self._compact_at = 2 * self._records + SPARE

    def _complain(self, what: str, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning(
                "%s cannot be %s: %s. Revokes will not outlast a restart of this node; give another --state",
                self._path, what, error.strerror,
            )  # fmt: skip


def _pack(ids: Ids) -> bytes:
    """Return the records of ids. A full second more is what rounding must never cost a revoke."""
    now = time.time()
    bodies = (_BODY.pack(task, math.ceil(now + seconds)) for task, seconds in ids)
    return b"".join(body + _SUM.pack(zlib.crc32(body)) for body in bodies)


def _unpack(content: bytes) -> tuple[list[tuple[bytes, float]], str]:
    """Return the ids that count still, and what is wrong with the file, "" for nothing.

    The clock may have been set meanwhile: no id is refused for longer than one that was revoked just now.
    """
    if len(content) > _MOST_BYTES:
        return [], "is too long"
    if not content.startswith(MAGIC):
        return [], "is no file of revoked ids" if content else ""
    now, ids, bad = time.time(), {}, 0
    for body, right in _records(content):
        if not right:
            bad += 1
            continue
        task, until = _BODY.unpack(body)
        if until > now:
            ids[task] = min(until - now, TTL_S)
    torn = (len(content) - len(MAGIC)) % RECORD
    wrong = [f"has {bad} damaged records"] if bad else []
    wrong += ["ends in the midst of a record"] if torn else []
    return list(ids.items()), " and ".join(wrong)


def _records(content: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield each whole record, and whether it is what was written."""
    for start in range(len(MAGIC), len(content) - RECORD + 1, RECORD):
        body = content[start : start + _BODY.size]
        yield body, content[start + _BODY.size : start + RECORD] == _SUM.pack(zlib.crc32(body))
