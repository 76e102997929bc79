"""What becomes of a client process of ``meshq bench`` that cannot do its job."""

from __future__ import annotations

import pytest

from meshq.cli.bench_clients import ClientProcess
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
