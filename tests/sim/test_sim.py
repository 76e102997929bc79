"""Seeds of chaos: whatever befalls the mesh, once it is quiet every task has ended, once, for a reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection

import pytest

from meshq.core.reporting import Reports
from meshq.core.terms import Terms
from meshq.testing import SimFailure, SimFunction, SimMesh, shrink
from meshq.testing.chaos import Chaos
from meshq.testing.course import read_items
from meshq.testing.shrink import minimal, run_seed
from meshq.testing.sim import main

SEEDS = 500


@pytest.mark.timeout(300)
def test_chaos(capsys: pytest.CaptureFixture[str]) -> None:
    """Crashes, cuts, freezes, drains, lost and doubled messages: nothing is lost, nothing ends twice, all ends."""
    failed = main(["--seeds", str(SEEDS), "--jobs", "2"])
    assert not failed, capsys.readouterr().out


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


def forget_countdowns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the node: it starts what it can, whenever it comes."""
    begin = Terms.begin

    def begin_at_once(self: Terms, now: float) -> None:
        begin(self, now)
        self.start_at = now

    monkeypatch.setattr(Terms, "begin", begin_at_once)


def test_a_failure_tells_a_short_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a course of hundreds of events those few are left that it takes, with the story of the task concerned."""
    forget_countdowns(monkeypatch)
    with pytest.raises(SimFailure) as failure:
        run_seed(1)
    story = str(failure.value)
    assert "before its time" in story
    assert "client1   submitted" in story
    assert "<- Submit(attempt=1)" in story
    found = re.search(r"^(\d+) events of (\d+) make it fail: ", story, re.MULTILINE)
    assert found is not None
    assert int(found[1]) <= 3 < 50 < int(found[2])


def test_a_short_story_can_be_replayed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that is named fails in the same way, with the same story."""
    forget_countdowns(monkeypatch)
    assert main(["--start", "1", "--seeds", "1"]) == 1
    first = capsys.readouterr().out
    replay = re.search(r"^replay: python -m meshq.testing.sim (.*)$", first, re.MULTILINE)
    assert replay is not None
    assert main(replay[1].split()) == 1
    again = capsys.readouterr().out
    story = first.partition("\nreplay:")[0].rpartition("\n")[0]
    assert again.startswith(story)


def test_a_machine_that_breaks_down_is_shrunk_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of any kind is told with its last lines, and with the few events that lead to it."""

    def finished_all(self: Reports, *_: object) -> None:
        raise ZeroDivisionError("the node breaks down")

    monkeypatch.setattr(Reports, "finished_all", finished_all)
    with pytest.raises(SimFailure, match="the node breaks down") as failure:
        run_seed(1)
    assert re.search(r"^[1-3] events of", str(failure.value), re.MULTILINE)
    assert "in finished_all" in str(failure.value)


def test_the_least_that_fails() -> None:
    """Whatever is not needed is left out, also where two things far apart are needed together."""
    items = [str(number) for number in range(50)]
    tried: list[Collection[str]] = []

    def fails(kept: Collection[str]) -> bool:
        tried.append(kept)
        return {"7", "41"} <= set(kept)

    assert minimal(items, fails) == ["7", "41"]
    assert len(tried) < 60
    assert minimal(["1"], fails) == ["1"]


@pytest.mark.parametrize("wrong", ["", "x", "1,,2", "1.x", "1.2.3", "-1", "1."])
def test_what_is_no_step(wrong: str) -> None:
    """Items that are neither steps nor tasks are refused, by name."""
    with pytest.raises(ValueError, match="is no step like 7"):
        read_items(wrong)


def test_the_command_runs_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many there were, how fast, and that all is well."""
    assert main(["--seeds", "2", "--start", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 seeds, ")
    assert "seeds/s" in said
    assert "all is well" in said


def test_several_processes_share_the_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """What they come to is added up, and is the same as with one."""
    assert main(["--seeds", "12", "--start", "41"]) == 0
    alone = capsys.readouterr().out.partition(" in ")[0]
    assert main(["--seeds", "12", "--start", "41", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.partition(" in ")[0] == alone


def test_the_command_stops_at_failures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints each story, gives up after as many as it is told, and its exit code says so."""
    forget_countdowns(monkeypatch)
    monkeypatch.setattr(shrink, "SHRINK_S", 0.0)
    assert main(["--seeds", "50", "--stop-at", "2"]) == 1
    said = capsys.readouterr().out
    assert said.count("\nreplay: ") == 2
    assert "failed: [" in said


@pytest.mark.parametrize("wrong", [["--seeds", "0"], ["--jobs", "none"], ["--keep", "all"], ["--stop-at", "-1"]])
def test_what_the_command_refuses(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It says which argument is wrong."""
    with pytest.raises(SystemExit):
        main(wrong)
    assert f"argument {wrong[0]}" in capsys.readouterr().err


def test_waiting_in_vain_is_a_failure() -> None:
    """What does not come to hold within its virtual time is told, rather than waited for without end."""
    mesh = SimMesh(functions={"f": SimFunction()})
    mesh.add_client().submit("f")
    with pytest.raises(SimFailure, match="it has not come to what was waited for"):
        mesh.run_until(lambda: not mesh.unsettled(), within=10.0)
    mesh.quiet(within=10.0)  # starts a node, as there is none
