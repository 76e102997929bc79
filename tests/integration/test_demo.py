"""``meshq demo``, run as a user runs it, and the job that it shows."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshq import Mesh
from meshq.cli.demo_job import choose_files, library_files, survey
from meshq.cli.local_nodes import LocalFailed, LocalNodes, sealed_off

LIMIT_S = 30.0
"""What the demo may take, on two CPUs that others use too."""


@contextmanager
def only_marked() -> Iterator[str]:
    """Give a variable's value that all processes of a demo inherit, so that none that is left goes unseen."""
    value = uuid.uuid4().hex
    try:
        yield value
    finally:
        for pid in marked(value):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def mark() -> Iterator[str]:
    """The mark of a test's only demo."""
    with only_marked() as value:
        yield value


def marked(mark: str) -> list[int]:
    """Return the pids of the processes that carry the mark."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"DEMO_MARK={mark}".encode() in path.read_bytes():
                pids.append(int(path.parent.name))
        except OSError:
            continue
    return pids


def start_demo(mark: str, directory: Path, **variables: str) -> subprocess.Popen[str]:
    """Start the demo in a directory, with its output in ``out`` there."""
    root = str(Path(__file__).resolve().parents[2])
    with (directory / "out").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "meshq", "demo"],
            cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": root, "DEMO_MARK": mark, **variables},
        )  # fmt: skip


def wait_for(text: str, path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the demo has printed a text."""
    end_at = time.monotonic() + LIMIT_S
    while text not in path.read_text():
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < end_at, path.read_text()
        time.sleep(0.01)


def test_the_demo_keeps_its_promises(tmp_path: Path, mark: str) -> None:
    """Two nodes share the job, one is killed, nothing is missing, nothing is left, and the user's own
    settings, even wrong ones, do not disturb it."""
    (tmp_path / "meshq.toml").write_text('mdns = false\nbind = "203.0.113.1"\n')
    begun = time.monotonic()
    process = start_demo(mark, tmp_path, MESHQ_KEY="/nowhere/mesh.key", MESHQ_INSECURE="1", MESHQ_SLOTS="none")
    code = process.wait(2 * LIMIT_S)
    took, out = time.monotonic() - begun, (tmp_path / "out").read_text()
    assert code == 0, out
    assert took < LIMIT_S, out
    shares = {name: int(count.replace(",", "")) for name, count in re.findall(r"(\w+): +([\d,]+) files, ", out)}
    files = int(re.search(r"all ([\d,]+) results are equal", out)[1].replace(",", ""))  # type: ignore[index]
    assert shares["alpha"] > 0
    assert shares["beta"] > 0
    assert sum(shares.values()) == files
    for words in ("nothing is missing", "beta is missing", "it never ran (TaskRevoked)", "meshq key new"):
        assert words in out
    assert re.search(r"beta \(pid \d+\) is killed by SIGKILL", out)
    assert "\x1b" not in out
    assert marked(mark) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meshq.toml", "out"]


STOPS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(scope="module")
def stops(tmp_path_factory: pytest.TempPathFactory) -> dict[signal.Signals, Future[None]]:
    """Demos that are stopped by each of the signals, at the same time."""
    with ThreadPoolExecutor() as pool:
        return {number: pool.submit(stop_demo, tmp_path_factory.mktemp("demo"), number) for number in STOPS}


def stop_demo(directory: Path, number: signal.Signals) -> None:
    """Stop a demo in the middle of its job; raises AssertionError where anything is left of it."""
    with only_marked() as mark:
        process = start_demo(mark, directory, TMPDIR=str(directory))
        wait_for("gamma, is started", directory / "out", process)
        assert len(marked(mark)) > 3
        process.send_signal(number)
        assert process.wait(10) == 128 + number
        assert marked(mark) == []
        assert [path.name for path in directory.iterdir()] == ["out"]
        assert "Traceback" not in (directory / "out").read_text()


@pytest.mark.parametrize("number", STOPS)
def test_a_demo_that_is_stopped_leaves_nothing(
    stops: dict[signal.Signals, Future[None]], number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM in the middle of the job end the demo, its nodes and their workers, and its files."""
    stops[number].result()


def test_a_node_that_cannot_start_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a node ends at its start, the demo fails with the node's own words, and ends the other."""
    monkeypatch.setenv("MESHQ_NO_NODES_TIMEOUT", "soon")  # wrong, and not to be heeded here
    name = f"demo-{uuid.uuid4().hex[:8]}"
    with sealed_off(name) as directory:
        (directory / "meshq.toml").write_text('bind = "203.0.113.1"\nkey = "mesh.key"\n')
        with LocalNodes(name, directory, "meshq.cli.demo_job") as nodes, Mesh() as mesh:
            nodes.start("alpha")
            with pytest.raises(LocalFailed, match=r"alpha ended at its start(.|\n)*203\.0\.113\.1"):
                nodes.wait_seen(mesh, "alpha")
    assert os.environ["MESHQ_NO_NODES_TIMEOUT"] == "soon"
    assert "MESHQ_MESH" not in os.environ
    assert not directory.exists()


def test_a_survey_tells_what_is_in_a_file(tmp_path: Path) -> None:
    """Lines, tokens, the SHA-256, and each package imported, at whatever depth, but for relative imports."""
    text = (
        "import os, sys as system; import json.decoder\n"
        "from collections import Counter, deque\n"
        "from . import sibling\n"
        "from .cousin import thing\n"
        "def f():\n"
        "    from email import (  # why\n        message,\n    )\n"
        "    yield from g\n"
        "raise a from b\n"
    )
    path = tmp_path / "some.py"
    path.write_text(text)
    result = survey(str(path))
    assert result["imports"] == ["collections", "email", "json", "os", "sys"]
    assert result["lines"] == 10
    assert result["tokens"] > 50
    assert result["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert result["error"] == ""
    assert result["node_pid"] == os.getppid()


def test_a_survey_survives_what_is_not_python(tmp_path: Path) -> None:
    """A file that cannot be tokenised is reported as such, with its lines and its hash."""
    path = tmp_path / "bad.py"
    path.write_bytes(b"# coding: no-such-encoding\n")
    result = survey(str(path))
    assert result["error"] == "SyntaxError"
    assert result["lines"] == 1


def test_the_files_are_chosen_by_time() -> None:
    """Files come once each, all from the standard library, more of them for more time, three hundred at least."""
    few, many = choose_files(0.0), choose_files(3600.0)
    plain, tests = library_files()
    assert len(few) == 300
    assert len(set(many)) == len(many)
    assert set(few) < set(many) == {*plain, *tests}
    assert any(path.endswith("/asyncio/tasks.py") for path in plain)
    assert not any("/site-packages/" in path for path in (*plain, *tests))
