"""What a node says of itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from meshq.config import load_settings
from meshq.node import status


def test_a_process_tells_what_it_takes_up() -> None:
    """Memory in bytes, CPU time in seconds; of a process that is not there, nothing."""
    begin = time.process_time()
    while time.process_time() - begin < 0.05:
        pass
    used = status.usage(os.getpid())
    assert used is not None
    assert 1e6 < used.rss_bytes < 1e11
    assert 0.05 < used.cpu_s < time.process_time() + 1
    assert status.usage(2**22 + 1) is None


def test_without_proc_a_process_still_knows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS; of its workers it knows only that they are there."""
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"nothing of the kind")
    used = status.usage(os.getpid())
    assert used is not None
    assert used.rss_bytes > 1e6
    assert used.cpu_s > 0
    assert status.workers({3: 1, 0: 1}) == [{"slot": 0, "pid": 1}, {"slot": 3, "pid": 1}]
    assert status.process()["rss_bytes"] == used.rss_bytes


def test_totals_are_of_the_busiest_functions() -> None:
    """As many as a reply has room for."""
    runs = {f"f{number}": number for number in range(status.MAX_FUNCTIONS + 10)}
    totals = status.totals(runs, {"f509": 4})
    assert len(totals) == status.MAX_FUNCTIONS
    assert next(iter(totals.items())) == ("f509", {"runs": 509, "failed": 4})
    assert "f9" not in totals


def test_settings_are_plain_and_the_key_is_hidden(tmp_path: Path) -> None:
    """Not even the path of the key is told, wherever that comes from."""
    key = tmp_path / "secret.key"
    flags = {"mesh": "m", "key": str(key), "state": str(tmp_path), "tags": ["gpu"]}
    settings = load_settings(flags, environ={"MESHQ_SLOTS": "3"}, cwd=tmp_path)
    conf = status.conf(settings, has_key=True)
    assert (conf["mesh"], conf["slots"], conf["tags"], conf["state"]) == ("m", 3, ["gpu"], str(tmp_path))
    assert conf["key"] == "***"
    assert conf["origins"]["slots"] == "environment MESHQ_SLOTS"
    assert "secret" not in str(conf)
    assert status.conf(load_settings({}, environ={}, cwd=tmp_path), has_key=False)["key"] is None


def test_a_report_says_what_is_asked_first(tmp_path: Path) -> None:
    """Versions, sizes, functions, and the settings that are not at their default."""
    stats = {
        "pid": 7, "uptime_s": 12.3, "slots": 2, "workers": [1, 2], "secured": False, "draining": True,
        "counts": {"queued": 3, "running": 1},
    }  # fmt: skip
    settings = load_settings({"mesh": "m"}, environ={"MESHQ_SLOTS": "2"}, cwd=tmp_path)
    functions = [f"work.f{number:02}" for number in range(25)]
    text = status.report("a@h", "tcp://h:1", stats, status.conf(settings, False), functions)
    parts = (
        "node a@h of mesh m at tcp://h:1", "pyzmq", "libzmq", "up 12 s, 2 slots, 2 workers, without a key",
        "draining", "queued: 3, running: 1", "25 functions: work.f00", ", …",
        "slots = 2 (environment MESHQ_SLOTS)",
    )  # fmt: skip
    assert not [part for part in parts if part not in text]
    assert "work.f20" not in text
    plain = load_settings({}, environ={}, cwd=tmp_path)
    text = status.report("a@h", "tcp://h:1", {**stats, "secured": True}, status.conf(plain, True), [])
    assert "with a key" in text
    assert "0 functions\n" in text
    assert text.endswith("  none")
