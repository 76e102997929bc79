"""Client processes of ``meshq bench``: those that cannot do their job, and those that have a pool to measure."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytest

from meshq.cli.bench_clients import ClientProcess, alone
from meshq.cli.bench_sides import EXECUTOR, POOL, Side
from meshq.cli.local_nodes import processes_of
from meshq.errors import MeshqError


def test_its_error_is_ours() -> None:
    """What stops the process is told where its result is waited for."""
    with (
        ClientProcess({"name": "no such name"}, "throughput", tasks=1) as process,
        pytest.raises(MeshqError, match="a client process failed: argument mesh: mesh must be"),
    ):
        process.wait_ready()


def test_its_end_is_noticed() -> None:
    """A process that is gone without a word is no result."""
    process = ClientProcess({"name": "bench-nobody"}, "throughput", tasks=1)
    process._popen.kill()
    with process, pytest.raises(MeshqError, match=r"a client process failed: it ended \(-9\)"):
        process.wait_ready()


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_ctrl_c_is_not_for_it() -> None:
    """It would end with a traceback, while whoever has started it ends it anyway."""
    with ClientProcess(None, "payload", name=POOL, workers=1, small=1, large=1, arrays=1) as process:
        assert os.getpgid(process._popen.pid) != os.getpgrp()


def nothing(*_: Any) -> Any:
    """Never be called: a pool that is measured alone is another one, in another process."""
    raise AssertionError


@pytest.mark.parametrize("name", [EXECUTOR, POOL])
def test_a_pool_is_measured_in_a_process_of_its_own(name: str) -> None:
    """It has all the figures that a mesh has; only arrays there may be none of."""
    side = Side(name, 1, nothing, nothing, nothing, nothing)
    rates = alone(side, "payload", small=2, large=1, arrays=1)
    assert set(rates) == {"bytes_1_mb", "bytes_32_mb", "array_8_mb"}
    assert min(rates["bytes_1_mb"], rates["bytes_32_mb"]) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("name", [EXECUTOR, POOL])
def test_a_pool_ends_with_the_process_that_has_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However that ends."""
    monkeypatch.setenv("MESHQ_MESH", mesh := f"bench-{os.getpid()}")
    with ClientProcess(None, "payload", name=name, workers=2, small=1, large=1, arrays=1) as process:
        process.wait_ready()
        assert len(processes_of(mesh)) >= 3
        process._popen.kill()
    deadline = time.monotonic() + 10.0
    while left := processes_of(mesh):
        assert time.monotonic() < deadline, f"{left} live on"
        time.sleep(0.005)
