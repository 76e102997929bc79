"""Revoked ids on disk: what is written is read again, whatever has happened to the file or the clock meanwhile."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshq.core.revocations import TTL_S
from meshq.node import remembering as module
from meshq.node.remembering import MAGIC, RECORD, Remembering

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
HOUR_S = 3600.0


class Disk:
    """A node's file, and the lives of the node."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "mesh.node.revoked"
        self.current: list[tuple[bytes, float]] = []
        self._lives: list[Remembering] = []

    def begin(self) -> tuple[Remembering, dict[bytes, float]]:
        """Begin a life; return its memory, and what it remembers."""
        made = Remembering(self.path, lambda: self.current)
        self._lives.append(made)
        return made, dict(made.open())

    def remembered(self) -> dict[bytes, float]:
        """Return what another life would remember."""
        return self.begin()[1]

    def write(self, *ids: bytes) -> None:
        """Let a life write down ids, and end without a word."""
        memory, _ = self.begin()
        for task in ids:
            memory.add([(task, HOUR_S)])

    def close(self) -> None:
        """Close all that is open."""
        for life in self._lives:
            life.close()
            life.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A directory without a file."""
    made = Disk(tmp_path)
    yield made
    made.close()


def test_what_was_written_is_remembered(disk: Disk) -> None:
    """With the time that is left, whoever may read it, and from the moment in which it was written."""
    memory, before = disk.begin()
    assert before == {}
    memory.add([(A, HOUR_S), (B, 60.0)])
    memory.add([(C, TTL_S)])
    assert disk.path.stat().st_mode & 0o777 == 0o600
    now = disk.remembered()
    assert now == {A: pytest.approx(HOUR_S, abs=2), B: pytest.approx(60.0, abs=2), C: TTL_S}
    assert now[A] >= HOUR_S - 1


def test_the_time_of_a_stopped_node_counts(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has expired meanwhile is forgotten, on disk too."""
    disk.write(A)
    later = time.time() + HOUR_S + 2
    monkeypatch.setattr(module.time, "time", lambda: later)
    assert disk.remembered() == {}
    assert disk.path.read_bytes() == MAGIC


def test_a_clock_that_was_set_back_keeps_nothing_for_ever(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No id is refused for longer than one that is revoked just now."""
    disk.write(A)
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    assert disk.remembered() == {A: TTL_S}


@pytest.mark.parametrize("missing", range(1, RECORD))
def test_a_record_that_was_cut_short_costs_no_other(
    disk: Disk, missing: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The power failed in the midst of it; it is said once, and the next start finds nothing wrong."""
    disk.write(A, B)
    os.truncate(disk.path, disk.path.stat().st_size - missing)
    assert disk.remembered().keys() == {A}
    assert "ends in the midst of a record" in caplog.text
    caplog.clear()
    assert disk.remembered().keys() == {A}
    assert caplog.text == ""


def test_a_damaged_record_is_left_out_and_the_file_set_aside(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever wants to know why can look at it."""
    disk.write(A, B, C)
    content = bytearray(disk.path.read_bytes())
    content[len(MAGIC) + RECORD] ^= 1
    disk.path.write_bytes(content)
    assert disk.remembered().keys() == {A, C}
    assert "has 1 damaged records" in caplog.text
    assert disk.path.with_name("mesh.node.revoked.damaged").read_bytes() == content


@pytest.mark.parametrize("content", [b"something else", b"\0" * 100, MAGIC[:5]])
def test_a_file_of_something_else_is_set_aside(
    disk: Disk, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """And the node remembers from now on."""
    disk.path.write_bytes(content)
    disk.write(A)
    assert "is no file of revoked ids" in caplog.text
    assert disk.remembered().keys() == {A}


def test_an_empty_file_is_nothing_to_speak_of(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """The disk was full when it was made."""
    disk.path.touch()
    assert disk.remembered() == {}
    assert caplog.text == ""


def test_a_file_longer_than_any_node_writes_is_not_read(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would fill the memory."""
    disk.write(A, B)
    monkeypatch.setattr(module, "_MOST_BYTES", 50)
    assert disk.remembered() == {}
    assert "is too long" in caplog.text


def test_a_long_file_is_written_anew_with_what_counts(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not grow for as long as its node lives."""
    monkeypatch.setattr(module, "SPARE", 3)
    memory, _ = disk.begin()
    disk.current = [(C, HOUR_S)]
    for task in (A, B, C):
        memory.add([(task, HOUR_S)])
    assert disk.path.stat().st_size == len(MAGIC) + RECORD
    memory.add([(A, HOUR_S)])
    assert disk.remembered().keys() == {A, C}


def test_without_a_directory_the_node_works_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says once what that means, and what to do."""
    disk = Disk(tmp_path / "nowhere")
    memory, before = disk.begin()
    memory.add([(A, HOUR_S)])
    memory.close()
    assert before == {}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "will not outlast a restart" in caplog.text
    assert "--state" in caplog.text


def test_what_cannot_be_read_is_no_reason_to_stop(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """A directory in its place, say, which cannot be replaced either."""
    disk.path.mkdir()
    memory, before = disk.begin()
    memory.add([(A, HOUR_S)])
    assert before == {}
    assert len(caplog.records) == 1


def test_a_damaged_file_that_cannot_be_moved_is_read_all_the_same(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is right in it counts."""
    disk.write(A, B)
    os.truncate(disk.path, disk.path.stat().st_size - 1)
    (disk.path.with_name("mesh.node.revoked.damaged") / "occupied").mkdir(parents=True)
    assert disk.remembered().keys() == {A}


def test_a_full_disk_spoils_nothing(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written in part is taken back, so that what is written later can be read."""
    memory, _ = disk.begin()
    memory.add([(A, HOUR_S)])
    write = os.write
    monkeypatch.setattr(module.os, "write", lambda file, data: write(file, data[:7]))
    memory.add([(B, HOUR_S)])
    monkeypatch.setattr(module.os, "write", _fail)
    memory.add([(B, HOUR_S)])
    monkeypatch.setattr(module.os, "write", write)
    memory.add([(C, HOUR_S)])
    assert len(caplog.records) == 1
    assert disk.remembered().keys() == {A, C}


def test_a_disk_that_fails_while_the_file_is_written_anew_keeps_the_old_one(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost that had been written."""
    memory, _ = disk.begin()
    monkeypatch.setattr(module, "SPARE", 0)
    memory.add([(A, HOUR_S)])
    with monkeypatch.context() as failing:
        failing.setattr(Path, "replace", _fail)
        memory._rewrite([])
    memory._append(module._pack([(B, HOUR_S)]))
    assert disk.remembered().keys() == {A, B}


def _fail(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "no space left on device")
