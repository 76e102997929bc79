"""Run Python functions on every host of a network: no broker, no scheduler, no address to configure.

Names are loaded when they are first used, so that ``from meshq import task`` stays free of sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshq.tasks.port import set_submitter_factory

if TYPE_CHECKING:
    from meshq.client.functions import discard_all, dmap, dmap_async, execute_remote, is_done, ping
    from meshq.client.future import Future
    from meshq.client.mesh import Mesh
    from meshq.client.result import AsyncResult
    from meshq.errors import (
        AuthenticationError,
        ChunkRefused,
        ConfigError,
        EncodingError,
        LocalProtocolError,
        MeshClosed,
        MeshqError,
        NoNodes,
        ProtocolError,
        QueueFull,
        RemoteError,
        RemoteProtocolError,
        ResultGone,
        Retry,
        SoftTimeLimitExceeded,
        TaskError,
        TaskExpired,
        TaskLost,
        TaskRevoked,
        TimeLimitExceeded,
        UnknownTask,
        WorkerLost,
    )
    from meshq.tasks import CurrentTask, control_command, current_task, shipped, task

__version__ = "0.1.0"

_HOMES = {
    "AsyncResult": "meshq.client.result",
    "CurrentTask": "meshq.tasks",
    "Future": "meshq.client.future",
    "Mesh": "meshq.client.mesh",
    "control_command": "meshq.tasks",
    "current_task": "meshq.tasks",
    "discard_all": "meshq.client.functions",
    "dmap": "meshq.client.functions",
    "dmap_async": "meshq.client.functions",
    "execute_remote": "meshq.client.functions",
    "is_done": "meshq.client.functions",
    "ping": "meshq.client.functions",
    "shipped": "meshq.tasks",
    "task": "meshq.tasks",
}

__all__ = [
    "AsyncResult",
    "AuthenticationError",
    "ChunkRefused",
    "ConfigError",
    "CurrentTask",
    "EncodingError",
    "Future",
    "LocalProtocolError",
    "Mesh",
    "MeshClosed",
    "MeshqError",
    "NoNodes",
    "ProtocolError",
    "QueueFull",
    "RemoteError",
    "RemoteProtocolError",
    "ResultGone",
    "Retry",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskExpired",
    "TaskLost",
    "TaskRevoked",
    "TimeLimitExceeded",
    "UnknownTask",
    "WorkerLost",
    "__version__",
    "control_command",
    "current_task",
    "discard_all",
    "dmap",
    "dmap_async",
    "execute_remote",
    "is_done",
    "ping",
    "shipped",
    "task",
]

set_submitter_factory("meshq.client.default:default_submitter")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES.get(name, "meshq.errors")), name)
    globals()[name] = value  # so that the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
