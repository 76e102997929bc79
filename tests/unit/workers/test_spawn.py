"""Starting a worker process where the system has no more descriptors."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from meshq.workers import spawn as spawn_module
from meshq.workers.link import WorkerSpec
from meshq.workers.spawn import spawn


@pytest.mark.parametrize("successes", range(5))
def test_a_start_that_fails_leaves_nothing_open(successes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that tries again and again would else use up the last descriptors itself."""
    left = successes

    def scarce(make: Any) -> Any:
        def made() -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.EMFILE, "Too many open files")
            return make()

        return made

    before = os.listdir("/dev/fd")
    monkeypatch.setattr(socket, "socketpair", scarce(socket.socketpair))
    monkeypatch.setattr(os, "pipe", scarce(os.pipe))
    monkeypatch.setattr(spawn_module, "_make_slate", scarce(spawn_module._make_slate))
    with pytest.raises(OSError, match="Too many open files"):
        spawn(WorkerSpec(()))
    assert os.listdir("/dev/fd") == before
