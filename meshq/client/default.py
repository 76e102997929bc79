"""The default mesh: what ``add.delay(2, 2)`` uses, opened from the settings when it is first needed."""

from __future__ import annotations

import os
import threading
from typing import Any

from meshq.client.mesh import Mesh
from meshq.client.result import AsyncResult
from meshq.tasks.port import Call, Submitter

_lock = threading.Lock()
_mesh: Mesh | None = None
_pid = 0


def _forked() -> None:
    """Give a child a lock of its own, as the parent's may have been held at the fork."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def default_mesh() -> Mesh:
    """Return the default mesh, opening it if need be; a forked child gets one of its own."""
    global _mesh, _pid
    if _mesh is None or _pid != os.getpid() or _mesh.closed:
        with _lock:
            if _mesh is None or _pid != os.getpid() or _mesh.closed:
                _mesh, _pid = Mesh(), os.getpid()
    return _mesh


class _DefaultSubmitter:
    """Takes the calls of task functions for the default mesh."""

    def submit(self, call: Call) -> Any:
        return default_mesh().submit_call(call.name, call.args, call.kwargs, call.options)

    def delay(self, call: Call) -> AsyncResult[Any]:
        return default_mesh().submit_detached(call.name, call.args, call.kwargs, call.options)


_submitter = _DefaultSubmitter()


def default_submitter() -> Submitter:
    """Return the submitter of the default mesh; ``meshq.tasks`` finds it by name."""
    return _submitter
