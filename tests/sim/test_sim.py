"""Seeds of chaos: whatever befalls the mesh, once it is quiet every task has ended, once, for a reason."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from meshq.core.reporting import Reports
from meshq.testing import SimFailure, SimFunction, SimMesh
from meshq.testing.chaos import Chaos
from meshq.testing.shrink import run_seed
from meshq.testing.sim import main

SEEDS = 100
_AT_A_TIME = 10


@pytest.mark.parametrize("first", range(0, SEEDS, _AT_A_TIME))
def test_chaos(first: int) -> None:
    """Crashes, cuts, freezes, drains, lost and doubled messages: nothing is lost, nothing ends twice, all ends."""
    for seed in range(first, first + _AT_A_TIME):
        run_seed(seed)


def test_a_seed_has_one_course() -> None:
    """The same seed gives the same events, in a process with other hashes too: it can be replayed."""
    script = "from meshq.testing.shrink import run_seed; print(*run_seed(7)[:3])"
    courses = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for number in ("1", "2")
    }  # fmt: skip
    courses.add(" ".join(map(str, run_seed(7)[:3])) + "\n")
    courses.add(" ".join(map(str, Chaos(7, trace=True).run()[:3])) + "\n")
    assert len(courses) == 1


def test_a_failure_tells_its_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who breaks a rule reads what happened to the task, what was done to the mesh, and how to see it again."""
    monkeypatch.setattr(Reports, "send_result", lambda *_: None)
    with pytest.raises(SimFailure) as failure:
        run_seed(1)
    story = str(failure.value)
    assert "tasks are not settled" in story
    assert "client1   submitted" in story
    assert "started on slot" in story
    assert "the last faults" in story
    assert "python -m meshq.testing.sim --start 1 --seeds 1" in story


def test_the_command_runs_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many there were, how fast, and that all is well."""
    assert main(["--seeds", "2", "--start", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 seeds, ")
    assert "seeds/s" in said
    assert "all is well" in said


def test_the_command_stops_at_failures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints each story, gives up after as many as it is told, and its exit code says so."""
    monkeypatch.setattr(Reports, "send_result", lambda *_: None)
    assert main(["--seeds", "50", "--stop-at", "2"]) == 1
    said = capsys.readouterr().out
    assert said.count("\nreplay: ") == 2
    assert "failed: [" in said


def test_waiting_in_vain_is_a_failure() -> None:
    """What does not come to hold within its virtual time is told, rather than waited for without end."""
    mesh = SimMesh(functions={"f": SimFunction()})
    mesh.add_client().submit("f")
    with pytest.raises(SimFailure, match="it has not come to what was waited for"):
        mesh.run_until(lambda: not mesh.unsettled(), within=10.0)
    mesh.quiet(within=10.0)  # starts a node, as there is none
