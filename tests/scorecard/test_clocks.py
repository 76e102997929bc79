"""Row 21: clocks that are wrong, that jump, and that count from elsewhere change nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import clock_tasks
import pytest
from mesh_harness import NodeProcess, Process, Stage
from score_figures import Figures

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
YEAR_S = 365 * 86_400
FAR_S = 100_000
TOLERANCE_S = 0.75
"""What scheduling on a busy machine may make of it; a clock that counts would make it thousands of seconds."""


class Clock(NamedTuple):
    """How the clocks of one process differ from those of the machine."""

    wall_s: int = 0
    jumps: bool = False
    monotonic_s: int = 0

    def env(self) -> dict[str, str]:
        """Return what makes its wall clock wrong."""
        return {"SCORE_WALL_S": str(self.wall_s), **({"SCORE_WALL_JUMPS": "1"} if self.jumps else {})}

    def command(self) -> list[str]:
        """Return what goes before its command, to give it a monotonic clock of its own."""
        if not self.monotonic_s:
            return []
        origin = str(self.monotonic_s)
        return ["unshare", "-T", "--fork", "--kill-child", "--monotonic", origin, "--boottime", origin]

    def is_shown(self, read: list[float]) -> bool:
        """Tell whether what a process has read of its clocks is what it should have."""
        *walls, monotonic = read
        shift_s = max(abs(wall - time.time()) for wall in walls) if self.jumps else walls[0] - time.time()
        right = all(abs(abs(wall - time.time()) - abs(self.wall_s)) < 60 for wall in walls)
        signed = self.jumps or abs(shift_s - self.wall_s) < 60
        return right and signed and abs(monotonic - time.monotonic() - self.monotonic_s) < 60


PLAIN = (Clock(),) * 4
VARIANTS: dict[str, tuple[Clock, ...]] = {
    "wall clocks ±1 year": (Clock(YEAR_S), Clock(-YEAR_S), Clock(), Clock(YEAR_S)),
    "wall clocks jumping by 2 years": (*(Clock(YEAR_S, jumps=True),) * 3, Clock(-YEAR_S)),
    "monotonic clocks +100,000 s": (
        Clock(monotonic_s=FAR_S), Clock(monotonic_s=10 * FAR_S), Clock(), Clock(monotonic_s=5 * FAR_S),
    ),
    "both": (Clock(YEAR_S, False, FAR_S), Clock(-YEAR_S, False, 3 * FAR_S), Clock(), Clock(-YEAR_S, False, FAR_S)),
}  # fmt: skip
"""By name: the clocks of three nodes, and of the client."""


ENDS = {
    "time limit": "TimeLimitExceeded", "soft time limit": "SoftTimeLimitExceeded", "expires": "TaskExpired",
    "revoked": "TaskRevoked", "revoked before a restart": "TaskRevoked", "remaining": "True", "kept": "5",
    "rate limit": "2 2 2 2 2", "busy": "1 1 1 1",
}  # fmt: skip
"""How things end, by name; what is not here ends with the value 1."""


class Outcomes(NamedTuple):
    """What a client has found: for each thing how it ended and after how many seconds; what the clocks said."""

    found: dict[str, tuple[str, float]]
    clocks: dict[str, list[float]]


@contextmanager
def staged(directory: Path) -> Iterator[Stage]:
    """Make a mesh whose processes can have clocks of their own."""
    stage = Stage(directory)
    stage.env["PYTHONPATH"] = os.pathsep.join([str(HERE / "shifted"), stage.env["PYTHONPATH"], str(HERE)])
    try:
        yield stage
    finally:
        stage.close()


def start_node(stage: Stage, place: str, clock: Clock) -> NodeProcess:
    """Start a node that is asked for by its place, and keeps its state."""
    command = [*clock.command(), sys.executable, "-m", "meshq", "node", "clock_tasks", "--name", place]
    command += [
        "--tag",
        place,
        "--slots",
        str(clock_tasks.SLOTS),
        "--state",
        str(stage.directory / f"state-{place}"),
    ]
    label = f"{place}-{len(stage.nodes)}"
    node = NodeProcess(label, command, {**stage.env, **clock.env()}, stage.directory / f"{label}.log")
    stage.nodes.append(node)
    return node


def run_client(stage: Stage, clock: Clock) -> dict[str, Any]:
    """Run the client, and return what it prints."""
    command = [*clock.command(), sys.executable, str(HERE / "clock_tasks.py")]
    log = stage.directory / "client.log"
    client = Process("client", command, {**stage.env, **clock.env()}, log)
    stage.scripts.append(client)
    assert client.wait(100) == 0
    answer: dict[str, Any] = json.loads(client.text().splitlines()[-1])
    return answer


def outcomes(directory: Path, clocks: tuple[Clock, ...]) -> Outcomes:
    """Return what comes of everything with these clocks, and of what was revoked when the nodes were killed."""
    with staged(directory) as stage:
        nodes = [start_node(stage, *each) for each in zip(clock_tasks.PLACES, clocks[:3], strict=True)]
        for node in nodes:
            node.until_ready()
        answer = run_client(stage, clocks[3])
        found = {name: (how, seconds) for name, (how, seconds) in answer["found"].items()}
        for place, clock, node in zip(clock_tasks.PLACES, clocks[:3], nodes, strict=True):
            node.kill()
            start_node(stage, place, clock)
        mesh = stage.client(len(clock_tasks.PLACES))
        for place in clock_tasks.PLACES:
            found[f"revoked before a restart {place}"] = clock_tasks.refusal(mesh, place, answer["revoked"]), 0.0
        return Outcomes(found, answer["clocks"])


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What comes of everything where all clocks agree."""
    made = outcomes(tmp_path_factory.mktemp("usual"), PLAIN)
    things = {name.rpartition(" ")[0]: how for name, (how, _) in made.found.items()}
    assert things == {name: ENDS.get(name, "1") for name in things}
    return made


def reason_against(clocks: tuple[Clock, ...]) -> str | None:
    """Return why processes cannot have these clocks here, or None where they can."""
    if not any(clock.monotonic_s for clock in clocks):
        return None
    if shutil.which("unshare") is None:
        return "unshare is missing (util-linux)"
    command = [*Clock(monotonic_s=FAR_S).command(), "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() or None


@pytest.mark.parametrize("variant", VARIANTS)
def test_clocks_change_nothing(usual: Outcomes, variant: str, tmp_path: Path, score: Figures) -> None:
    """Countdowns, limits, expiry, retries, rates, revokes and kept results are what they are with good clocks."""
    clocks = VARIANTS[variant]
    if reason := reason_against(clocks):
        pytest.skip(f"NO TIME NAMESPACE: {reason}")
    seen = outcomes(tmp_path, clocks)
    for name, clock in zip((*clock_tasks.PLACES, "client"), clocks, strict=True):
        assert clock.is_shown(seen.clocks[name]), f"the clocks of {name} are {seen.clocks[name]}"
    differ = [f"{name}: {how}" for name, (how, _) in seen.found.items() if how != usual.found[name][0]]
    early_or_late = max(abs(seconds - usual.found[name][1]) for name, (_, seconds) in seen.found.items())
    score.exactly("21", f"{variant}: unusual outcomes of {len(usual.found)}", len(differ), 0)
    score.at_most("21", f"{variant}: earlier or later than usual", early_or_late, TOLERANCE_S, "s")
    assert seen.found.keys() == usual.found.keys()
    assert not differ
    score.check()
