"""The default mesh: what ``add.delay(2, 2)`` uses, opened from the settings when it is first needed."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import Any

from meshq.client.mesh import DETACHED_TIMEOUT_S, Mesh
from meshq.client.result import AsyncResult
from meshq.tasks.port import Call, Submitter

_lock = threading.Lock()
_mesh: Mesh | None = None
_pid = 0


def default_mesh() -> Mesh:
    """Return the default mesh, opening it if need be; a forked child gets one of its own."""
    global _mesh, _pid
    if _mesh is None or _pid != os.getpid() or _mesh.closed:
        with _lock:
            if _mesh is None or _pid != os.getpid() or _mesh.closed:
                _mesh, _pid = Mesh(), os.getpid()
                atexit.register(_leave, _mesh, _pid)
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


def _leave(mesh: Mesh, pid: int) -> None:
    """At exit: see that detached tasks are accepted, and say how many were not."""
    if pid != os.getpid() or mesh.closed:
        return
    lost = mesh.wait_accepted(DETACHED_TIMEOUT_S)
    if lost:
        why = mesh.explain_absence() if not mesh.nodes() else "the nodes did not answer in time"
        print(f"meshq: {lost} detached tasks were accepted by no node, and are lost: {why}", file=sys.stderr)
    mesh.close(cancel=True)
